"""What a wave looks like in the terminal: its progress, then its funnel and its bill."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from imagewave.cli.terminal import tables
from imagewave.cli.terminal.advice import command
from imagewave.cli.terminal.printing import say
from imagewave.cli.terminal.shortfall import short_briefs, way_out
from imagewave.providers.protocol import CALL_UNANSWERED
from imagewave.storage.facts.analytics import query
from imagewave.storage.realms import money_note
from imagewave.storage.store import Store
from imagewave.words import counted, legible

if TYPE_CHECKING:
    from imagewave.flows.progress import Progress

FUNNEL = ("requested", "generated", "passed_screens", "judged_ok", "accepted", "final")

_MOST_SHORT = 10
_NANO = Decimal("1e-9")


_SHOW_CURSOR = b"\x1b[?25h"


class ProgressDisplay:
    """A line per stage, with its jobs and requests; use it as a context manager."""

    def __init__(self) -> None:
        self._screen = _Screen(sys.stderr)
        self._bars = Bars(
            TextColumn("{task.description:<18}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=tables.console(file=self._screen),  # type: ignore[arg-type]
        )
        self._rows: dict[str, TaskID] = {}
        self._waiting: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def leave(self) -> None:
        """Draws no more, so that words can follow; takes no lock.

        For a signal's handler: what it interrupts may be drawing.
        """
        self._screen.leave()

    def note(self, text: str) -> None:
        """Says what is going on before the first stage."""
        self._waiting = self._bars.add_task(text, total=None, note="")

    def show(self, progress: "Progress") -> None:
        """Shows how far a stage is."""
        if self._waiting is not None:
            self._bars.update(self._waiting, total=1, completed=1, visible=False)
            self._waiting = None
        if progress.stage not in self._rows:
            self._rows[progress.stage] = self._bars.add_task(legible(progress.stage), note="")
        jobs = f"{progress.jobs_done} of {counted(progress.jobs, 'job')}" if progress.jobs else ""
        again = f"{progress.tried_again} tried again" if progress.tried_again else ""
        note = progress.note or ", ".join(filter(None, (jobs, again)))
        total = progress.requests or 1
        done = progress.requests_done if progress.requests else 1
        row = self._rows[progress.stage]
        self._bars.update(row, total=total, completed=done, note=legible(note))


class _Screen:
    """A stream that can be left for good."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left = False

    def write(self, text: str) -> int:
        """Writes, unless it was left; a terminal that has gone is no reason to stop."""
        if not self._left:
            try:
                self._stream.write(text)
            except OSError:
                self._left = True
        return len(text)

    def flush(self) -> None:
        """As any stream's."""
        if not self._left:
            try:
                self._stream.flush()
            except OSError:
                self._left = True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """As any stream's."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """As any stream's."""
        return self._stream.encoding

    def leave(self) -> None:
        """Writes nothing from now on."""
        if not self._left:
            self._left = True
            if self.isatty():
                os.write(self.fileno(), _SHOW_CURSOR)


@dataclass(frozen=True, slots=True)
class Paid:
    """What a wave's own requests were answered so far, and what the answers cost, in USD."""

    answers: int
    usd: Decimal


def paid_by(store: Store, wave: str) -> Paid:
    """What the wave has paid for so far; what other waves cost may come in meanwhile."""
    (row,) = query(
        store,
        "SELECT count(*) AS answers, coalesce(sum(cost_usd), 0) AS usd FROM costs WHERE wave = ?",
        [wave],
    )
    return Paid(row["answers"], Decimal(row["usd"]))


def summary(store: Store, wave: str, *, before: Paid) -> dict[str, Any]:
    """What came of the wave so far, as docs/cli.md describes it.

    `before` is what it had paid for before this very run.
    """
    sums = ", ".join(f"coalesce(sum({name}), 0)::BIGINT AS {name}" for name in ("want", *FUNNEL))
    (totals,) = query(store, f"SELECT {sums} FROM funnel WHERE wave = ?", [wave])
    bill = query(
        store,
        "SELECT kind, model, count(*) AS requests, sum(cost_usd) AS usd FROM costs WHERE wave = ?"
        " GROUP BY kind, model ORDER BY min(recorded_at)",
        [wave],
    )
    now = Paid(
        answers=sum(row["requests"] for row in bill),
        usd=sum((row["usd"] for row in bill), Decimal(0)),
    )
    (held,) = query(
        store,
        "SELECT count(*) AS jobs, coalesce(sum(requests), 0)::BIGINT AS requests,"
        " coalesce(sum(held_usd), 0) AS usd FROM jobs"
        " WHERE wave = ? AND event IN ('claimed', 'accepted')",
        [wave],
    )
    (lost,) = query(
        store,
        "SELECT count(*) AS calls FROM attempts WHERE wave = ? AND reason = ?",
        [wave, CALL_UNANSWERED],
    )
    each = (now.usd / totals["final"]).quantize(_NANO) if totals["final"] else None
    return {
        "wave": wave,
        "realm": store.realm,
        "wanted": totals.pop("want"),
        "funnel": totals,
        "bill": bill,
        "usd": now.usd,
        "usd_per_accepted": each,
        "this_run": {"answers": now.answers - before.answers, "usd": now.usd - before.usd},
        "with_provider": held,
        "unanswered_calls": lost["calls"],
        "briefs_short": short_briefs(store, wave),
        "assets": store.url_of(f"assets/{wave}"),
        "report": store.url_of(f"reports/{wave}.html"),
    }


def print_summary(store: Store, found: dict[str, Any]) -> None:
    """Prints a wave's funnel, its bill so far, what it lacks and the path of its report."""
    arrows: list[str | tuple[str, str]] = []
    for name, number in found["funnel"].items():
        arrows += [" → " if arrows else "  ", f"{name.replace('_', ' ')} ", (str(number), "bold")]
    say()
    tables.say((found["wave"], "bold"), *arrows)
    note = money_note(found["realm"])
    bill = tables.Table(
        "stage", "model", "requests", "USD", title=f"The bill{note}", title_justify="left"
    )
    for column in bill.columns[2:]:
        column.justify = "right"
    for row in found["bill"]:
        bill.add_row(row["kind"], row["model"], str(row["requests"]), f"{row['usd']:.4f}")
    bill.add_section()
    requests = sum(row["requests"] for row in found["bill"])
    bill.add_row("total", "", str(requests), f"{found['usd']:.4f}")
    tables.show(bill)
    for line in _on_this_run(found):
        say(line)
    if found["usd_per_accepted"] is not None:
        each = f"${found['usd_per_accepted']:.4f}"
        tables.say("Cost per accepted image: ", (each, "bold"), note)
    _print_short(store, found["wave"], found["briefs_short"])
    say(f"Assets: {found['assets']}")
    say(f"Report: {found['report']}")


def _on_this_run(found: dict[str, Any]) -> Iterator[str]:
    """What the bill does not say: money that is held, that was not asked for, or perhaps lost."""
    held, now = found["with_provider"], found["this_run"]
    note = money_note(found["realm"])
    if held["jobs"]:
        yield (
            f"With the provider: {counted(held['jobs'], 'job')},"
            f" {counted(held['requests'], 'request')}; ${held['usd']:.4f} is held for them{note}."
        )
    elif not now["answers"]:
        yield "This run cost $0: everything in it was a fact already."
    elif not now["usd"]:
        new = counted(now["answers"], "answer")
        yield f"This run cost $0: none of its {new} was billed."
    if found["unanswered_calls"]:
        yield (
            f"{counted(found['unanswered_calls'], 'call')} went unanswered and may have been paid"
            " twice: see docs/lanes.md."
        )


def _print_short(store: Store, wave: str, short: list[dict[str, Any]]) -> None:
    for row in short[:_MOST_SHORT]:
        say(f"short: {row['brief']} {row['final']} of {row['want']} — last reason: {row['reason']}")
    if len(short) > _MOST_SHORT:
        say(f"… and {len(short) - _MOST_SHORT} more: {command(store, f'status {wave} --json')}")
    if short:
        say(way_out(store, wave, short))
