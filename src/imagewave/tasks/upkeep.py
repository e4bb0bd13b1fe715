"""Keeps a store fit: few parts, no pictures kept longer than wanted, no forgotten pieces."""

from dataclasses import dataclass

from imagewave.storage import compaction
from imagewave.storage.analytics import query
from imagewave.storage.store import Store
from imagewave.storage.tables import COLUMNS

# A table is compacted once it has so many small parts: well before a thousand slow every query.
ENOUGH_PARTS = 100

_UNSENT = """
SELECT DISTINCT job_id FROM raw_submissions
WHERE job_id NOT IN (SELECT job_id FROM jobs WHERE event <> 'released') ORDER BY job_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """What nobody seems to want.

    `images` are paths of pictures that no fact names: of a collect that was killed before its
    facts, or that is at work right now. `jobs` were planned, and no provider has them.
    """

    images: tuple[str, ...]
    jobs: tuple[str, ...]


def compact(store: Store, *, at_least: int = ENOUGH_PARTS) -> dict[str, int]:
    """Merges the parts of each table that has many; returns how many went, by table.

    What earlier compactions replaced longer than a day ago is deleted.
    """
    merged = {}
    for table in COLUMNS:
        if count := compaction.compact(store, table, at_least=at_least):
            merged[table] = count
        compaction.sweep(store, table)
    return merged


def orphans(store: Store) -> Orphans:
    """Looks for orphans; deletes none."""
    # Listed first: a picture that is stored meanwhile is not in the list, its fact may be.
    stored = store.list("images")
    known = {row["path"] for row in query(store, "SELECT path FROM images")}
    unsent = [row["job_id"] for row in query(store, _UNSENT)]
    return Orphans(images=tuple(path for path in stored if path not in known), jobs=tuple(unsent))
