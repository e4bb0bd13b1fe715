"""Where waves stand: what they came to and cost, what is with a provider, and what they lack."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from imagewave.providers.protocol import CALL_UNANSWERED
from imagewave.storage.facts.analytics import query
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.rounds.reruns import is_delivered
from imagewave.storage.store import Store

# It brings pydantic along, for which `status` need not wait.
if TYPE_CHECKING:
    from imagewave.storage.waves.wave import Wave

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveStatus:
    """A wave in figures: pictures `wanted`, drafts `requested` and `generated`, `accepted` ones,
    and the `final` pictures that there are; what was spent in USD."""

    wave: str
    wanted: int
    requested: int
    generated: int
    accepted: int
    final: int
    spent_usd: Decimal
    usd_per_accepted: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJob:
    """A job that is with a provider: its money held in USD, and for how many minutes it is there.

    `provider_job` is None where the provider has not said yet what it calls it.
    """

    wave: str
    kind: str
    round: int
    attempt: int
    job_id: str
    provider_job: str | None
    requests: int
    held_usd: Decimal
    event: str
    minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A wave that a budget has stopped."""

    wave: str
    stopped_because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortBrief:
    """A brief with fewer pictures than it wants, for which no more are made.

    `tried` are its drafts; `stopped` and `detail` say why no more are asked for, `chance` how
    likely more would have brought enough; `reason` sums it up, and `causes` are all that its
    pictures were rejected for.
    """

    wave: str
    brief: str
    want: int
    accepted: int
    final: int
    tried: int
    stopped: str | None
    detail: str | None
    chance: float | None
    reason: str
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where the waves of a store stand."""

    waves: tuple[WaveStatus, ...]
    open_jobs: tuple[OpenJob, ...]
    stopped: tuple[Stop, ...]
    briefs_short: tuple[ShortBrief, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """A wave's drafts, from those requested to those accepted, and its final pictures.

    `judged_ok` is None where nothing was judged.
    """

    want: int
    requested: int
    generated: int
    passed_screens: int
    judged_ok: int | None
    accepted: int
    final: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """What one stage has paid to one model, in USD, for so many answers."""

    stage: str
    model: str
    requests: int
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """What a wave's own requests were answered so far, and what the answers cost, in USD."""

    answers: int
    usd: Decimal


_WAVES = """
SELECT waves.wave, coalesce(sum(want), 0)::BIGINT AS wanted,
       coalesce(sum(requested), 0)::BIGINT AS requested,
       coalesce(sum(generated), 0)::BIGINT AS generated,
       coalesce(sum(funnel.accepted), 0)::BIGINT AS accepted,
       coalesce(sum(final), 0)::BIGINT AS final,
       coalesce(any_value(cost_usd), 0) AS spent_usd,
       any_value(cost_per_accepted) AS usd_per_accepted
FROM waves
LEFT JOIN funnel USING (wave)
LEFT JOIN (SELECT wave, cost_usd, cost_per_accepted FROM cost_per_accepted WHERE per = 'wave')
    USING (wave)
WHERE ? IN ('', waves.wave)
GROUP BY waves.wave, waves.recorded_at
ORDER BY waves.recorded_at
"""
_JOBS = """
SELECT wave, kind, round, attempt, job_id, provider_job, requests, held_usd, event,
       date_diff('minute', coalesce(accepted_at, claimed_at), now()::TIMESTAMP) AS minutes
FROM jobs
WHERE event IN ('claimed', 'accepted') AND ? IN ('', wave)
ORDER BY claimed_at
"""
# Nothing was sent since: the wave has not gone on.
_STOPS = """
SELECT wave, detail AS stopped_because
FROM findings
WHERE kind = 'over budget' AND ? IN ('', wave) AND recorded_at >= coalesce(
    (SELECT max(claimed_at) FROM jobs WHERE jobs.wave = findings.wave), recorded_at)
ORDER BY recorded_at
"""
# What was rejected last, a final before any draft: it was nearer to being delivered.
_SHORT = """
WITH rejections AS (
    SELECT wave, brief,
           arg_max(tier || ' ' || reason, (tier = 'final', recorded_at, request_id)) AS rejection,
           list(DISTINCT split_part(reason, ':', 1)) AS causes
    FROM decisions
    WHERE decision = 'rejected'
    GROUP BY wave, brief
)
SELECT wave, waves.revision, brief, funnel.want, funnel.accepted, final, requested AS tried,
       stops.reason AS stopped, stops.detail, round(chance, 2) AS chance, rejection,
       coalesce(causes, []) AS causes
FROM funnel
JOIN waves USING (wave)
LEFT JOIN stops USING (wave, brief)
LEFT JOIN rejections USING (wave, brief)
WHERE final < funnel.want AND ? IN ('', wave)
ORDER BY wave, brief
"""
_FUNNEL = """
SELECT coalesce(sum(want), 0)::BIGINT AS want, coalesce(sum(requested), 0)::BIGINT AS requested,
       coalesce(sum(generated), 0)::BIGINT AS generated,
       coalesce(sum(passed_screens), 0)::BIGINT AS passed_screens,
       sum(judged_ok)::BIGINT AS judged_ok, coalesce(sum(accepted), 0)::BIGINT AS accepted,
       coalesce(sum(final), 0)::BIGINT AS final
FROM funnel WHERE wave = ?
"""
_BILL = """
SELECT kind AS stage, model, count(*) AS requests, sum(cost_usd) AS usd
FROM costs WHERE wave = ? GROUP BY kind, model ORDER BY min(recorded_at)
"""
_PAID = """
SELECT count(*) AS answers, coalesce(sum(cost_usd), 0)::DECIMAL(18, 9) AS usd
FROM costs WHERE wave = ?
"""


def status(store: Store, wave: str = "") -> Status:
    """Where the wave stands, or every wave of the store ("")."""
    return Status(
        waves=tuple(_rows(WaveStatus, store, _WAVES, wave)),
        open_jobs=tuple(open_jobs(store, wave)),
        stopped=tuple(_rows(Stop, store, _STOPS, wave)),
        briefs_short=tuple(short_briefs(store, wave)),
    )


def open_jobs(store: Store, wave: str = "") -> list[OpenJob]:
    """The jobs that are with a provider, of the wave or of all ("")."""
    return _rows(OpenJob, store, _JOBS, wave)


def short_briefs(store: Store, wave: str = "") -> list[ShortBrief]:
    """The briefs that lack pictures and get no more of them, of the wave or of all ("").

    Of a delivered wave they are those with fewer finals than wanted, and of any other those for
    which no more drafts are made.
    """
    rows = query(store, _SHORT, [wave])
    revisions = {row["wave"]: row["revision"] for row in rows}
    delivered = {name for name in revisions if is_delivered(store, name, revisions[name])}
    return [
        _made(ShortBrief, {**row, "reason": _reason(row), "causes": tuple(row["causes"])})
        for row in rows
        if row["wave"] in delivered or row["stopped"] not in (None, "enough")
    ]


def funnel(store: Store, wave: str) -> Funnel:
    """The wave's funnel, all its briefs together."""
    (totals,) = _rows(Funnel, store, _FUNNEL, wave)
    return totals


def bill(store: Store, wave: str) -> list[BillLine]:
    """What the wave has paid for so far, in the order in which its stages began."""
    return _rows(BillLine, store, _BILL, wave)


def paid(store: Store, wave: str) -> Paid:
    """What the wave has paid for so far; what other waves cost may come in meanwhile."""
    (row,) = _rows(Paid, store, _PAID, wave)
    return row


def unanswered_calls(store: Store, wave: str) -> int:
    """How many of the wave's single calls went unanswered, and may have been paid twice."""
    (row,) = query(
        store,
        "SELECT count(*) AS calls FROM attempts WHERE wave = ? AND reason = ?",
        [wave, CALL_UNANSWERED],
    )
    return int(row["calls"])


def owed(store: Store, wave: str) -> list[str]:
    """The wave's jobs that nobody waits for, and that the provider may still finish and bill."""
    return [hold.job_id for hold in Ledger(store).open_holds() if hold.wave == wave]


def is_done(store: Store, wave: "Wave") -> bool:
    """Whether this very wave was delivered before: then there is nothing to decide."""
    rows = query(store, "SELECT revision FROM waves WHERE wave = ?", [wave.name])
    current = rows == [{"revision": wave.revision}]
    return current and is_delivered(store, wave.name, wave.revision)


def _rows(kind: type[_T], store: Store, sql: str, wave: str) -> list[_T]:
    return [_made(kind, row) for row in query(store, sql, [wave])]


def _made(kind: type[_T], row: dict[str, Any]) -> _T:
    names: Sequence[str] = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: row[name] for name in names})


def _reason(row: dict[str, Any]) -> str:
    stopped = row["stopped"] if row["stopped"] != "enough" else None
    parts = (f"no more drafts: {stopped}" if stopped else "", row["rejection"] or "")
    # A final that was lost says more than why its drafts ended.
    if parts[1].startswith("final "):
        parts = (parts[1], parts[0])
    return "; ".join(part for part in parts if part) or "too few drafts were good"
