"""What a wave looks like in the terminal: its progress, then its funnel and its bill."""

import os
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from imagewave.cli.terminal import tables
from imagewave.cli.terminal.advice import command
from imagewave.cli.terminal.printing import say
from imagewave.cli.terminal.shortfall import way_out
from imagewave.storage.realms import money_note
from imagewave.storage.store import Store
from imagewave.tasks.reporting import standing
from imagewave.tasks.reporting.standing import ShortBrief
from imagewave.words import counted, legible

if TYPE_CHECKING:
    from imagewave.flows.progress import Progress

FUNNEL = ("requested", "generated", "passed_screens", "judged_ok", "accepted", "final")

_MOST_SHORT = 10
_NOTHING = Decimal("0.000000000")


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


def summary(store: Store, wave: str, *, before: standing.Paid) -> dict[str, Any]:
    """What came of the wave so far, as docs/cli.md describes it.

    `before` is what it had paid for before this very run.
    """
    funnel, bill = standing.funnel(store, wave), standing.bill(store, wave)
    # Summed from the bill that is shown: what other waves cost may come in meanwhile.
    answers, usd = sum(line.requests for line in bill), sum((line.usd for line in bill), _NOTHING)
    jobs = standing.open_jobs(store, wave)
    held = sum((job.held_usd for job in jobs), _NOTHING)
    each = (usd / funnel.final).quantize(_NOTHING) if funnel.final else None
    return {
        "wave": wave,
        "realm": store.realm,
        "wanted": funnel.want,
        "funnel": {step: getattr(funnel, step) for step in FUNNEL},
        "bill": [
            {"kind": line.stage, "model": line.model, "requests": line.requests, "usd": line.usd}
            for line in bill
        ],
        "usd": usd,
        "usd_per_accepted": each,
        "this_run": {"answers": answers - before.answers, "usd": usd - before.usd},
        "with_provider": {
            "jobs": len(jobs),
            "requests": sum(job.requests for job in jobs),
            "usd": held,
        },
        "unanswered_calls": standing.unanswered_calls(store, wave),
        "briefs_short": standing.short_briefs(store, wave),
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


def _print_short(store: Store, wave: str, short: Sequence[ShortBrief]) -> None:
    for each in short[:_MOST_SHORT]:
        say(f"short: {each.brief} {each.final} of {each.want} — last reason: {each.reason}")
    if len(short) > _MOST_SHORT:
        say(f"… and {len(short) - _MOST_SHORT} more: {command(store, f'status {wave} --json')}")
    if short:
        say(way_out(store, wave, short))
