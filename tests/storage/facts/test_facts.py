"""Facts: rows appended as immutable parts, strictly typed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagewave.storage.facts import analytics, facts, parts
from imagewave.storage.facts.compaction import compact
from imagewave.storage.facts.tables import COLUMNS, KEYS, SQL_TYPES
from imagewave.storage.store import Store, StoreError

pytestmark = pytest.mark.heavy

IMAGE = {"image": "a" * 64, "format": "png", "mime": "image/png", "bytes": 7, "path": "images/a"}


def test_a_row_is_read_back_as_it_was_appended(store: Store) -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    assert facts.append(store, "images", "collect-1", [IMAGE])
    [row] = facts.read(store, "images", "collect-1") or []
    recorded_at = row.pop("recorded_at")
    assert row == IMAGE
    assert timedelta() <= recorded_at - before < timedelta(minutes=1)
    assert analytics.query(store, "SELECT image, bytes FROM raw_images") == [
        {"image": IMAGE["image"], "bytes": 7}
    ]


def test_a_repeated_part_changes_nothing(store: Store) -> None:
    assert facts.append(store, "images", "collect-1", [IMAGE])
    assert not facts.append(store, "images", "collect-1", [{**IMAGE, "bytes": 8}])
    assert analytics.query(store, "SELECT bytes FROM raw_images") == [{"bytes": 7}]


def test_an_empty_part_says_that_work_is_done(store: Store) -> None:
    assert not facts.has(store, "findings", "collect-1")
    assert facts.read(store, "findings", "collect-1") is None
    assert facts.append(store, "findings", "collect-1", [])
    assert facts.has(store, "findings", "collect-1")
    assert facts.read(store, "findings", "collect-1") == []
    assert analytics.query(store, "SELECT * FROM findings") == []


def test_many_writers_append_at_once(store: Store) -> None:
    def write(number: int) -> bool:
        return facts.append(store, "images", f"part-{number}", [{**IMAGE, "image": f"{number}"}])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(24)))
    assert analytics.query(store, "SELECT count(*) AS n FROM images") == [{"n": 24}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("bytes"), r"missing columns \['bytes'\]"),
        (lambda row: row.update(colour="red"), r"unknown columns \['colour'\]"),
        (lambda row: row.update(image=None), "image is part of its key and is null"),
        (lambda row: row.update(bytes="7"), "row 1 of images: bytes is long, not '7'"),
        (lambda row: row.update(bytes=7.5), "bytes is long, not 7.5"),
        (lambda row: row.update(bytes=True), "bytes is long, not True"),
        (lambda row: row.update(bytes=2**63), "rows of images"),
        (lambda row: row.update(format=b"png"), "format is text, not b'png'"),
    ],
)
def test_a_row_that_does_not_fit_writes_nothing(
    local_store: Store, change: Callable[[dict[str, object]], object], message: str
) -> None:
    row: dict[str, object] = dict(IMAGE)
    change(row)
    with pytest.raises((ValueError, TypeError), match=message):
        facts.append(local_store, "images", "part", [IMAGE, row])
    assert not facts.has(local_store, "images", "part")


@pytest.mark.parametrize("part", ["", "../up", "a/b", ".hidden", "merged-1", "x" * 201, "a b"])
def test_a_part_name_that_is_no_file_name_is_refused(local_store: Store, part: str) -> None:
    with pytest.raises(ValueError, match="cannot name a part"):
        facts.append(local_store, "images", part, [IMAGE])


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_damaged_part_is_named_by_whoever_reads_it(store: Store, share: float) -> None:
    for part in ("a", "b", "c"):
        facts.append(store, "images", part, [{**IMAGE, "image": part}])
    path = parts.path("images", "b")
    whole = store.read(path)
    store.write(path, whole[: int(len(whole) * share)])

    def ask() -> None:
        with analytics.asking(store) as connection:
            connection.sql("SELECT * FROM images").fetchall()

    for read in (
        ask,
        lambda: analytics.query(store, "SELECT * FROM images"),
        lambda: facts.read(store, "images", "b"),
        lambda: compact(store, "images"),
    ):
        with pytest.raises(StoreError, match=r"facts/images/b\.parquet is damaged: "):
            read()
    assert facts.read(store, "images", "a")


def test_a_damaged_manifest_is_named(local_store: Store) -> None:
    facts.append(local_store, "images", "a", [IMAGE])
    local_store.write(parts.manifest_path("images", 1), b"{}")
    with pytest.raises(StoreError, match=r"manifests/0000000001\.json is damaged: KeyError"):
        analytics.query(local_store, "SELECT * FROM images")


def test_a_query_that_is_wrong_blames_no_part(local_store: Store) -> None:
    facts.append(local_store, "images", "a", [IMAGE])
    with pytest.raises(duckdb.BinderException, match="colour"):
        analytics.query(local_store, "SELECT colour FROM images")


def test_a_column_that_an_older_part_lacks_is_null(store: Store) -> None:
    facts.append(store, "images", "m", [{**IMAGE, "image": "m"}])
    path = parts.path("images", "m")
    for name in ("a", "z"):  # the first and the last that is read
        old = pq.read_table(pa.BufferReader(store.read(path))).drop_columns(["bytes", "path"])
        old = old.set_column(0, pa.field("image", pa.string(), nullable=False), [[name]])
        sink = pa.BufferOutputStream()
        pq.write_table(old, sink)
        store.put_if_absent(parts.path("images", name), sink.getvalue().to_pybytes())
    for _ in range(2):
        rows = analytics.query(store, "SELECT image, bytes, path, mime FROM images ORDER BY image")
        assert [tuple(row.values()) for row in rows] == [
            ("a", None, None, "image/png"),
            ("m", 7, "images/a", "image/png"),
            ("z", None, None, "image/png"),
        ]
        [row] = facts.read(store, "images", "a") or []
        assert (row["mime"], row["bytes"], row["path"]) == ("image/png", None, None)
        compact(store, "images")
    assert len(parts.live(store, "images", store.list("facts/images"))) == 1


RESULT: dict[str, object] = {
    **dict.fromkeys(COLUMNS["results"]),
    "request_id": "r",
    "job_id": "j",
    "cost_usd": Decimal("0.1"),
}
del RESULT["recorded_at"]


@pytest.mark.parametrize(
    ("cost", "stored"),
    [
        ("0.0000000375", "0.000000038"),
        ("0.0000000385", "0.000000038"),
        ("123456789.123456789", "123456789.123456789"),
    ],
)
def test_money_is_kept_to_nine_digits(local_store: Store, cost: str, stored: str) -> None:
    facts.append(local_store, "results", "part", [{**RESULT, "cost_usd": Decimal(cost)}])
    assert analytics.query(local_store, "SELECT cost_usd FROM raw_results") == [
        {"cost_usd": Decimal(stored)}
    ]


def test_money_is_never_a_float(local_store: Store) -> None:
    with pytest.raises(TypeError, match=r"cost_usd is usd, not 0.1"):
        facts.append(local_store, "results", "part", [{**RESULT, "cost_usd": 0.1}])
    assert facts.append(local_store, "results", "part", [{**RESULT, "cost_usd": None}])


@pytest.mark.parametrize("table", COLUMNS)
def test_every_table_has_one_schema_for_writers_and_readers(local_store: Store, table: str) -> None:
    assert set(KEYS[table]) <= set(COLUMNS[table])
    facts.append(local_store, table, "empty", [])
    with analytics.connect(local_store) as written, analytics.connect(None) as empty:
        types = [
            connection.execute(f"DESCRIBE raw_{table}").fetchall()
            for connection in (written, empty)
        ]
    assert types[0] == types[1]
    assert {name: kind for name, kind, *_ in types[0]} == {
        name: SQL_TYPES[kind] for name, kind in COLUMNS[table].items()
    }
