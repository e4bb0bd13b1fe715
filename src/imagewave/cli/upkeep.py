"""`imagewave upkeep`: keeps a store fit."""

from typing import Annotated

import typer

from imagewave.storage.store import DEFAULT_STORE, Store


def upkeep(
    store: Annotated[str, typer.Option(help="Folder or URL of the store.")] = DEFAULT_STORE,
) -> None:
    """Compact the facts and report orphans.

    Safe while waves run. Orphans are listed, never deleted.

    Examples:

      imagewave upkeep --store s3://team/imagewave
    """
    from imagewave.tasks.upkeep import compact, orphans

    opened = Store.open(store, create=False)
    merged = compact(opened)
    for table, count in merged.items():
        print(f"{table}: {count} parts merged")
    found = orphans(opened)
    for path in found.images:
        print(f"no fact names {path}")
    for job_id in found.jobs:
        print(f"planned and never sent: jobs/{job_id}")
    print(
        f"{sum(merged.values())} parts merged, {len(found.images)} orphaned images, "
        f"{len(found.jobs)} unsent jobs."
    )
