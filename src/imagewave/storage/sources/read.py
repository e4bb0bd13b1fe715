"""Reads the briefs of a list: finds its format, and sorts its columns out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from imagewave.storage.sources.columns import Columns
from imagewave.storage.sources.fetch import MAX_SOURCE_BYTES, read_url, require_address
from imagewave.storage.sources.markdown import page_row, pages
from imagewave.storage.sources.parquet import parquet_rows
from imagewave.storage.sources.rows import Row, Rows, Say, SourceError
from imagewave.storage.sources.text import csv_rows, jsonl_rows
from imagewave.storage.sources.workbook import workbook_rows
from imagewave.words import counted, redacted

Format = Literal["csv", "tsv", "jsonl", "ndjson", "parquet", "xlsx", "md", "markdown", "mdx"]
FORMATS: tuple[str, ...] = get_args(Format)
_PAGES = ("md", "markdown", "mdx")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBrief:
    """A brief as its source spells it: not validated yet, with the place it came from.

    `row` counts the lines of a text file, or the rows of a sheet or Parquet file, from 1.
    """

    file: str
    row: int
    fields: Mapping[str, Any]


def read_briefs(
    url: str,
    format: str | None = None,
    *,
    encoding: str | None = None,
    sheet: str | None = None,
    columns: Mapping[str, str] | None = None,
    used: frozenset[str] | None = None,
    trusted: str | None = None,
    discreet: bool = False,
    say: Say = lambda _: None,
) -> Iterator[RawBrief | SourceError]:
    """Reads a list of briefs (CSV, JSONL, Parquet, .xlsx), or pages, by ending or `format`.

    Columns of a brief keep their meaning; all others become `variables`, their names in lower
    case with '_' for anything but letters and digits. `columns` names the column that a key or a
    variable is. `used` are the variables that can get into a prompt (None: all of them may): of
    the others, what is no text is left out. A malformed row comes as an error in its place, so
    that all of them can be told at once. `say` hears what was found out about the source.

    `trusted` and `discreet` are for a URL that somebody else has named: see `read_url`; what is in
    the source is then not told in errors.

    Raises:
        SourceError: the source cannot be read, or not beyond some row.
    """
    require_address(url)
    path = urlsplit(url).path if "://" in url else url
    ending = format or path.rpartition(".")[2].lower()
    if ending not in FORMATS:
        raise SourceError(
            url,
            f"the ending {ending!r} is not one of {', '.join(FORMATS)}.",
            'Name the format: format = "csv".',
        )

    def tell(message: str) -> None:
        say(redacted(message))

    mapping = columns or {}
    found = Columns(url, mapping, used=used, discreet=discreet)
    size = 0
    for row in _rows(url, ending, found, tell, encoding, sheet, trusted):
        if isinstance(row, SourceError):
            yield row
            continue
        # Of these, a text that is in the file once may be in a million rows.
        if ending in ("parquet", "xlsx"):
            size += sum(len(value) for value in row.values if isinstance(value, str))
        if size > MAX_SOURCE_BYTES:
            raise SourceError(
                url,
                f"unpacked it has more than {MAX_SOURCE_BYTES // 2**20} MiB.",
                "Split it into several waves, or leave long columns out.",
                row=row.place,
            )
        try:
            fields = found.fields(row)
        except SourceError as error:
            yield error
            continue
        if isinstance(fields, SourceError):
            yield fields
        elif fields is not None:
            yield RawBrief(file=row.file, row=row.place, fields=fields)
    found.check_end()
    for name, what in found.left_out.items():
        which = "A column" if discreet else f"The column {name!r}"
        tell(f"{which} of {url} holds {what}, which no prompt uses: it is left out.")
    if found.unasked:
        tell(
            f"Passed over {counted(found.unasked, 'row')} of {url} without a {mapping['text']!r};"
            f" the first is row {found.first_unasked}."
        )


def _rows(
    url: str,
    ending: str,
    columns: Columns,
    say: Say,
    encoding: str | None,
    sheet: str | None,
    trusted: str | None,
) -> Rows:
    if ending in _PAGES:
        yield from _page_rows(url, say, trusted)
        return
    data = read_url(url, trusted=trusted)
    if ending in ("csv", "tsv"):
        yield from csv_rows(url, data, columns, say, encoding=encoding, tabs=ending == "tsv")
    elif ending in ("jsonl", "ndjson"):
        yield from jsonl_rows(url, data, say, encoding=encoding)
    elif ending == "parquet":
        yield from parquet_rows(url, data, columns, MAX_SOURCE_BYTES)
    else:
        yield from workbook_rows(url, data, columns, say, MAX_SOURCE_BYTES, sheet=sheet)


def _page_rows(url: str, say: Say, trusted: str | None) -> Iterator[Row | SourceError]:
    files, root = pages(url)
    without = []
    for file in files:
        row = page_row(file, root, read_url(file, trusted=trusted))
        if row is None:
            without.append(file)
        else:
            yield row
    if without:
        say(
            f"Passed over {counted(len(without), 'page')} without front matter; the first is"
            f" {without[0]}."
        )
