"""Columns by any name: mapped to keys and variables, missing ones with the nearest names."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.storage.sources.listed import errors, fields, write

SHOP = "Handle,Title,Variant SKU,Option1 Value\nmug,Mug,M-1,Blue\nmug,,M-2,Red\n,,,\nmug,,,\n"
MAPPING = {"id": "Variant SKU", "text": "title", "colour": "Option1 Value"}


def test_any_column_may_be_a_key_or_a_variable(tmp_path: Path) -> None:
    heard: list[str] = []
    found = fields(write(tmp_path, "b.csv", SHOP), columns=MAPPING, say=heard.append)
    assert found == [{"id": "M-1", "text": "Mug", "variables": {"colour": "Blue", "handle": "mug"}}]
    # Rows of variants and pictures have no title of their own.
    [said] = heard
    assert "2 rows" in said
    assert "row 3" in said


def test_one_column_may_be_two_things_and_one_that_is_replaced_is_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", "ID,SKU,text\n7,A-1,Mug\n")
    assert fields(path, columns={"id": "SKU", "sku": "SKU"}) == [
        {"id": "A-1", "text": "Mug", "variables": {"sku": "A-1"}}
    ]


@pytest.mark.parametrize("name", ["b.csv", "b.jsonl", "b.parquet"])
def test_a_column_that_is_not_there_is_told_with_the_nearest(tmp_path: Path, name: str) -> None:
    rows = {"Variant SKU": ["a"], "Title": ["b"]}
    path = tmp_path / name
    if name == "b.parquet":
        pq.write_table(pa.table(rows), path)
    else:
        write(
            tmp_path,
            name,
            "Variant SKU,Title\na,b\n"
            if name == "b.csv"
            else '{"Variant SKU": "a", "Title": "b"}\n',
        )
    *_, error = errors(path, columns={"id": "Variant SUK", "text": "Title"})
    assert "'Variant SUK'" in str(error)
    assert "Did you mean 'Variant SKU'?" in str(error)
    *_, error = errors(path, columns={"id": "Variant SUK", "text": "Title"}, discreet=True)
    assert "'Variant SKU'" not in str(error)


def test_columns_of_somebody_else_s_file_are_not_listed(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", "root:x:0,secret\n1,2\n")
    [error] = errors(path, discreet=True)
    assert "secret" not in str(error)
    assert "root" not in str(error)
    assert "'text'" in str(error)
