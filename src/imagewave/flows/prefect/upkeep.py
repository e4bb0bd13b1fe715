"""Keeps a store fit; safe while waves run on it."""

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from imagewave.flows.prefect.labels import artifact_key
from imagewave.storage.store import Store
from imagewave.tasks import upkeep as keeping
from imagewave.words import in_markdown


@flow(name="upkeep", flow_run_name="upkeep {store}")
def upkeep(store: str, drafts_days: float | None = None) -> dict[str, int]:
    """Compacts the facts, applies the retention policy, reports orphans; returns counts.

    `drafts_days` is after how many days the bytes of rejected pictures go; None keeps them.
    """
    merged = compact(store)
    retained = None if drafts_days is None else retain(store, drafts_days)
    dropped = drop_answers(store)
    found = orphans(store)
    counts = {
        "pictures given up": retained.given_up if retained else 0,
        "pictures deleted": retained.deleted if retained else 0,
        "parts merged": sum(merged.values()),
        "answers deleted": dropped,
        "orphaned images": len(found.images),
        "unsent jobs": len(found.jobs),
    }
    lines = [f"- {what}: {count}" for what, count in counts.items()]
    lines += [f"  - {in_markdown(path)}" for path in (*found.images, *found.jobs)[:100]]
    key = artifact_key("upkeep", Store.open(store).id[:8])
    create_markdown_artifact("\n".join(lines), key=key, description=f"upkeep of {store}")
    get_run_logger().info("%s", counts)
    return counts


@task(name="compact", cache_policy=NO_CACHE)
def compact(store: str) -> dict[str, int]:
    """Merges small parts of the facts."""
    return keeping.compact(Store.open(store, create=False))


@task(name="retain", cache_policy=NO_CACHE)
def retain(store: str, drafts_days: float) -> keeping.Retention:
    """Gives up rejected pictures, and deletes those given up before."""
    return keeping.retain(Store.open(store, create=False), drafts_days=drafts_days)


@task(name="answers", cache_policy=NO_CACHE)
def drop_answers(store: str) -> int:
    """Deletes answers that were taken apart into pictures and facts long ago."""
    return keeping.drop_answers(Store.open(store, create=False))


@task(name="orphans", cache_policy=NO_CACHE)
def orphans(store: str) -> keeping.Orphans:
    """Looks for what nobody wants."""
    return keeping.orphans(Store.open(store, create=False))
