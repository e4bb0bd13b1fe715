"""Merges the many small parts of a fact table into few, while others read and append.

The rows are copied into merged parts, then a manifest says that these count in place of the parts
they were copied from; a reader sees the table before or after, never both. The replaced parts stay
until `sweep`, for readers that started before.

What can still go wrong: a reader that holds a connection for longer than `sweep`'s grace finds
files gone and must connect again. A compaction that is killed, or that loses to another one,
leaves merged parts behind that no manifest names; nobody reads them.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

import pyarrow as pa

from imagewave import clock
from imagewave.storage.facts import facts, parts
from imagewave.storage.facts.parts import MERGED, Manifest, Place
from imagewave.storage.requests import digest
from imagewave.storage.store import Store

# A merged part with as many rows is left as it is; with fewer it is merged again. Also bounds the
# memory that a compaction takes, to about this many rows and one part more.
ROWS_ENOUGH = 100_000

_HELD = b"imagewave.parts"
"""In a merged part's metadata: the rows of each part that it holds, in order."""


def compact(store: Store, table: str, *, at_least: int = 2, rows_enough: int = ROWS_ENOUGH) -> int:
    """Merges the table's parts; returns how many small parts went into larger ones.

    Does nothing, and returns 0, for fewer than `at_least` unmerged parts or when another
    compaction of the table was faster.
    """
    files = store.list(f"facts/{table}")
    before = parts.manifest_among(store, files) or Manifest(number=0, written_at=clock.now())
    fresh = parts.plain(table, files, before)
    if not fresh or len(fresh) < at_least:
        return 0
    for part, place in before.places.items():
        parts.move(store, table, part, place)
    for part in [part for part in fresh if parts.is_moved(store, table, part)]:
        # Its writer looked for the note just before the old file was deleted: these rows count.
        store.delete(parts.path(table, part))
        fresh.remove(part)
    standing = dict(before.merged)
    small = [name for name, rows in standing.items() if rows < rows_enough]
    for name in small:
        del standing[name]
    for rows, held in _groups(store, table, [*small, *fresh], rows_enough):
        name = MERGED + digest([*held])
        store.put_if_absent(parts.path(table, name), facts.write_parquet(rows))
        standing[name] = rows.num_rows
    there = set(files)
    replaced = {name for name in before.replaced if parts.path(table, name) in there}
    manifest = Manifest(
        number=before.number + 1,
        written_at=clock.now(),
        merged=standing,
        replaced=replaced | {*small, *fresh},
    )
    if not store.put_if_absent(parts.manifest_path(table, manifest.number), manifest.to_json()):
        return 0
    return len(fresh)


def sweep(store: Store, table: str, *, grace: timedelta = timedelta(days=1)) -> int:
    """Deletes what was replaced longer than `grace` ago; returns the number of files deleted."""
    files = store.list(f"facts/{table}")
    manifests = [parts.read_manifest(store, file) for file in files if file.endswith(".json")]
    old = [manifest for manifest in manifests if manifest.written_at < clock.now() - grace]
    if not old:
        return 0
    ruling = max(old, key=lambda manifest: manifest.number)
    past = [manifest for manifest in old if manifest.number < ruling.number]
    there = set(files)
    over = [name for name in ruling.replaced if parts.path(table, name) in there]
    if over:
        places = _places(store, table, manifests, there)
        # Where it is not known what became of its rows, a part stays.
        over = [name for name in over if name in places]
        for name in over:
            parts.move(store, table, name, places[name])
    gone = [parts.path(table, name) for name in over]
    # The manifests last: those who read one find what it names.
    gone += [parts.manifest_path(table, manifest.number) for manifest in past]
    for file in gone:
        store.delete(file)
    return len(gone)


def _places(
    store: Store, table: str, manifests: Iterable[Manifest], files: Collection[str]
) -> dict[str, Place]:
    """Where the parts are that the table's merged parts hold, as far as those are there."""
    places: dict[str, Place] = {}
    # Of a merged part that no manifest has named nothing counts: its compaction was not the first.
    named = {name for manifest in manifests for name in (*manifest.merged, *manifest.replaced)}
    for name in named:
        if name.startswith(MERGED) and parts.path(table, name) in files:
            metadata = facts.read_part(store, table, name).schema.metadata or {}
            places |= parts.places_in(name, json.loads(metadata.get(_HELD, b"{}")))
    for manifest in manifests:
        places |= manifest.places
    return places


def _groups(
    store: Store, table: str, sources: Sequence[str], rows_enough: int
) -> Iterator[tuple[pa.Table, dict[str, int]]]:
    """The rows of the sources, in groups of about `rows_enough`, with the rows of each source."""
    tables: list[pa.Table] = []
    held: dict[str, int] = {}
    for name in sources:
        rows = facts.read_part(store, table, name)
        tables.append(rows)
        held[name] = rows.num_rows
        if sum(held.values()) >= rows_enough:
            yield _joined(tables, held), held
            tables, held = [], {}
    if tables:
        yield _joined(tables, held), held


def _joined(tables: list[pa.Table], held: Mapping[str, int]) -> pa.Table:
    """All rows; a column that only some of the parts have is null in the others'."""
    bare = [table.replace_schema_metadata(None) for table in tables]
    joined = pa.concat_tables(bare, promote_options="default")
    return joined.replace_schema_metadata({_HELD: json.dumps(held).encode()})
