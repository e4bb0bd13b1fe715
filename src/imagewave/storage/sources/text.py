"""Lists that are text: in which encoding, CSV by which delimiter, and JSON line by line."""

import codecs
import csv
import io
import json
import re
from typing import Any

from imagewave.storage.sources.columns import Columns
from imagewave.storage.sources.rows import Row, Rows, Say, SourceError

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WESTERN = "cp1252"
# In the languages that Windows-1252 is for, accented letters stand alone or in pairs; in other
# scripts whole words are of such bytes.
_NOT_WESTERN = re.compile(rb"[\x80-\xff]{4}")
_SEP = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)


def csv_rows(
    url: str, data: bytes, columns: Columns, say: Say, *, encoding: str | None, tabs: bool
) -> Rows:
    """The rows of a CSV file, whose delimiter is that of a line `sep=`, else found by its header.

    Raises:
        SourceError: the header or the encoding is wrong, or a quote is never closed.
    """
    # Python refuses fields of more than 128 KiB unless it is told how many.
    csv.field_size_limit(max(csv.field_size_limit(), len(data) + 1))
    text = _opened(url, data, encoding, say)
    first = 0
    if told := _SEP.fullmatch(text.readline()):
        first, delimiter = 1, told[1]
    else:
        delimiter = _delimiter(text, columns)
        if delimiter != ("\t" if tabs else ","):
            say(f"{url} was read as separated by {_DELIMITERS[delimiter]}.")
        text.seek(0)
    lines = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        names = next((tuple(row) for row in lines if any(map(str.strip, row))), ())
        if names:
            names = tuple(map(str.strip, names))
            columns.check_header(names, first + lines.line_num)
        row = first + lines.line_num + 1
        for values in lines:
            if not any(map(str.strip, values[len(names) :])):
                del values[len(names) :]
            if len(values) == len(names):
                yield Row(url, row, names, tuple(values))
            elif any(map(str.strip, values)):
                yield SourceError(
                    url,
                    f"the row has {len(values)} values, and the header {len(names)}.",
                    f"Quote values that contain {_DELIMITERS.get(delimiter, repr(delimiter))}.",
                    row=row,
                )
            row = first + lines.line_num + 1
    except csv.Error as error:
        row = first + lines.line_num
        raise SourceError(url, f"the row is malformed: {error}.", row=row) from error


def jsonl_rows(url: str, data: bytes, say: Say, *, encoding: str | None) -> Rows:
    """The rows of a file with a JSON object on each line."""
    for row, line in enumerate(_opened(url, data, encoding, say, newline="\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line, object_pairs_hook=_distinct)
        except _Repeated as error:
            yield SourceError(url, str(error), "Leave one of them out.", row=row)
            continue
        except (ValueError, RecursionError) as error:
            yield SourceError(url, f"the line is not JSON: {error}.", row=row)
            continue
        if isinstance(fields, dict):
            yield Row(url, row, tuple(fields), tuple(fields.values()))
        else:
            yield SourceError(url, "the line is not a JSON object.", row=row)


def _opened(
    url: str, data: bytes, encoding: str | None, say: Say, newline: str = ""
) -> io.TextIOWrapper:
    """The text, decoded as it is read; it is known to be all of that encoding."""
    found = encoding or _encoding(url, data)
    try:
        data.decode(found)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        raise SourceError(
            url,
            f"byte 0x{data[start]:02x} is not {found.upper()}.",
            "Save the file as UTF-8, or name what it is: [briefs] encoding.",
            row=data.count(b"\n", 0, start) + 1,
        ) from None
    except (LookupError, ValueError):
        fix = 'Python\'s names serve, such as "utf-8", "cp1252" and "cp1251".'
        raise SourceError(url, f"there is no encoding {found!r}.", fix) from None
    if encoding is None and found in ("utf-16", "utf-32", "utf-16-le", "utf-16-be"):
        say(f"{url} was read as {found.upper()}.")
    elif encoding is None and found == _WESTERN:
        say(f"{url} is not UTF-8, and was read as Windows-1252 (Western European).")
    return io.TextIOWrapper(io.BytesIO(data), encoding=found, newline=newline)


def _encoding(url: str, data: bytes) -> str:
    """The encoding by the mark at its head, by its zeros, or by what it can be."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name
    head = data[:1000]
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if len(zeros) > 1 and zeros.count(0) > len(zeros) / 2:
            return name
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        # A guess must not get into a prompt that is paid for: what is not plainly Western is told.
        try:
            data.decode(_WESTERN)
        except UnicodeDecodeError:
            return "utf-8"
        if _NOT_WESTERN.search(data):
            raise SourceError(
                url,
                f"byte 0x{data[error.start]:02x} is not UTF-8, nor does it look Western European.",
                'Save the file as UTF-8, or name what it is: [briefs] encoding = "cp1251".',
                row=data.count(b"\n", 0, error.start) + 1,
            ) from None
        return _WESTERN
    return "utf-8"


def _delimiter(text: io.TextIOWrapper, columns: Columns) -> str:
    """The delimiter by which the header has the most of the columns that are asked for."""

    def found(delimiter: str) -> tuple[int, int]:
        text.seek(0)
        try:
            rows = csv.reader(text, delimiter=delimiter)
            header = next((row for row in rows if any(map(str.strip, row))), [])
        except csv.Error:
            return 0, 0
        return columns.asked_for(header), len(header)

    return max(_DELIMITERS, key=found)


class _Repeated(ValueError):
    """An object has a key twice, of which JSON would take the last."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise _Repeated(f"the key {name!r} occurs twice.")
        fields[name] = value
    return fields
