"""`imagewave plan`: what a wave will cost, or did cost beside its plan. Spends nothing."""

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from imagewave.storage.store import DEFAULT_STORE, NoStore, Store
from imagewave.storage.wavefile import load_wave
from imagewave.tasks import plan as planning
from imagewave.tasks.forecast import Spread
from imagewave.tasks.own_gpu import OwnGpu
from imagewave.tasks.plan import Alternative, Plan
from imagewave.tasks.plan_check import Check
from imagewave.tasks.plan_check import check as check_wave
from imagewave.tasks.quotas import Pressure
from imagewave.words import counted


class Against(StrEnum):
    """What to hold the plan against."""

    ACTUAL = "actual"


def plan(
    wave: Annotated[str, typer.Argument(help="The wave file: a path or URL.", metavar="WAVE")],
    store: Annotated[
        str, typer.Option(help="The store whose history is used: a folder or s3://bucket/prefix.")
    ] = DEFAULT_STORE,
    compare: Annotated[
        str,
        typer.Option(
            help="Models for the drafts, side by side; MODEL@LANE goes by that lane.",
            metavar="MODEL,MODEL,…",
        ),
    ] = "",
    check: Annotated[
        Against | None, typer.Option(help="Put what a finished wave took beside its plan.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why these models, where the use case chose them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Estimate what a wave will cost; spends nothing and needs no key.

    The wave is played some hundred times with the policy that a run follows, from the acceptance
    rates that the store has measured: 8 of 10 plays cost between the first and the last figure of a
    range.

    Examples:

      imagewave plan examples/spring-covers.toml

      imagewave plan covers.toml --compare lite,2.1,pro,gpt-image-2,sdxl@gpu

      imagewave plan covers.toml --check actual

      imagewave plan covers.toml --explain
    """
    if sum((bool(compare), bool(check), explain)) > 1:
        raise typer.BadParameter("of --compare, --check and --explain only one goes at a time.")
    names = [name.strip() for name in compare.split(",") if name.strip()]
    if compare and not names:
        raise typer.BadParameter("it names no model.", param_hint="--compare")
    loaded = load_wave(wave)
    try:
        opened = Store.open(store, create=False)
    except NoStore:
        if check:
            raise
        opened = None
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    if compare:
        found = planning.compare(opened, loaded, names)
        _show(console, found, _print_comparison, as_json)
        if not any(each.plan for each in found):
            raise typer.Exit(1)
        return
    if check and opened is not None:
        fresh = planning.plan_wave(opened, loaded, fresh=True)
        _show(console, check_wave(opened, loaded, fresh), _print_check, as_json)
        return
    planned = planning.plan_wave(opened, loaded)
    if explain:
        why = loaded.routing or ("The wave file names its models itself, or no use case.",)
        planned = dataclasses.replace(planned, routing=why)
    _show(console, planned, _print_plan, as_json)


def _show(console: Console, found: Any, tables: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_plain(found), indent=2, ensure_ascii=False))
    else:
        tables(console, found)


def _print_plan(console: Console, planned: Plan) -> None:
    for reason in planned.routing:
        console.print(escape(reason))
    console.print(
        f"[bold]{escape(planned.wave)}[/]: {counted(planned.briefs, 'brief')} that want"
        f" {counted(planned.wanted, 'picture')}, by {escape(planned.lane)}\n"
    )
    if planned.delivered_already:
        console.print("This very wave is delivered: there is nothing more to pay for.")
        _print_warnings(planned)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("stage")
    table.add_column("model")
    free = any(line.free.high for line in planned.lines)
    headings = ["requests", *["free"] * free, "USD each", "low USD", "USD", "high USD", "time"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    *stages, total = _ranges(planned)
    for line, usd in zip(planned.lines, stages, strict=True):
        table.add_row(
            line.stage,
            escape(f"{line.model} {line.size}".strip()),
            _number(line.requests.middle),
            *[_number(line.free.middle)] * free,
            f"{line.usd_per_call:.5f}",
            *usd,
            _time(line.time.expected_s),
        )
    table.add_section()
    table.add_row(
        "total",
        *[""] * (3 + free),
        *total,
        _time(planned.expected_s),
    )
    console.print(table)
    console.print(
        "USD is the mean; in 8 of 10 plays a stage, and the whole wave, costs between low and"
        " high, which do not add up.\n",
        style="dim",
    )
    if free:
        count = round(sum(line.free.middle for line in planned.lines))
        console.print(f"Answered in the store already, and free: about {count} of the requests.")
    if planned.imported:
        console.print(f"Imported pictures that wait: {planned.imported}; each may save a draft.")
    for line in planned.lines:
        if line.rate is not None:
            console.print(f"{line.stage}s pass: {line.rate:.0%}. {escape(line.source)}")
    console.print(
        f"Pictures delivered: {planned.delivered.middle} ({_range(planned.delivered)}) of"
        f" {planned.wanted}, in {planned.rounds.middle} rounds ({_range(planned.rounds)})."
    )
    console.print(f"Waits for the provider: {_waits(planned)}")
    for line in planned.lines:
        limit = f"; at the most {_time(line.time.limit_s)}" if line.time.limit_s else ""
        console.print(
            f"{line.stage} takes {_time(line.time.expected_s)}: {line.time.basis}{limit}."
        )
    if planned.usd_per_delivered is not None:
        console.print(f"Cost per delivered picture: [bold]{_usd(planned.usd_per_delivered)}[/]")
    if planned.interactive_usd is not None and planned.interactive_usd > planned.usd.middle:
        console.print(
            f"The same calls outside of batches: {_usd(planned.interactive_usd)}; the batch saves"
            f" {_usd(planned.interactive_usd - planned.usd.middle)}."
        )
    if planned.own_gpu is not None:
        for sentence in _on_own_gpu(planned.own_gpu):
            console.print(sentence)
    for pressure in planned.quotas:
        if pressure.too_small:
            console.print(_pressure(pressure))
    _print_warnings(planned)


def _ranges(planned: Plan) -> list[tuple[str, str, str]]:
    """Low, mean and high USD of each stage and of the total; the means' digits add up, too.

    What rounding leaves over goes to those that it took most from.
    """
    parts = [line.usd.middle for line in planned.lines]
    digits = 2 if planned.usd.middle >= 10 else 4
    unit = Decimal(1).scaleb(-digits)
    total = sum(parts, Decimal(0)).quantize(unit)
    shown = [part.quantize(unit, ROUND_FLOOR) for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda n: shown[n] - parts[n])
    for n in by_rest[: int((total - sum(shown, Decimal(0))) / unit)]:
        shown[n] += unit
    spreads = [*(line.usd for line in planned.lines), planned.usd]
    return [
        # A mean that was rounded up is still within its range.
        (
            f"{min(usd.low, mean):.{digits}f}",
            f"{mean:.{digits}f}",
            f"{max(usd.high, mean):.{digits}f}",
        )
        for usd, mean in zip(spreads, (*shown, total), strict=True)
    ]


def _time(seconds: float | None) -> str:
    """Seconds in the unit that suits them; "?" where nobody knows."""
    if seconds is None:
        return "?"
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _on_own_gpu(gpu: OwnGpu) -> Iterator[str]:
    if gpu.usd_per_picture is None or gpu.usd is None:
        yield f"Drafts on an own GPU cannot be priced: {escape(gpu.problem)}"
        return
    yield (
        f"On an own GPU at ${gpu.usd_per_hour}/h the drafts would cost {_usd(gpu.usd)}:"
        f" {gpu.model}, {gpu.seconds} s and ${gpu.usd_per_picture:.6f} each. {escape(gpu.source)}."
    )
    for rent, pays, most in (
        ("by the hour", gpu.pays_per_hour, gpu.most_per_hour),
        ("by the month", gpu.pays_per_month, gpu.most_per_month),
    ):
        yield f"Rented {rent} it pays " + (
            f"never: it draws {most:,} at the most."
            if pays is None
            else f"from {pays:,} drafts on, of {most:,} that it can draw."
        )


def _pressure(pressure: Pressure) -> str:
    tiers = ", ".join(f"{tier} {holds:,}" for tier, holds in pressure.tiers.items())
    return (
        f"{pressure.stage} needs {pressure.need:,} {pressure.what}; it has to wait in"
        f" {', '.join(pressure.too_small)} ({tiers}, by {pressure.source.reference},"
        f" {pressure.source.grade}, {pressure.source.date})."
    )


def _print_comparison(console: Console, alternatives: Sequence[Alternative]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("drafts by", "lane"):
        table.add_column(heading)
    for heading in ("USD per draft", "pass", "drafts", "total USD", "(80 % range)", "per picture"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in alternatives:
        if each.plan is None:
            continue
        [line] = [line for line in each.plan.lines if line.stage == "draft"]
        assert line.rate is not None
        per_picture = each.plan.usd_per_delivered
        table.add_row(
            escape(f"{each.model} {line.size}"),
            each.plan.lane,
            f"{line.usd_per_call:.5f}",
            f"{line.rate:.0%}",
            _number(line.requests.middle),
            _usd(each.plan.usd.middle),
            _usd_range(each.plan.usd),
            "–" if per_picture is None else _usd(per_picture),
        )
    if table.row_count:
        console.print(table)
    for each in alternatives:
        if each.plan is None:
            console.print(f"\n{escape(each.model)}: {escape(each.problem)}")
            continue
        [line] = [line for line in each.plan.lines if line.stage == "draft"]
        console.print(f"\n{escape(each.model)}: {escape(line.source)}", style="dim")
        _print_warnings(each.plan)


def _print_check(console: Console, checks: Sequence[Check]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("stage")
    for heading in ("planned", "(80 % range)", "asked", "free", "planned USD", "(80 % range)"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("paid USD", justify="right")
    table.add_column("")
    for each in checks:
        line = each.line
        verdict = "as planned"
        if not each.within:
            verdict = "more than planned" if each.worth > line.usd.high else "less than planned"
        if each.reused:
            verdict += f" ({_usd(each.worth)} without what was free)"
        table.add_row(
            line.stage,
            _number(line.requests.middle),
            _range(line.requests),
            str(each.requests),
            str(each.reused),
            _usd(line.usd.middle),
            _usd_range(line.usd),
            _usd(each.usd),
            verdict,
        )
    table.add_section()
    planned = sum((each.line.usd.middle for each in checks), Decimal(0))
    paid = sum((each.usd for each in checks), Decimal(0))
    table.add_row("total", "", "", "", "", _usd(planned), "", _usd(paid), "")
    console.print(table)


def _print_warnings(planned: Plan) -> None:
    for warning in planned.warnings:
        print(f"Warning: {warning}", file=sys.stderr)


def _waits(planned: Plan) -> str:
    waits = f"{planned.waits.middle} ({_range(planned.waits)})"
    each = planned.seconds_per_wait
    if each is None:
        return f"{waits}; a batch may take a day, and some have taken two"
    total = timedelta(seconds=round(each * planned.waits.middle))
    return (
        f"{waits}, about {total} in all, as its jobs took {timedelta(seconds=round(each))} before"
    )


def _range(spread: Spread[int] | Spread[float]) -> str:
    return f"{_number(spread.low)} – {_number(spread.high)}"


def _number(count: float) -> str:
    """Requests; of a mean below ten, its first decimal."""
    return f"{count:.1f}" if count < 10 and count % 1 else f"{count:.0f}"


def _usd_range(spread: Spread[Decimal]) -> str:
    return f"{_usd(spread.low)} – {_usd(spread.high)}"


def _usd(value: Decimal) -> str:
    return f"{value:.2f}" if value >= 10 else f"{value:.4f}"


def _plain(value: Any) -> Any:
    """JSON values; money is text, so that no digit is lost."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, Plan):
            fields["expected_s"] = value.expected_s
        return fields | ({"within": value.within} if isinstance(value, Check) else {})
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
