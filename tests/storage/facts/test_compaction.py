"""Compaction: many parts become few while others read and append."""

import json
import threading
from datetime import timedelta

import pyarrow as pa
import pytest
from tests.storage.builders import put

from imagewave.storage.facts import analytics, facts, parts
from imagewave.storage.facts.compaction import compact, sweep
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy

NOW = timedelta(0)


def fill(store: Store, names: list[str], rows: int = 2) -> None:
    for name in names:
        put(
            store,
            "images",
            name,
            *({"image": f"{name}-{number}", "bytes": number} for number in range(rows)),
        )


def everything(store: Store) -> list[str]:
    rows = analytics.query(store, "SELECT image FROM raw_images ORDER BY image")
    return [row["image"] for row in rows]


def live(store: Store) -> list[str]:
    return parts.live(store, "images", store.list("facts/images"))


def test_many_parts_become_one(store: Store) -> None:
    fill(store, ["a", "b", "c"])
    before = everything(store)
    assert compact(store, "images") == 3
    assert len(live(store)) == 1
    assert everything(store) == before


def test_a_merged_part_is_still_read_by_its_name(store: Store) -> None:
    fill(store, ["a", "b", "c"])
    put(store, "images", "empty")
    expected = {name: facts.read(store, "images", name) for name in ("a", "b", "c", "empty")}
    compact(store, "images")
    for _ in range(2):
        for name, rows in expected.items():
            assert facts.has(store, "images", name)
            assert facts.read(store, "images", name) == rows
        assert facts.read(store, "images", "never") is None
        sweep(store, "images", grace=NOW)
    assert not store.exists(parts.path("images", "a"))


def test_a_part_that_was_merged_is_not_written_again(local_store: Store) -> None:
    fill(local_store, ["a", "b"])
    compact(local_store, "images")
    sweep(local_store, "images", grace=NOW)
    assert not facts.append(local_store, "images", "a", [])
    assert len(everything(local_store)) == 4


def test_compaction_goes_on_where_it_stopped(local_store: Store) -> None:
    fill(local_store, ["a", "b"])
    compact(local_store, "images")
    fill(local_store, ["c", "d"])
    assert compact(local_store, "images") == 2
    assert len(live(local_store)) == 1
    assert len(everything(local_store)) == 8
    assert [row["image"] for row in facts.read(local_store, "images", "b") or []] == ["b-0", "b-1"]
    assert sweep(local_store, "images", grace=NOW) == 4 + 1 + 1, "parts, merged part, manifest"
    assert len(everything(local_store)) == 8
    assert len(local_store.list("facts/images")) == 2


def test_merged_parts_grow_to_a_size_and_stay(local_store: Store) -> None:
    fill(local_store, ["a", "b", "c", "d", "e"])
    compact(local_store, "images", rows_enough=4)
    assert len(live(local_store)) == 3
    [large, *_] = live(local_store)
    fill(local_store, ["f"])
    compact(local_store, "images", at_least=1, rows_enough=4)
    assert large in live(local_store)
    assert len(live(local_store)) == 3
    assert len(everything(local_store)) == 12


def test_few_parts_are_left_alone(local_store: Store) -> None:
    assert compact(local_store, "images") == 0
    fill(local_store, ["a"])
    assert compact(local_store, "images") == 0
    fill(local_store, ["b"])
    assert compact(local_store, "images", at_least=3) == 0
    assert compact(local_store, "images") == 2
    assert compact(local_store, "images") == 0


def test_of_two_compactions_at_once_one_counts(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(local_store, ["a", "b"])
    write = facts.write_parquet

    def slow(rows: object) -> bytes:
        monkeypatch.setattr(facts, "write_parquet", write)
        fill(local_store, ["c"])
        assert compact(local_store, "images") == 3
        return write(rows)

    monkeypatch.setattr(facts, "write_parquet", slow)
    assert compact(local_store, "images") == 0
    assert len(everything(local_store)) == 6


def test_a_compaction_that_was_killed_before_its_manifest_does_not_count(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(local_store, ["a", "b"])
    put_if_absent = Store.put_if_absent

    def killed(store: Store, path: str, data: bytes) -> bool:
        if path.endswith(".json"):
            raise KeyboardInterrupt
        return put_if_absent(store, path, data)

    monkeypatch.setattr(Store, "put_if_absent", killed)
    with pytest.raises(KeyboardInterrupt):
        compact(local_store, "images")
    monkeypatch.undo()
    assert len(local_store.list("facts/images")) == 3
    assert len(everything(local_store)) == 4
    assert compact(local_store, "images") == 2
    assert len(everything(local_store)) == 4


def test_readers_and_writers_notice_nothing(local_store: Store) -> None:
    fill(local_store, [f"first-{number}" for number in range(20)])
    stop = threading.Event()
    counts: list[int] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                counts.append(len(everything(local_store)))
        except BaseException as error:
            failures.append(error)
            raise

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(10):
        fill(local_store, [f"more-{number}"])
        compact(local_store, "images", at_least=1)
    stop.set()
    reader.join()
    assert failures == []
    assert counts == sorted(counts), "a reader sees no row twice and none go"
    assert len(everything(local_store)) == 60


def test_replaced_parts_stay_for_those_who_still_read_them(local_store: Store) -> None:
    fill(local_store, ["a", "b"])
    with analytics.connect(local_store) as early:
        compact(local_store, "images")
        assert sweep(local_store, "images") == 0
        assert early.execute("SELECT count(*) FROM raw_images").fetchone() == (4,)
    assert sweep(local_store, "images", grace=NOW) == 2
    assert sweep(local_store, "images", grace=NOW) == 0
    assert sweep(local_store, "findings") == 0


def test_a_part_is_read_by_its_name_however_often_it_was_merged(store: Store) -> None:
    for number in range(4):
        fill(store, [f"part-{number}"])
        compact(store, "images", at_least=1)
        sweep(store, "images", grace=NOW)
    for number in range(4):
        rows = facts.read(store, "images", f"part-{number}") or []
        assert [row["image"] for row in rows] == [f"part-{number}-0", f"part-{number}-1"]
        assert not facts.append(store, "images", f"part-{number}", [])
    assert len(store.list("facts/images")) == 2, "a merged part and its manifest"


def test_what_a_manifest_says_does_not_grow_with_what_was_merged(local_store: Store) -> None:
    sizes = []
    for number in range(6):
        fill(local_store, [f"{number}-{other}" for other in range(10)], rows=1)
        compact(local_store, "images")
        sweep(local_store, "images", grace=NOW)
        [manifest] = local_store.list("facts/images/manifests")
        sizes.append(len(local_store.read(manifest)))
    assert sizes[-1] <= sizes[1]


def test_a_part_written_again_as_its_file_was_deleted_does_not_count(local_store: Store) -> None:
    """Its writer had looked for the note that it was merged just before there was one."""
    fill(local_store, ["a", "b"])
    written = local_store.read(parts.path("images", "a"))
    compact(local_store, "images")
    sweep(local_store, "images", grace=NOW)
    fill(local_store, ["c", "d"])
    compact(local_store, "images")
    local_store.put_if_absent(parts.path("images", "a"), written)
    fill(local_store, ["e"])
    compact(local_store, "images")
    assert sorted(everything(local_store)) == sorted(
        f"{name}-{number}" for name in "abcde" for number in range(2)
    )


def test_a_store_that_an_earlier_version_compacted_is_read_and_goes_on(local_store: Store) -> None:
    fill(local_store, ["a", "b", "c"])
    expected = {name: facts.read(local_store, "images", name) for name in "abc"}
    # As written until November 2026: the manifest names all that each merged part holds.
    rows = [facts.read_part(local_store, "images", name) for name in "abc"]
    merged = facts.write_parquet(pa.concat_tables(rows))
    local_store.write(parts.path("images", "merged-1"), merged)
    held = {"merged-1": {"a": 2, "b": 2, "c": 2}}
    manifest = {"number": 1, "written_at": "2026-11-01T00:00:00+00:00", "merged": held}
    local_store.write(parts.manifest_path("images", 1), json.dumps(manifest).encode())
    local_store.delete(parts.path("images", "a"))
    for _ in range(2):
        assert {name: facts.read(local_store, "images", name) for name in "abc"} == expected
        assert facts.has(local_store, "images", "a")
        assert len(everything(local_store)) == 6
        sweep(local_store, "images", grace=NOW)
    fill(local_store, ["d"])
    compact(local_store, "images", at_least=1)
    sweep(local_store, "images", grace=NOW)
    assert {name: facts.read(local_store, "images", name) for name in "abc"} == expected
    assert not facts.append(local_store, "images", "a", [])
    assert len(everything(local_store)) == 8
