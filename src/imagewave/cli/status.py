"""`imagewave status`: where waves stand, and what is with the provider."""

from decimal import Decimal
from typing import Annotated, Any

import typer

from imagewave.cli.terminal import printing
from imagewave.cli.terminal.options import StoreOption
from imagewave.cli.terminal.shortfall import short_briefs
from imagewave.storage.facts.analytics import query, require_wave
from imagewave.storage.realms import money_note
from imagewave.storage.store import Store
from imagewave.tasks.stores import store_to_read

_WAVES = """
SELECT waves.wave, sum(want)::BIGINT AS wanted, sum(requested)::BIGINT AS requested,
       sum(generated)::BIGINT AS generated, sum(funnel.accepted)::BIGINT AS accepted,
       sum(final)::BIGINT AS final, any_value(cost_usd) AS spent_usd,
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
    waves = query(opened, _WAVES, [wave])
    jobs = query(opened, _JOBS, [wave])
    stops = query(opened, _STOPS, [wave])
    short = short_briefs(opened, wave)
    if as_json:
        found = {
            "realm": opened.realm,
            "waves": waves,
            "open_jobs": jobs,
            "stopped": stops,
            "briefs_short": short,
        }
        printing.answer(found)
        return
    note = money_note(opened.realm)
    _print(f"Waves{note}", [_wave_line(row) for row in waves], "No wave was run here yet.")
    _print(
        f"Jobs with the provider{note}",
        [_job_line(row) for row in jobs],
        "No job is with a provider.",
    )
    if short:
        _print("Briefs with fewer pictures than wanted", [_short_line(row) for row in short], "")
    for stop in stops:
        printing.say(f"{stop['wave']} is stopped: {stop['stopped_because']}")


# What a terminal of 80 columns can show; --json has the rest, and the ids in full.


def _wave_line(row: dict[str, Any]) -> dict[str, str]:
    return {
        "wave": row["wave"],
        "wanted": _number(row["wanted"]),
        "drafts": _number(row["generated"]),
        "accepted": _number(row["accepted"]),
        "final": _number(row["final"]),
        "USD": _money(row["spent_usd"]),
        "USD each": _money(row["usd_per_accepted"]),
    }


def _job_line(row: dict[str, Any]) -> dict[str, str]:
    return {
        "wave": row["wave"],
        "kind": row["kind"],
        "job": _short_id(row["job_id"]),
        "there": _short_id(row["provider_job"] or "not known"),
        "requests": _number(row["requests"]),
        "held USD": _money(row["held_usd"]),
        "minutes": _number(row["minutes"]),
    }


def _short_line(row: dict[str, Any]) -> dict[str, str]:
    return {
        "wave": row["wave"],
        "brief": row["brief"],
        "final": f"{row['final']} of {row['want']}",
        "last reason": row["reason"],
    }


def _short_id(id: str) -> str:
    return id.rpartition("/")[2][:12]


def _number(count: int | None) -> str:
    return "" if count is None else str(count)


def _money(usd: Decimal | None) -> str:
    return "" if usd is None else f"{usd:.4f}"


def _print(title: str, rows: list[dict[str, str]], none: str) -> None:
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
