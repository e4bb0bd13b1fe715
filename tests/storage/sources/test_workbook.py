"""Spreadsheets, written by XlsxWriter: cells of all kinds, sheets, and workbooks that are traps."""

import io
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from tests.storage.sources.listed import errors, fields, write

Fill = Callable[[Any, Any], None]


def workbook(folder: Path, *fills: Fill) -> Path:
    """A workbook with a sheet for each of the functions."""
    path = folder / "b.xlsx"
    with xlsxwriter.Workbook(path) as book:
        for number, fill in enumerate(fills, start=1):
            fill(book, book.add_worksheet(f"List {number}"))
    return path


def rows(*values: list[Any], first: int = 0) -> Fill:
    def fill(_: Any, sheet: Any) -> None:
        for number, row in enumerate(values, start=first):
            sheet.write_row(number, 0, row)

    return fill


def test_cells_are_text_numbers_and_nothing(tmp_path: Path) -> None:
    path = workbook(
        tmp_path,
        rows(
            ["SKU", "Title", "want", "Sold", "Weight", ""],
            [100234, " Mug ", 2, True, 4.5],
            [],
            ["00012", "Tray", "", False],
            first=2,
        ),
    )
    assert fields(path, columns={"id": "SKU", "text": "Title"}) == [
        {
            "id": "100234",
            "text": "Mug",
            "want": 2,
            "variables": {"sold": "true", "weight": "4.5"},
        },
        {"id": "00012", "text": "Tray", "variables": {"sold": "false"}},
    ]


def test_the_first_sheet_is_read_unless_one_is_named(tmp_path: Path) -> None:
    path = workbook(tmp_path, rows(["text"], ["a"]), rows(["text"], ["b"]))
    heard: list[str] = []
    assert fields(path, say=heard.append) == [{"text": "a"}]
    assert "'List 1'" in heard[0]
    assert fields(path, sheet="List 2") == [{"text": "b"}]
    [error] = errors(path, sheet="List 3")
    assert "List 1, List 2" in str(error)


def test_a_date_is_told_with_its_row(tmp_path: Path) -> None:
    def fill(book: Any, sheet: Any) -> None:
        sheet.write_row(0, 0, ["text", "launch"])
        sheet.write_row(1, 0, ["a"])
        sheet.write_row(2, 0, ["b"])
        sheet.write_datetime(2, 1, datetime(2026, 5, 1), book.add_format({"num_format": "d/m/yy"}))  # noqa: DTZ001

    path = workbook(tmp_path, fill)
    [error] = errors(path)
    assert error.row == 3
    assert "'launch' is a date" in str(error)
    assert fields(path, used=frozenset()) == [{"text": "a"}, {"text": "b"}]


def test_rows_that_are_wrong_have_the_sheet_s_number(tmp_path: Path) -> None:
    [error] = errors(workbook(tmp_path, rows(["Name"], ["a"], first=4)))
    assert error.row == 5
    assert "'text'" in str(error)


@pytest.mark.parametrize("cell", [(1_048_575, 16_383), (200_000, 4000)])
def test_two_cells_far_apart_do_not_take_the_memory_between_them(
    tmp_path: Path, cell: tuple[int, int]
) -> None:
    def fill(_: Any, sheet: Any) -> None:
        sheet.write(0, 0, "text")
        sheet.write(*cell, "x")

    [error] = errors(workbook(tmp_path, fill))
    assert "rows of" in str(error)


def test_cells_without_references_do_not_get_around_that(tmp_path: Path) -> None:
    path = workbook(tmp_path, rows(["text"], ["a"]))
    sheet = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        f'<row r="1">{"<c><v>1</v></c>" * 16_384}</row><row r="1048576"><c><v>1</v></c></row>'
        "</sheetData></worksheet>"
    )
    changed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, sheet if "sheet1.xml" in name else old.read(name))
    [error] = errors(write(tmp_path, "c.xlsx", changed.getvalue()))
    assert "rows of" in str(error)


def test_what_unpacks_to_too_much_is_refused_unread(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(300 * 2**20))
    [error] = errors(write(tmp_path, "b.xlsx", packed.getvalue()))
    assert "more than 256 MiB" in str(error)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 nothing", b"text\na\n", b"\xd0\xcf\x11\xe0\xa1\xb1"]
)
def test_what_is_no_workbook_is_told(tmp_path: Path, content: bytes) -> None:
    [error] = errors(write(tmp_path, "b.xlsx", content))
    assert ".xlsx" in str(error)
