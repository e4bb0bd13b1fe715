"""Parquet as others write it: binary text, gaps, dates, and files that look small."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.storage.sources.listed import errors, fields, write


def parquet(folder: Path, table: pa.Table) -> Path:
    pq.write_table(table, folder / "b.parquet")
    return folder / "b.parquet"


def test_parquet_is_read(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "want": [1, 2], "Colour": ["red", None]})
    assert fields(parquet(tmp_path, table)) == [
        {"text": "a", "want": 1, "variables": {"colour": "red"}},
        {"text": "b", "want": 2},
    ]


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.large_string(), pa.binary(4), pa.string_view()]
)
def test_text_is_text_however_it_is_kept(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array([b"calm", None], pa.binary()).cast(kind)
    table = pa.table({"text": ["a", "b"], "mood": column})
    assert fields(parquet(tmp_path, table)) == [
        {"text": "a", "variables": {"mood": "calm"}},
        {"text": "b"},
    ]


def test_categories_are_text(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert fields(parquet(tmp_path, table)) == [{"text": "a"}, {"text": "b"}, {"text": "a"}]


def test_numbers_with_gaps_are_whole_and_what_is_missing_is_nothing(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [100234.0, 5.0],
            "text": ["a", "b"],
            "want": [2.0, None],
            "mood": [float("nan"), None],
            "weight": pa.array([4.1, 3.0], pa.float32()),
            "price": [Decimal("19.90"), None],
        }
    )
    assert fields(parquet(tmp_path, table)) == [
        {"id": "100234", "text": "a", "want": 2, "variables": {"weight": "4.1", "price": "19.90"}},
        {"id": "5", "text": "b", "variables": {"weight": "3"}},
    ]


NANO = pa.array([None, 1_790_000_000_000_000_001], pa.timestamp("ns"))
ZONE = pa.array([None, datetime(2026, 5, 1, tzinfo=UTC)], pa.timestamp("us", "Mars/Olympus"))


@pytest.mark.parametrize(
    ("column", "what"),
    [
        (pa.array([None, date(2026, 5, 1)]), "a date"),
        (pa.array([None, datetime(2026, 5, 1)]), "a time"),  # noqa: DTZ001
        (NANO, "a time"),
        (ZONE, "a time with a zone"),
        (pa.array([None, b"\xff\xfe"], pa.binary()), "not UTF-8"),
        (pa.array([None, ["a"]]), "a list"),
        (pa.array([None, float("inf")]), "an infinite number"),
    ],
)
def test_what_is_no_text_is_told_with_its_row_where_a_prompt_could_have_it(
    tmp_path: Path, column: pa.Array, what: str
) -> None:
    path = parquet(tmp_path, pa.table({"text": ["a", "b"], "when": column}))
    [error] = errors(path)
    assert error.row == 2
    assert what in str(error)
    assert "'when'" in str(error)
    assert error.fix

    heard: list[str] = []
    assert fields(path, used=frozenset(), say=heard.append) == [{"text": "a"}, {"text": "b"}]
    [said] = heard
    assert "'when'" in said


def test_a_text_that_is_not_utf_8_is_told_with_its_row(tmp_path: Path) -> None:
    text = pa.array([b"good", b"\xff"], pa.binary())
    [error] = errors(parquet(tmp_path, pa.table({"text": text})), used=frozenset())
    assert (error.row, "'text'" in str(error)) == (2, True)


def test_columns_with_one_name_are_refused(tmp_path: Path) -> None:
    for names in (["text", "Colour", "colour"], ["text", "colour", "colour"]):
        table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=names)
        [error] = errors(parquet(tmp_path, table))
        assert "'colour' occurs twice" in str(error)


def test_a_file_that_is_small_and_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    rows = 60_000_000
    column = pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int8()), pa.array(["A" * 100]))
    path = tmp_path / "b.parquet"
    pq.write_table(pa.table({"text": column}), path)
    assert path.stat().st_size < 1_000_000
    [error] = errors(path)
    assert "60,000,000 rows" in str(error)


def test_a_text_that_is_kept_once_for_many_rows_is_counted_in_each(tmp_path: Path) -> None:
    column = pa.DictionaryArray.from_arrays(
        pa.array([0] * 1000, pa.int32()), pa.array(["A" * 2**20])
    )
    [error] = errors(parquet(tmp_path, pa.table({"text": column})))
    assert "more than 256 MiB" in str(error)


def test_what_is_no_parquet_is_told(tmp_path: Path) -> None:
    [error] = errors(write(tmp_path, "b.parquet", b"PAR1 nothing"))
    assert "Parquet" in str(error)
    assert error.row is None
