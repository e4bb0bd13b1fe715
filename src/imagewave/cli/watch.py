"""`imagewave watch`: goes on with waves that were left to it, without any deployment."""

import time
import traceback
from contextlib import nullcontext
from typing import Annotated

import typer

from imagewave.cli.terminal.numbers import finite
from imagewave.cli.terminal.options import StoreOption
from imagewave.cli.terminal.printing import say, tell
from imagewave.errors import ImagewaveError
from imagewave.storage.realms import Realm
from imagewave.storage.store import Store
from imagewave.tasks.stores import store_to_read


def watch(
    store: StoreOption = None,
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
    from imagewave.providers.environment import key_variables
    from imagewave.storage.waves.handover import waves_left

    opened = store_to_read(store)
    quiet_prefect()
    # Lanes that lack a key say so, one by one; the others go on.
    stand_in = nullcontext() if opened.realm is Realm.LIVE else provider(opened, key_variables())
    with stand_in:
        while True:
            fine = _look(opened)
            if not every or not waves_left(opened):
                break
            time.sleep(every)
    if not fine:
        raise typer.Exit(1)


def _look(store: Store) -> bool:
    """Polls once and runs what can move; False if anything went wrong."""
    from imagewave.providers.lanes import Lanes
    from imagewave.storage.waves.wave import Screen
    from imagewave.tasks.jobs.handed_over import survey, take_in
    from imagewave.tasks.screening.pool import Pool

    found = survey(store, Lanes(store).named)
    trouble = list(found.trouble)
    if found.leftovers:
        for left in found.leftovers:
            say(f"{left.wave}: a job that nobody waits for has ended, and is taken in")
        with Pool(max_pixels=Screen().max_pixels) as pool:
            trouble += take_in(store, found.leftovers, pool)
    for name in found.waiting:
        say(f"{name}: waits for its jobs")
    for due in found.due:
        from imagewave.flows.launch import launch

        name = due.handover.wave
        say(f"{name}: goes on, {', '.join(due.reasons)}", flush=True)
        try:
            report = launch(
                due.handover.wave_file,
                store.url,
                wait=False,
                lane=due.handover.lane,
                edition=due.handover.edition or None,
            )
        except ImagewaveError as error:
            trouble.append(f"{name}: {error}")
            continue
        except Exception:  # noqa: BLE001 - a defect that one wave meets stops no other
            trouble.append(f"{name}: {traceback.format_exc()}")
            continue
        say(f"{name}: {f'delivered, {store.url_of(report)}' if report else 'waits again'}")
    if not found.due and not found.waiting:
        say("No wave was left to watch.")
    for line in trouble:
        tell(f"Error: {line}", lines=True)
    return not trouble
