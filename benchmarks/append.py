"""Appending facts to a table: does it cost more, the more parts were ever merged?

    python benchmarks/append.py                  # none against a million merged parts
    python benchmarks/append.py --parts 100000   # a quick look

Both stores are on one disk and take turns, so that the machine's moods count for both. The merged
parts and their notes are written as compaction and sweep leave them, without the hours in between.
Prints the median of an append to each, in milliseconds, and their ratio (wanted: at most 2).
"""

import argparse
import json
import statistics
import tempfile
import time

from imagewave.storage.facts import analytics, compaction, facts, parts
from imagewave.storage.store import Store

TABLE = "submissions"
ROWS_OF_A_MERGED_PART = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", type=int, default=1_000_000, help="merged parts (a million)")
    parser.add_argument("--appends", type=int, default=200, help="appends to each store (200)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="append-") as folder:
        fresh, old = Store.open(f"{folder}/fresh"), Store.open(f"{folder}/old")
        for store in (fresh, old):
            append(store, "first")
            append(store, "second")
            compaction.compact(store, TABLE)
        print(f"Writing {options.parts:,} merged parts …", flush=True)
        merge(old, options.parts)
        times: dict[str, list[float]] = {"fresh": [], "old": []}
        for number in range(options.appends):
            for name, store in (("fresh", fresh), ("old", old)):
                began = time.perf_counter()
                append(store, f"job-{number}")
                times[name].append(1000 * (time.perf_counter() - began))
        [row] = analytics.query(old, f"SELECT count(*) AS rows FROM raw_{TABLE}")
    assert row["rows"] == options.parts + options.appends + 2, row
    none, many = statistics.median(times["fresh"]), statistics.median(times["old"])
    print(f"append to a table with no merged parts        {none:8.2f} ms")
    print(f"append to a table with {options.parts:>9,} merged parts {many:8.2f} ms")
    print(f"ratio {many / none:.2f} (wanted: at most 2)")


def append(store: Store, part: str) -> None:
    """Appends a part of one row."""
    assert facts.append(store, TABLE, part, [{"job_id": part, "request_id": part, "attempt": 1}])


def merge(store: Store, count: int) -> None:
    """Adds so many parts of one row to the table, as if merged and swept long ago."""
    before = parts.manifest_among(store, store.list(f"facts/{TABLE}/manifests"))
    assert before is not None
    row = facts.read_part(store, TABLE, next(iter(before.merged))).slice(0, 1)
    root = store.local_path("")
    assert root is not None
    merged = dict(before.merged)
    for start in range(0, count, ROWS_OF_A_MERGED_PART):
        names = [f"past-{number}" for number in range(start, min(count, start + 100_000))]
        name = f"{parts.MERGED}{start}"
        rows = row.take([0] * len(names))
        store.put_if_absent(parts.path(TABLE, name), facts.write_parquet(rows))
        merged[name] = len(names)
        places = parts.places_in(name, dict.fromkeys(names, 1))
        for part, place in places.items():
            file = root / parts.moved_path(TABLE, part)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"merged": name, "start": place.start, "rows": 1}))
    manifest = parts.Manifest(
        number=before.number + 1,
        written_at=before.written_at,
        merged=merged,
        replaced=before.replaced,
    )
    store.put_if_absent(parts.manifest_path(TABLE, manifest.number), manifest.to_json())


if __name__ == "__main__":
    main()
