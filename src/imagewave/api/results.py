"""What a call on a wave returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from imagewave.api import pictures
from imagewave.api.pictures import Asset, Pictures
from imagewave.api.sheets import Shown, contact_sheet
from imagewave.storage.facts.analytics import query, require_wave
from imagewave.storage.rounds.reruns import is_delivered
from imagewave.storage.store import Store
from imagewave.tasks.reporting import standing
from imagewave.tasks.reporting.standing import BillLine, Funnel, OpenJob, Paid, ShortBrief
from imagewave.words import counted

if TYPE_CHECKING:
    from imagewave.tasks.rerun import Failure, Price

_STEPS = ("requested", "generated", "passed_screens", "judged_ok", "accepted", "final")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a wave has come to. A notebook shows it as a contact sheet.

    `delivered` says whether the wave has ended; if not, it waits for its `open_jobs`, and running
    it again goes on with it. Money in USD: `usd` is all that the wave has cost so far, `new_usd`
    what this call has added, for `new_answers` answers; `held_usd` is held for the open jobs.
    `briefs_short` are the briefs that got fewer pictures than they want, and `owed_jobs` those that
    were given up and may still be billed. `unanswered_calls` are single calls that may have been
    paid twice. `realm` is `sandbox` where the pictures are stand-ins. `report` is where the wave's
    report is.
    """

    wave: str
    revision: str
    realm: str
    delivered: bool
    funnel: Funnel
    bill: tuple[BillLine, ...]
    usd: Decimal
    new_usd: Decimal
    new_answers: int
    usd_per_accepted: Decimal | None
    held_usd: Decimal
    open_jobs: tuple[OpenJob, ...]
    owed_jobs: tuple[str, ...]
    briefs_short: tuple[ShortBrief, ...]
    unanswered_calls: int
    report: str
    _store: Store = field(repr=False, compare=False)

    @cached_property
    def assets(self) -> Pictures[Asset]:
        """The delivered files, as they are when this is first asked for."""
        return pictures.assets(self._store, self.wave, "")

    def __str__(self) -> str:
        """The wave in a few lines: its funnel, its bill and what it lacks."""
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        steps = {name: getattr(self.funnel, name) for name in _STEPS}
        arrow = " → ".join(
            f"{name.replace('_', ' ')} {count}"
            for name, count in steps.items()
            if count is not None
        )
        lines = [f"{self.wave}: {arrow}", f"${self.usd:.4f} in all, ${self.new_usd:.4f} of it now"]
        if self.usd_per_accepted is not None:
            lines[-1] += f"; ${self.usd_per_accepted:.4f} per accepted picture"
        if not self.delivered:
            lines.append(
                f"It waits for its provider: {counted(len(self.open_jobs), 'job')},"
                f" ${self.held_usd:.4f} held."
            )
        if self.realm == "sandbox":
            lines.append("The pictures are stand-ins of the sandbox.")
        lines += [
            f"short: {brief.brief} {brief.final} of {brief.want}: {brief.reason}"
            for brief in self.briefs_short
        ]
        return lines

    def _repr_html_(self) -> str:
        shown: tuple[Shown, ...] = self.assets or pictures.images(self._store, self.wave, "")
        return contact_sheet(shown, self._lines())


@dataclass(frozen=True, kw_only=True)
class OnceResult(Result):
    """What came of one prompt: as a wave's, and how often each reason kept a picture from coming.

    `missing` is by reason.
    """

    missing: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunPlan:
    """What a rerun would make again, and what that is estimated to cost."""

    wave: str
    requests: tuple["Failure", ...]
    price: "Price"


def result_of(store: Store, wave: str, *, before: Paid | None = None) -> Result:
    """What the wave has come to; `before` is what it had paid for before the call (None: all).

    Raises:
        UnknownWave: the store has no such wave.
    """
    return Result(**_fields(store, wave, before))


def once_result_of(
    store: Store, wave: str, *, before: Paid, missing: Mapping[str, int]
) -> OnceResult:
    """The same of a prompt, with what is missing."""
    return OnceResult(**_fields(store, wave, before), missing=missing)


def _fields(store: Store, wave: str, before: Paid | None) -> dict[str, Any]:
    require_wave(store, wave)
    (row,) = query(store, "SELECT revision, realm FROM waves WHERE wave = ?", [wave])
    (cost,) = query(
        store,
        "SELECT cost_per_accepted AS usd FROM cost_per_accepted WHERE wave = ? AND per = 'wave'",
        [wave],
    )
    now = standing.paid(store, wave)
    begun = before or now
    jobs = standing.open_jobs(store, wave)
    return {
        "_store": store,
        "wave": wave,
        "revision": row["revision"],
        "realm": row["realm"],
        "delivered": is_delivered(store, wave, row["revision"]),
        "funnel": standing.funnel(store, wave),
        "bill": tuple(standing.bill(store, wave)),
        "usd": now.usd,
        "new_usd": now.usd - begun.usd,
        "new_answers": now.answers - begun.answers,
        "usd_per_accepted": cost["usd"],
        "held_usd": sum((job.held_usd for job in jobs), Decimal(0)),
        "open_jobs": tuple(jobs),
        "owed_jobs": tuple(standing.owed(store, wave)),
        "briefs_short": tuple(standing.short_briefs(store, wave)),
        "unanswered_calls": standing.unanswered_calls(store, wave),
        "report": store.url_of(f"reports/{wave}.html"),
    }
