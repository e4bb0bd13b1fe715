"""`imagewave status`: where waves stand, and what is with the provider."""

from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal
from typing import Annotated

import typer

from imagewave.cli.terminal import printing
from imagewave.cli.terminal.options import StoreOption
from imagewave.storage.facts.analytics import require_wave
from imagewave.storage.realms import money_note
from imagewave.storage.store import Store
from imagewave.tasks.reporting import standing
from imagewave.tasks.reporting.standing import OpenJob, ShortBrief, WaveStatus
from imagewave.tasks.stores import store_to_read

# What does not go to a terminal is as wide as one.
_WIDTH = 80
_FOLDED = ("wave", "brief", "last reason")


def status(
    wave: Annotated[
        str, typer.Argument(help="Only this wave; left out: all of them.", metavar="WAVE")
    ] = "",
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where waves stand and what is with the provider.

    Examples:

      imagewave status

      imagewave status spring-covers --json
    """
    with printing.answering_in_json(as_json):
        _status(store_to_read(store), wave, as_json)


def _status(opened: Store, wave: str, as_json: bool) -> None:
    if wave:
        require_wave(opened, wave)
    found = standing.status(opened, wave)
    if as_json:
        tables = {each.name: getattr(found, each.name) for each in fields(found)}
        printing.answer({"realm": opened.realm, **tables})
        return
    note = money_note(opened.realm)
    _print(f"Waves{note}", map(_wave_line, found.waves), "No wave was run here yet.")
    _print(
        f"Jobs with the provider{note}",
        map(_job_line, found.open_jobs),
        "No job is with a provider.",
    )
    if found.briefs_short:
        _print("Briefs with fewer pictures than wanted", map(_short_line, found.briefs_short), "")
    for stop in found.stopped:
        printing.say(f"{stop.wave} is stopped: {stop.stopped_because}")


# What a terminal of 80 columns can show; --json has the rest, and the ids in full.


def _wave_line(row: WaveStatus) -> dict[str, str]:
    return {
        "wave": row.wave,
        "wanted": str(row.wanted),
        "drafts": str(row.generated),
        "accepted": str(row.accepted),
        "final": str(row.final),
        "USD": _money(row.spent_usd),
        "USD each": _money(row.usd_per_accepted),
    }


def _job_line(row: OpenJob) -> dict[str, str]:
    return {
        "wave": row.wave,
        "kind": row.kind,
        "job": _short_id(row.job_id),
        "there": _short_id(row.provider_job or "not known"),
        "requests": str(row.requests),
        "held USD": _money(row.held_usd),
        "minutes": str(row.minutes),
    }


def _short_line(row: ShortBrief) -> dict[str, str]:
    return {
        "wave": row.wave,
        "brief": row.brief,
        "final": f"{row.final} of {row.want}",
        "last reason": row.reason,
    }


def _short_id(id: str) -> str:
    return id.rpartition("/")[2][:12]


def _money(usd: Decimal | None) -> str:
    return "" if usd is None else f"{usd:.4f}"


def _print(title: str, lines: Iterable[dict[str, str]], none: str) -> None:
    rows = list(lines)
    if not rows:
        printing.say(none)
        return
    from rich import box

    from imagewave.cli.terminal import tables

    table = tables.Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        if name in _FOLDED:
            table.add_column(name, overflow="fold")
        else:
            right = name not in ("kind", "job", "there")
            table.add_column(name, no_wrap=True, justify="right" if right else "left")
    for row in rows:
        table.add_row(*row.values())
    tables.show(table, width=_WIDTH)
