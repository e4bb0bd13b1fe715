"""`imagewave status`: where waves stand, and what is with the provider."""

import json
from typing import Annotated, Any

import typer

from imagewave.cli.shortfall import short_briefs
from imagewave.storage.analytics import query, require_wave
from imagewave.storage.store import DEFAULT_STORE, Store

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


def status(
    wave: Annotated[
        str, typer.Argument(help="Only this wave; left out: all of them.", metavar="WAVE")
    ] = "",
    store: Annotated[str, typer.Option(help="Folder or URL of the store.")] = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where waves stand and what is with the provider.

    Examples:

      imagewave status

      imagewave status spring-covers --json
    """
    opened = Store.open(store, create=False)
    if wave:
        require_wave(opened, wave)
    waves = query(opened, _WAVES, [wave])
    jobs = query(opened, _JOBS, [wave])
    stops = query(opened, _STOPS, [wave])
    short = short_briefs(opened, wave)
    if as_json:
        found = {"waves": waves, "open_jobs": jobs, "stopped": stops, "briefs_short": short}
        print(json.dumps(found, default=str, indent=2))
        return
    _print("Waves", waves, "No wave was run here yet.")
    _print("Jobs with the provider", jobs, "No job is with a provider.")
    if short:
        _print("Briefs with fewer pictures than wanted", short, "")
    for stop in stops:
        print(f"{stop['wave']} is stopped: {stop['stopped_because']}")


def _print(title: str, rows: list[dict[str, Any]], none: str) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        print(none)
        return
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)
