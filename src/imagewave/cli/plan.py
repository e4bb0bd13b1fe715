"""`imagewave plan`: what a wave will cost, or did cost beside its plan. Spends nothing."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Annotated, Any

import typer

from imagewave.cli.terminal import printing, tables
from imagewave.cli.terminal.options import StoreOption
from imagewave.cli.terminal.printing import say
from imagewave.providers.lanes import providers_of
from imagewave.storage.realms import Realm, money_note
from imagewave.storage.store import NoStore
from imagewave.storage.waves.editions import choose
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks.planning import plan as planning
from imagewave.tasks.planning.actuals import Check
from imagewave.tasks.planning.actuals import check as check_wave
from imagewave.tasks.planning.forecast import Spread
from imagewave.tasks.planning.gpu_breakeven import OwnGpu
from imagewave.tasks.planning.plan import Alternative, Plan, Remedy
from imagewave.tasks.planning.rate_limits import Pressure
from imagewave.tasks.stores import store_to_go_on
from imagewave.words import counted

_ON_USD = (
    "USD is the mean; in 8 of 10 simulations a stage, and the whole wave, costs between low"
    " and high, which do not add up."
)
# Where the table is not printed to a terminal.
_WIDTH = 160


class Against(StrEnum):
    """What to hold the plan against."""

    ACTUAL = "actual"


def plan(
    wave: Annotated[str, typer.Argument(help="The wave file: a path or URL.", metavar="WAVE")],
    store: StoreOption = None,
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
    edition: Annotated[
        str, typer.Option(help="Of this edition, where it is not the wave file's.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Estimate what a wave will cost; spends nothing and needs no key.

    The wave is simulated some hundred times with the policy that a run follows, from the acceptance
    rates that the store has measured: 8 of 10 simulations cost between the first and the last
    figure of a range.

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
    with printing.answering_in_json(as_json):
        _plan(wave, store, names, check=check, explain=explain, edition=edition, as_json=as_json)


def _plan(
    wave: str,
    store: str | None,
    compare: Sequence[str],
    *,
    check: Against | None,
    explain: bool,
    edition: str,
    as_json: bool,
) -> None:
    of_file = load_wave(wave)
    try:
        opened = store_to_go_on(store, providers_of(of_file))
    except NoStore:
        if check:
            raise
        opened = None
    loaded = choose(opened, of_file, edition, begin=not check)
    if opened and opened.realm is Realm.SANDBOX and not as_json:
        say(f"By what {opened.url} knows of stand-ins{money_note(opened.realm)}.")
    if compare:
        found = planning.compare(opened, loaded, compare)
        _show(found, _print_comparison, as_json)
        if not any(each.plan for each in found):
            raise typer.Exit(1)
        return
    if check and opened is not None:
        fresh = planning.plan_wave(opened, loaded, fresh=True)
        _show(check_wave(opened, loaded, fresh), _print_check, as_json)
        return
    planned = planning.plan_wave(opened, loaded, advise=True)
    if explain:
        why = loaded.routing or ("The wave file names its models itself, or no use case.",)
        planned = dataclasses.replace(planned, routing=why)
    _show(planned, _print_plan, as_json)


def _show(found: Any, in_words: Callable[[Any], None], as_json: bool) -> None:
    if as_json:
        printing.answer(_plain(found))
    else:
        in_words(found)


def _print_plan(planned: Plan) -> None:
    for reason in planned.routing:
        say(reason)
    tables.say(
        (planned.wave, "bold"),
        f": {counted(planned.briefs, 'brief')} that want"
        f" {counted(planned.wanted, 'picture')}, by {planned.lane}",
    )
    say()
    if planned.delivered_already:
        say("This very wave is delivered: there is nothing more to pay for.")
        _print_warnings(planned)
        return
    table = tables.Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
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
            f"{line.model} {line.size}".strip(),
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
    tables.show(table, width=_WIDTH)
    tables.say((_ON_USD, "dim"))
    say()
    if free:
        count = round(sum(line.free.middle for line in planned.lines))
        say(f"Answered in the store already, and free: about {count} of the requests.")
    if planned.imported:
        say(f"Imported pictures that wait: {planned.imported}; each may save a draft.")
    for line in planned.lines:
        if line.rate is not None:
            say(f"{line.stage}s pass: {line.rate:.0%}. {line.source}")
    say(
        f"Pictures delivered: {planned.delivered.middle} ({_range(planned.delivered)}) of"
        f" {planned.wanted}, in {planned.rounds.middle} rounds ({_range(planned.rounds)})."
    )
    if planned.remedy is not None:
        say(_remedy(planned.remedy, planned))
    say(f"Waits for the provider: {_waits(planned)}")
    for line in planned.lines:
        time = line.time
        aim = f"; the provider aims at {_time(time.aim_s)}" if time.aim_s else ""
        limit = f", and gives up after {_time(time.limit_s)}" if time.limit_s else ""
        say(f"{line.stage} takes {_time(time.expected_s)}: {time.basis}{aim}{limit}.")
    for brief, reason in planned.refused.items():
        say(
            f"{brief}: its words were refused before ({reason}), and are not sent"
            " again until they change, or by `imagewave rerun --refused`."
        )
    if planned.usd_per_delivered is not None:
        tables.say("Cost per delivered picture: ", (_usd(planned.usd_per_delivered), "bold"))
    if planned.interactive_usd is not None and planned.interactive_usd > planned.usd.middle:
        say(
            f"The same calls outside of batches: {_usd(planned.interactive_usd)}; the batch saves"
            f" {_usd(planned.interactive_usd - planned.usd.middle)}."
        )
    if planned.own_gpu is not None:
        for sentence in _on_own_gpu(planned.own_gpu):
            say(sentence)
    for pressure in planned.quotas:
        if pressure.too_small:
            say(_pressure(pressure))
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
        yield f"Drafts on an own GPU cannot be priced: {gpu.problem}"
        return
    yield (
        f"On an own GPU at ${gpu.usd_per_hour}/h the drafts would cost {_usd(gpu.usd)}:"
        f" {gpu.model}, {gpu.seconds} s and ${gpu.usd_per_picture:.6f} each. {gpu.source}."
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


def _remedy(remedy: Remedy, planned: Plan) -> str:
    keys = ", ".join(f"{key} = {value:g}" for key, value in remedy.keys.items())
    usd = remedy.usd.middle - planned.usd.middle
    extra = f", for about {_usd(usd)} more" if usd > 0 else ""
    spread = remedy.delivered
    return (
        f"To get more, set [draft] {keys}: it delivers {spread.middle} ({_range(spread)}) of"
        f" {planned.wanted}{extra}."
    )


def _pressure(pressure: Pressure) -> str:
    tiers = ", ".join(f"{tier} {holds:,}" for tier, holds in pressure.tiers.items())
    return (
        f"{pressure.stage} needs {pressure.need:,} {pressure.what}; it has to wait in"
        f" {', '.join(pressure.too_small)} ({tiers}, by {pressure.source.reference},"
        f" {pressure.source.grade}, {pressure.source.date})."
    )


def _print_comparison(alternatives: Sequence[Alternative]) -> None:
    table = tables.Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
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
            f"{each.model} {line.size}",
            each.plan.lane,
            f"{line.usd_per_call:.5f}",
            f"{line.rate:.0%}",
            _number(line.requests.middle),
            _usd(each.plan.usd.middle),
            _usd_range(each.plan.usd),
            "–" if per_picture is None else _usd(per_picture),
        )
    if table.row_count:
        tables.show(table, width=_WIDTH)
    for each in alternatives:
        if each.plan is None:
            say()
            say(f"{each.model}: {each.problem}")
            continue
        [line] = [line for line in each.plan.lines if line.stage == "draft"]
        say()
        tables.say((f"{each.model}: {line.source}", "dim"))
        _print_warnings(each.plan)


def _print_check(checks: Sequence[Check]) -> None:
    table = tables.Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
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
    tables.show(table, width=_WIDTH)


def _print_warnings(planned: Plan) -> None:
    for warning in planned.warnings:
        printing.warn(warning)


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
