"""`imagewave watch`: goes on with waves that were left to it, without any deployment."""

import sys
import time
from functools import partial
from typing import Annotated

import typer

from imagewave.cli.numbers import finite
from imagewave.errors import ImagewaveError
from imagewave.storage.store import DEFAULT_STORE, Store


def watch(
    store: Annotated[str, typer.Option(help="Folder or URL of the store.")] = DEFAULT_STORE,
    every: Annotated[
        float,
        typer.Option(
            help="Look again after so many seconds, until all is delivered.",
            min=0,
            callback=finite,
        ),
    ] = 0,
) -> None:
    """Go on with waves that were started with `imagewave run --no-wait`.

    Polls their jobs once, and runs each wave of which a job has ended as far as it goes. Several
    of these at once do no harm.

    Examples:

      imagewave watch

      imagewave watch --every 60 --store s3://team/imagewave
    """
    from imagewave.cli.run import provider, quiet_prefect
    from imagewave.storage.handover import handed_over

    opened = Store.open(store, create=False)
    quiet_prefect()
    with provider(opened):
        while True:
            fine = _look(opened)
            if not every or not handed_over(opened):
                break
            time.sleep(every)
    if not fine:
        raise typer.Exit(1)


def _look(store: Store) -> bool:
    """Polls once and runs what can move; False if anything went wrong."""
    from imagewave.tasks.lanes import open_lane
    from imagewave.tasks.watch import survey

    found = survey(store, partial(open_lane, store=store))
    trouble = list(found.trouble)
    for name in found.waiting:
        print(f"{name}: waits for its jobs")
    for due in found.due:
        from imagewave.flows.throwaway import end_server_with_process
        from imagewave.flows.wave import wave as wave_flow

        end_server_with_process()
        name = due.handover.wave
        print(f"{name}: goes on, {', '.join(due.reasons)}", flush=True)
        try:
            report = wave_flow(due.handover.wave_file, store.url, False, due.handover.lane)
        except ImagewaveError as error:
            trouble.append(f"{name}: {error}")
            continue
        print(f"{name}: {f'delivered, {store.url_of(str(report))}' if report else 'waits again'}")
    if not found.due and not found.waiting:
        print("No wave was left to watch.")
    for line in trouble:
        print(f"Error: {line}", file=sys.stderr)
    return not trouble
