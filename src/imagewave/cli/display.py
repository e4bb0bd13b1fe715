"""What a wave looks like in the terminal: its progress, then its funnel and its bill."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from imagewave.cli.commands import command
from imagewave.cli.shortfall import short_briefs, way_out
from imagewave.storage.analytics import query
from imagewave.storage.store import Store
from imagewave.tasks.providers.protocol import CALL_UNANSWERED
from imagewave.words import counted

if TYPE_CHECKING:
    from imagewave.flows.progress import Progress

FUNNEL = ("requested", "generated", "passed_screens", "judged_ok", "accepted", "final")

_MOST_SHORT = 10


class ProgressDisplay:
    """A line per stage, with its jobs and requests; use it as a context manager."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
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

    def note(self, text: str) -> None:
        """Says what is going on before the first stage."""
        self._waiting = self._bars.add_task(text, total=None, note="")

    def show(self, progress: "Progress") -> None:
        """Shows how far a stage is."""
        if self._waiting is not None:
            self._bars.update(self._waiting, total=1, completed=1, visible=False)
            self._waiting = None
        if progress.stage not in self._rows:
            self._rows[progress.stage] = self._bars.add_task(progress.stage, note="")
        note = progress.note or (
            f"{progress.jobs_done} of {counted(progress.jobs, 'job')}" if progress.jobs else ""
        )
        total = progress.requests or 1
        done = progress.requests_done if progress.requests else 1
        self._bars.update(self._rows[progress.stage], total=total, completed=done, note=note)


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


def print_summary(store: Store, wave: str, *, before: Paid) -> int:
    """Prints the wave's funnel, its bill so far, what it lacks and the path of its report.

    `before` is what it had paid for before this very run. Returns how many pictures it has.
    """
    console = Console()
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in FUNNEL)
    (totals,) = query(store, f"SELECT {sums} FROM funnel WHERE wave = ?", [wave])
    arrow = " → ".join(
        f"{name.replace('_', ' ')} [bold]{totals[name]}[/]"
        for name in FUNNEL
        if totals[name] is not None
    )
    console.print(f"\n[bold]{wave}[/]  {arrow}")

    bill = Table("stage", "model", "requests", "USD", title="The bill", title_justify="left")
    for column in bill.columns[2:]:
        column.justify = "right"
    rows = query(
        store,
        "SELECT kind, model, count(*) AS requests, sum(cost_usd) AS usd FROM costs WHERE wave = ?"
        " GROUP BY kind, model ORDER BY min(recorded_at)",
        [wave],
    )
    for row in rows:
        bill.add_row(row["kind"], row["model"], str(row["requests"]), f"{row['usd']:.4f}")
    bill.add_section()
    total = sum(row["usd"] for row in rows)
    bill.add_row("total", "", str(sum(row["requests"] for row in rows)), f"{total:.4f}")
    console.print(bill)
    for line in _on_this_run(store, wave, before):
        console.print(line)
    (cost,) = query(
        store,
        "SELECT cost_per_accepted AS usd FROM cost_per_accepted WHERE wave = ? AND per = 'wave'",
        [wave],
    )
    if cost["usd"] is not None:
        console.print(f"Cost per accepted image: [bold]${cost['usd']:.4f}[/]")
    _print_short(console, store, wave)
    console.print(f"Assets: {store.url_of(f'assets/{wave}')}")
    console.print(f"Report: {store.url_of(f'reports/{wave}.html')}")
    return totals["final"] or 0


def _on_this_run(store: Store, wave: str, before: Paid) -> Iterator[str]:
    """What the bill does not say: money that is held, that was not asked for, or perhaps lost."""
    now = paid_by(store, wave)
    if held := _in_flight(store, wave):
        yield held
    elif now.answers == before.answers:
        yield "This run cost $0: everything in it was a fact already."
    elif now.usd == before.usd:
        new = counted(now.answers - before.answers, "answer")
        yield f"This run cost $0: none of its {new} was billed."
    (lost,) = query(
        store,
        "SELECT count(*) AS calls FROM attempts WHERE wave = ? AND reason = ?",
        [wave, CALL_UNANSWERED],
    )
    if lost["calls"]:
        yield (
            f"{counted(lost['calls'], 'call')} went unanswered and may have been paid twice: see"
            " docs/lanes.md."
        )


def _in_flight(store: Store, wave: str) -> str:
    """What is with the provider for the wave; "" if nothing is."""
    (open,) = query(
        store,
        "SELECT count(*) AS jobs, sum(requests) AS requests, sum(held_usd) AS usd FROM jobs"
        " WHERE wave = ? AND event IN ('claimed', 'accepted')",
        [wave],
    )
    if not open["jobs"]:
        return ""
    return (
        f"With the provider: {counted(open['jobs'], 'job')},"
        f" {counted(int(open['requests']), 'request')};"
        f" ${open['usd']:.4f} is held for them."
    )


def _print_short(console: Console, store: Store, wave: str) -> None:
    short = short_briefs(store, wave)
    lines = [
        f"short: {row['brief']} {row['final']} of {row['want']} — last reason: {row['reason']}"
        for row in short[:_MOST_SHORT]
    ]
    if len(short) > _MOST_SHORT:
        lines.append(
            f"… and {len(short) - _MOST_SHORT} more: {command(store, f'status {wave} --json')}"
        )
    if short:
        lines.append(way_out(store, wave, short))
    for line in lines:
        # A reason may hold brackets of its own; a line that is cut cannot be copied.
        console.print(line, markup=False, highlight=False, soft_wrap=True)
