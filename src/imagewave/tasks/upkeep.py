"""Keeps a store fit: few parts, no pictures kept longer than wanted, no forgotten pieces."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from imagewave.storage.facts import compaction, facts
from imagewave.storage.facts.analytics import asking, query
from imagewave.storage.facts.tables import COLUMNS
from imagewave.storage.jobs import events as job_events
from imagewave.storage.records import BadRecord
from imagewave.storage.requests import digest
from imagewave.storage.rounds.reruns import is_delivered
from imagewave.storage.store import Store

# A table is compacted once it has so many small parts: well before a thousand slow every query.
ENOUGH_PARTS = 100

# Longer than a wave takes from looking for answered requests to writing down that it counts on
# them.
GRACE = timedelta(hours=1)

# Nobody reads a settled job's answers again but who was at it when it was settled.
SETTLED = timedelta(days=1)

# Pictures that lost: not chosen, in no asset, carried by no final, asked for by no wave that is
# still at work, and not imported for one that is yet to come. Of what was decided, all revisions
# count, not just the current ones.
_REJECTED = """
WITH wanted AS (
    SELECT image FROM raw_decisions WHERE decision <> 'rejected'
    UNION SELECT image FROM raw_assets
    UNION SELECT draft_image FROM raw_assets
    UNION SELECT reference FROM raw_requests WHERE kind = 'final'
    UNION SELECT results.image FROM requests JOIN raw_results AS results USING (request_id)
          WHERE requests.wave IN (SELECT unnest($at_work::VARCHAR[]))
    UNION SELECT reference FROM requests WHERE wave IN (SELECT unnest($at_work::VARCHAR[]))
    UNION SELECT image FROM raw_imports
          WHERE request_id NOT IN (SELECT request_id FROM raw_requests)
), swept AS (
    SELECT image, max(recorded_at) AS at FROM raw_sweeps GROUP BY image
)
SELECT image, any_value(images.path) AS path, any_value(images.bytes) AS bytes,
       max(results.recorded_at) AS drawn_at, any_value(swept.at) AS swept_at
FROM raw_results AS results JOIN images USING (image) LEFT JOIN swept USING (image)
WHERE results.status = 'image' AND image NOT IN (SELECT image FROM wanted WHERE image IS NOT NULL)
GROUP BY image
HAVING max(results.recorded_at) < $before
ORDER BY image
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How many rejected pictures were given up now, and how many given up before were deleted."""

    given_up: int
    deleted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """What nobody seems to want.

    `images` are paths of pictures that no fact names: of a collect that was killed before its
    facts, of one that is at work right now, or of a rendering. `jobs` were planned, and no provider
    has them.
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


def retain(store: Store, *, drafts_days: float, grace: timedelta = GRACE) -> Retention:
    """Deletes the bytes of rejected pictures that are older than so many days; facts all stay.

    In two steps, so that it is safe while waves run: a picture is first given up, which is a fact,
    and from then on nobody counts on it. It is deleted by a later upkeep, after `grace`, if by then
    no wave that is at work has asked for it before it was given up.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    waves = query(store, "SELECT wave, revision FROM waves")
    at_work = [row["wave"] for row in waves if not _is_over(store, row["wave"], row["revision"])]
    with asking(store, _REJECTED) as connection:
        cursor = connection.execute(
            _REJECTED, {"at_work": at_work, "before": now - timedelta(days=drafts_days)}
        )
        rejected = cursor.fetchall()
    fresh, deleted = [], 0
    for image, path, size, drawn_at, swept_at in rejected:
        if swept_at is None or swept_at < drawn_at:
            fresh.append((image, path, size, drawn_at))
        elif swept_at < now - grace and store.exists(path):
            store.delete(path)
            deleted += 1
    if fresh:
        part = f"upkeep-{digest([f'{image} {drawn_at}' for image, _, _, drawn_at in fresh])}"
        reason = f"rejected, older than {drafts_days:g} days"
        rows = [
            {"image": image, "path": path, "bytes": size, "reason": reason}
            for image, path, size, _ in fresh
        ]
        facts.append(store, "sweeps", part, rows)
    return Retention(given_up=len(fresh), deleted=deleted)


def _is_over(store: Store, wave: str, revision: str) -> bool:
    try:
        return is_delivered(store, wave, revision)
    except BadRecord:  # nobody can tell: its pictures are kept
        return False


def drop_answers(store: Store, *, grace: timedelta = SETTLED) -> int:
    """Deletes what the lanes without a provider's own files kept of jobs that are long settled.

    These are the answers of single calls, pictures and all, and the records of renderings: what was
    in them is in pictures and facts. That a call was made stays, so that none is made again.
    """
    before = datetime.now(UTC).replace(tzinfo=None) - grace
    rows = query(
        store, "SELECT token FROM jobs WHERE event = 'settled' AND settled_at < ?", [before]
    )
    over = {row["token"] for row in rows}
    dropped = 0
    for path in (*store.list("calls"), *store.list("renders")):
        _, token, *rest = path.split("/")
        if token in over and (path.endswith(".answer") or rest[0] == "done"):
            store.delete(path)
            dropped += 1
    return dropped


def orphans(store: Store) -> Orphans:
    """Looks for orphans; deletes none."""
    # Listed first: a picture that is stored meanwhile is not in the list, its fact may be.
    stored = store.list("images")
    known = {row["path"] for row in query(store, "SELECT path FROM images")}
    unsent = [row["job_id"] for row in query(store, job_events.UNSENT)]
    return Orphans(images=tuple(path for path in stored if path not in known), jobs=tuple(unsent))
