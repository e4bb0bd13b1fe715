"""Spreadsheets of briefs (.xlsx): unpacked under a limit first, then read by calamine."""

import io
import re
import zipfile
import zlib

from imagewave.storage.sources.columns import Columns
from imagewave.storage.sources.rows import Row, Rows, Say, SourceError, too_large

MAX_CELLS = 10_000_000
"""Places of a sheet, from its first to its last cell; more are refused as a mistake."""

# The container of .xls, and of .xlsx that are encrypted.
_OLD = b"\xd0\xcf\x11\xe0"
_REFERENCE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,3})(\d{1,7})["']""")
_ROW, _CELL = (re.compile(rb"<(?:\w+:)?" + tag + rb"[\s/>]") for tag in (b"row", b"c"))
_ROW_REFERENCE = re.compile(rb"""<(?:\w+:)?row\s[^>]*?\br\s*=\s*["']\d""")
_CELL_REFERENCE = re.compile(rb"""<(?:\w+:)?c\s[^>]*?\br\s*=\s*["'][A-Za-z]""")


def workbook_rows(
    url: str, data: bytes, columns: Columns, say: Say, limit: int, *, sheet: str | None
) -> Rows:
    """The rows of a sheet, the first one unless it is named; unpacked it may have `limit` bytes.

    Raises:
        SourceError: it is no workbook, or too large, or lacks the sheet or a column.
    """
    import python_calamine as calamine

    if data.startswith(_OLD):
        raise SourceError(
            url, "it is an old .xls file, or has a password.", "Save it as .xlsx, without one."
        )
    try:
        with calamine.CalamineWorkbook.from_filelike(_unpacked(url, data, limit)) as workbook:
            names = workbook.sheet_names or [""]
            if sheet is None and len(names) > 1:
                say(f"{url} has {len(names)} sheets; {names[0]!r} was read.")
            cells = workbook.get_sheet_by_name(sheet or names[0])
            rows = enumerate(cells.iter_rows(), start=1)
            header: tuple[str, ...] = ()
            for place, values in rows:
                if any(value != "" for value in values):
                    header = tuple(str(value).strip() for value in values)
                    columns.check_header(header, place)
                    break
            for place, values in rows:
                yield Row(url, place, header, tuple(values))
    except calamine.WorksheetNotFound:
        raise SourceError(
            url, f"there is no sheet {sheet!r}.", f"There are {', '.join(names)}."
        ) from None
    except (
        *(calamine.CalamineError, zipfile.BadZipFile, zlib.error),
        *(OSError, EOFError, ValueError, RuntimeError),
    ) as error:
        raise SourceError(
            url, f"it is not an .xlsx file that can be read: {error}.", "Save it as .xlsx or CSV."
        ) from None


def _unpacked(url: str, data: bytes, limit: int) -> io.BytesIO:
    """The workbook without compression, so that its reader meets nothing that was not measured.

    It keeps a place for every cell from the first to the last: two cells far apart in a file of
    5 kB would take 25 GB, and end the process.
    """
    plain = io.BytesIO()
    left = limit
    with zipfile.ZipFile(io.BytesIO(data)) as packed, zipfile.ZipFile(plain, "w") as unpacked:
        for member in packed.infolist():
            left -= member.file_size
            if left < 0:
                raise too_large(url, limit, unpacked=True)
            content = packed.read(member)
            if member.filename.lower().startswith("xl/worksheets/"):
                _check_places(url, content)
            unpacked.writestr(member.filename, content)
    plain.seek(0)
    return plain


def _check_places(url: str, sheet: bytes) -> None:
    """Raises SourceError for a sheet whose last cell is too far from its first."""
    rows, columns = 0, 0
    for letters, number in _REFERENCE.findall(sheet):
        rows = max(rows, int(number))
        place = 0
        for letter in letters.upper():
            place = place * 26 + letter - 64
        columns = max(columns, place)
    # Those without a reference follow one another.
    rows += max(0, len(_ROW.findall(sheet)) - len(_ROW_REFERENCE.findall(sheet)))
    columns += max(0, len(_CELL.findall(sheet)) - len(_CELL_REFERENCE.findall(sheet)))
    if rows * columns > MAX_CELLS:
        raise SourceError(
            url,
            f"a sheet has {rows:,} rows of {columns:,} columns: more than {MAX_CELLS:,} places.",
            "Delete the cells that are far from the others, or save the list as CSV.",
        )
