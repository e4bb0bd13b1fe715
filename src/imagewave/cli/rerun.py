"""`imagewave rerun`: makes what failed again, and nothing else."""

import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from imagewave.cli.commands import command
from imagewave.cli.display import paid_by, print_summary
from imagewave.cli.run import NOTHING_DELIVERED, is_done, provider, run_flow, stopping_cleanly
from imagewave.errors import ImagewaveError
from imagewave.storage.analytics import query
from imagewave.storage.store import DEFAULT_STORE, Store
from imagewave.words import counted, redacted


def rerun(
    wave: Annotated[
        str,
        typer.Argument(help="A wave file, or the name of a wave of the store.", metavar="WAVE"),
    ],
    where: Annotated[
        str,
        typer.Option(help="SQL over the failed requests; by default: what failed or is missing."),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option(help="List it with its price, and send nothing.")
    ] = False,
    store: Annotated[
        str,
        typer.Option(help="Where everything is kept: a folder or s3://bucket/prefix."),
    ] = DEFAULT_STORE,
    wait: Annotated[
        bool, typer.Option(help="Wait for the provider's jobs; else come back later.")
    ] = True,
) -> None:
    """Make again what failed in a wave, and nothing else.

    Requests that were refused are sent again only where --where names `refused`. What comes of the
    others goes on through screens, judge, finals and delivery; what is delivered already stays.
    Ends with 4 where the wave still has nothing to deliver.

    Examples:

      imagewave rerun covers.toml --dry-run

      imagewave rerun spring-covers --where "brief LIKE 'hero-%'"

      imagewave rerun covers.toml --where "status = 'refused' AND reason = 'IMAGE_SAFETY'"
    """
    from imagewave.storage.wavefile import load_wave
    from imagewave.tasks.lanes import providers_of
    from imagewave.tasks.rerun import failures

    opened = Store.open(store)
    file = _file(opened, wave)
    loaded = load_wave(file)
    picked = failures(opened, loaded, where)
    if not picked:
        print(f"Nothing to make again: no failed request of {loaded.name} is picked.")
        return
    total = sum((failure.estimate_usd for failure in picked), Decimal(0))
    for failure in picked:
        redo = failure.redo
        print(
            f"{redo.brief:<24} {redo.kind:<6} {failure.model:<30} "
            f"{f'{failure.status} {failure.reason}'.strip():<32} ${failure.estimate_usd:.4f}"
        )
    print(
        f"{counted(len(picked), 'request')}, about ${total:.4f}; judging and finals of what comes"
        " of them are extra."
    )
    if dry_run:
        print("Nothing was sent.")
        return
    before = paid_by(opened, loaded.name)
    with provider(opened, providers_of(loaded)), stopping_cleanly(opened, loaded.name):
        run_flow(file, store, wait=wait, rerun=where)
    delivered = print_summary(opened, loaded.name, before=before)
    if not delivered and is_done(opened, loaded.name, loaded.revision):
        raise typer.Exit(NOTHING_DELIVERED)


def _file(store: Store, wave: str) -> str:
    """The wave file: as given, or the one that a wave of that name was run from."""
    if "://" in wave or (Path(wave).exists() and not Path(wave).is_dir()):
        return wave
    rows = query(store, "SELECT file FROM waves WHERE wave = ?", [wave])
    if not rows:
        raise ImagewaveError(
            f"There is no file {wave!r}, and no wave of that name in {store.url}.",
            f"Name the wave file, or see {command(store, 'status')} for the waves.",
        )
    print(redacted(f"The wave file is {rows[0]['file']}."), file=sys.stderr)
    return str(rows[0]["file"])
