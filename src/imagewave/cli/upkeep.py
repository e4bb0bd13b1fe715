"""`imagewave upkeep`: keeps a store fit."""

from typing import Annotated

import typer

from imagewave.cli.terminal.numbers import finite
from imagewave.cli.terminal.options import StoreOption
from imagewave.cli.terminal.printing import say
from imagewave.tasks.stores import store_to_read
from imagewave.words import counted


def upkeep(
    store: StoreOption = None,
    drafts_days: Annotated[
        float | None,
        typer.Option(
            help="Delete rejected pictures that are older; left out: keep all.",
            min=0,
            callback=finite,
        ),
    ] = None,
) -> None:
    """Compact the facts, apply the retention policy, report orphans.

    Safe while waves run. Rejected pictures are given up first and deleted by an upkeep that runs
    an hour later or more; what is known of them stays. Orphans are listed, never deleted.

    Examples:

      imagewave upkeep

      imagewave upkeep --drafts-days 30 --store s3://team/imagewave
    """
    from imagewave.tasks.upkeep import compact, drop_answers, orphans, retain

    opened = store_to_read(store)
    merged = compact(opened)
    for table, count in merged.items():
        say(f"{table}: {count} parts merged")
    if drafts_days is not None:
        retained = retain(opened, drafts_days=drafts_days)
        say(f"{retained.given_up} pictures given up, {retained.deleted} deleted")
    dropped = drop_answers(opened)
    found = orphans(opened)
    for path in found.images:
        say(f"no fact names {path}")
    for job_id in found.jobs:
        say(f"planned and never sent: jobs/{job_id}")
    say(
        f"{counted(sum(merged.values()), 'part')} merged, "
        f"{counted(dropped, 'answer')} of settled jobs deleted, "
        f"{counted(len(found.images), 'orphaned image')}, {counted(len(found.jobs), 'unsent job')}."
    )
