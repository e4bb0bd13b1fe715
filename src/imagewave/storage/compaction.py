"""Merges the many small parts of a fact table into few, while others read and append.

The rows are copied into merged parts, then a manifest says that these count in place of the parts
they were copied from; a reader sees the table before or after, never both. The replaced parts stay
until `sweep`, for readers that started before.

What can still go wrong: a reader that holds a connection for longer than `sweep`'s grace finds
files gone and must connect again. A compaction that is killed, or that loses to another one,
leaves merged parts behind that no manifest names; nobody reads them.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from imagewave.storage import facts, parts
from imagewave.storage.parts import MERGED, Manifest
from imagewave.storage.requests import digest
from imagewave.storage.store import Store

# A merged part with as many rows is left as it is; with fewer it is merged again. Also bounds the
# memory that a compaction takes, to about this many rows and one part more.
ROWS_ENOUGH = 100_000

# A part's name and, if it is a merged one, the parts that it holds with the rows of each.
_Source = tuple[str, Mapping[str, int] | None]


def compact(store: Store, table: str, *, at_least: int = 2, rows_enough: int = ROWS_ENOUGH) -> int:
    """Merges the table's parts; returns how many small parts went into larger ones.

    Does nothing, and returns 0, for fewer than `at_least` unmerged parts or when another
    compaction of the table was faster.
    """
    files = store.list(f"facts/{table}")
    before = parts.manifest_among(store, files)
    fresh = parts.plain(table, files, before)
    if not fresh or len(fresh) < at_least:
        return 0
    standing = dict(before.merged) if before else {}
    small = [name for name, held in standing.items() if sum(held.values()) < rows_enough]
    sources: list[_Source] = [(name, standing.pop(name)) for name in small]
    sources += [(part, None) for part in fresh]
    for rows, held in _groups(store, table, sources, rows_enough):
        name = MERGED + digest(sorted(held))
        store.put_if_absent(parts.path(table, name), facts.write_parquet(rows))
        standing[name] = held
    number = before.number + 1 if before else 1
    manifest = Manifest(number=number, written_at=datetime.now(UTC), merged=standing)
    if not store.put_if_absent(parts.manifest_path(table, number), manifest.to_json()):
        return 0
    return len(fresh)


def sweep(store: Store, table: str, *, grace: timedelta = timedelta(days=1)) -> int:
    """Deletes what was replaced longer than `grace` ago; returns the number of files deleted."""
    files = store.list(f"facts/{table}")
    manifests = [parts.read_manifest(store, file) for file in files if file.endswith(".json")]
    old = [manifest for manifest in manifests if manifest.written_at < datetime.now(UTC) - grace]
    if not old:
        return 0
    newest = max(manifests, key=lambda manifest: manifest.number)
    ruling = max(old, key=lambda manifest: manifest.number)
    replaced = set(ruling.replaced)
    past = [manifest for manifest in old if manifest.number < ruling.number]
    for manifest in past:
        replaced.update(manifest.merged)
    replaced -= set(ruling.merged) | set(newest.merged)
    gone = {parts.path(table, name) for name in replaced} & set(files)
    gone |= {parts.manifest_path(table, manifest.number) for manifest in past}
    # Parts first: a manifest that names them must outlive them.
    for file in sorted(gone, key=lambda file: file.endswith(".json")):
        store.delete(file)
    return len(gone)


def _groups(
    store: Store,
    table: str,
    sources: list[_Source],
    rows_enough: int,
) -> Iterator[tuple[pa.Table, dict[str, int]]]:
    """The rows of the sources, in groups of about `rows_enough`, with the parts in each."""
    tables: list[pa.Table] = []
    held: dict[str, int] = {}
    for name, inner in sources:
        rows = facts.read_part(store, table, name)
        tables.append(rows)
        held.update({name: rows.num_rows} if inner is None else inner)
        if sum(held.values()) >= rows_enough:
            yield _joined(tables), held
            tables, held = [], {}
    if tables:
        yield _joined(tables), held


def _joined(tables: list[pa.Table]) -> pa.Table:
    """All rows; a column that only some of the parts have is null in the others'."""
    return pa.concat_tables(tables, promote_options="default")
