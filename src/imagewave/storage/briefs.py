"""What is wanted: briefs, and the files and URLs they are read from."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

from imagewave.errors import ImagewaveError
from imagewave.words import redacted

MAX_SOURCE_BYTES = 256 * 1024 * 1024
"""A larger source of briefs is refused as a mistake."""

ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FIELDS = ("id", "text", "want", "aspect_ratio", "use_case", "expected_text")


def _text(value: Any) -> Any:
    """Numbers and truth values as text; what is neither is left for validation to refuse."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None or isinstance(value, list | dict) else str(value)


class Brief(BaseModel):
    """What is wanted: words, how many accepted images, which format.

    `id` becomes a folder's name. `expected_text` are words that must be legible in the picture.
    `variables` fill the wave's templates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    want: StrictInt = Field(default=1, ge=1, le=1000)
    aspect_ratio: str = "1:1"
    use_case: str = ""
    expected_text: str = ""
    variables: Mapping[str, Annotated[str, BeforeValidator(_text)]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBrief:
    """A brief as its source spells it: not validated yet, with the place it came from.

    `row` counts the lines of a text file, or the rows of a Parquet file, from 1.
    """

    file: str
    row: int
    fields: Mapping[str, Any]


class SourceError(ImagewaveError):
    """A source of briefs cannot be read; `row` is None where no single row is at fault.

    Secrets in URLs are blotted out; those in the words of what it was caused by are not.
    """

    def __init__(self, file: str, message: str, fix: str = "", row: int | None = None) -> None:
        super().__init__(redacted(message), fix)
        self.file = redacted(file)
        self.row = row


_Row = tuple[int, dict[str, Any] | SourceError]


def slug(text: str) -> str:
    """An id made from free text: its first words, lower case, joined by dashes; "" if none."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(words)[:48].strip("-")


def id_problem(value: str) -> tuple[str, str] | None:
    """What is wrong with an id that is to become a folder's name, and the fix; None if nothing."""
    if ID_PATTERN.fullmatch(value) and ".." not in value and not value.endswith("."):
        return None
    shown = repr(value if len(value) <= 40 else value[:40] + "…")
    better = slug(value)
    wanted = f"Call it {better!r}." if better else "Use a name such as 'red-tulips'."
    if len(value) > 64:
        return (
            f"the id {shown} has {len(value)} characters, and 64 are allowed.",
            wanted,
        )
    return f"the id {shown} cannot be the name of a folder.", (
        f"Ids have lower-case letters, digits, '-', '_' and single '.'. {wanted}"
    )


def read_url(url: str, limit: int = MAX_SOURCE_BYTES) -> bytes:
    """The bytes of a file by path or by any URL that fsspec knows (http, https, s3, file, …).

    Raises:
        SourceError: it does not exist, cannot be read, or has more than `limit` bytes.
    """
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read(limit + 1)
    except FileNotFoundError as error:
        # fsspec says this of hosts that do not answer, too, and keeps the reason as the cause.
        if _is_lost(url, error.__cause__):
            said = f"it could not be reached: {error.__cause__}."
            raise SourceError(url, said, "Check the address and the network.") from None
        reason = f" ({error.__cause__})" if error.__cause__ and "://" in url else ""
        raise SourceError(url, f"it does not exist{reason}.", "Check the path.") from None
    except IsADirectoryError as error:
        raise SourceError(url, "this is a folder, not a file.") from error
    except _transport_errors(url) as error:
        raise SourceError(url, f"it cannot be read: {error}.") from None
    if len(data) > limit:
        raise SourceError(
            url,
            f"it has more than {limit // 2**20} MiB.",
            "Split it into several waves.",
        )
    return data


def read_briefs(url: str, format: str | None = None) -> Iterator[RawBrief | SourceError]:
    """Reads a CSV, JSONL or Parquet file of briefs, by its ending or by `format`.

    Columns of a brief keep their meaning; all others become `variables`, their names in lower
    case with '_' for anything but letters and digits. Every value arrives as the source types it.
    A malformed row comes as an error in its place, so that all of them can be told at once.

    Raises:
        SourceError: the source cannot be read, or not beyond some row.
    """
    path = urlsplit(url).path if "://" in url else url
    ending = format or path.rpartition(".")[2].lower()
    reader = _READERS.get(ending)
    if reader is None:
        raise SourceError(
            url,
            f"the ending {ending!r} is not one of csv, jsonl, ndjson, parquet.",
            'Name the format: format = "csv".',
        )
    for row, fields in reader(url, read_url(url)):
        if isinstance(fields, SourceError):
            yield fields
        else:
            yield RawBrief(file=url, row=row, fields=_sorted_out(fields))


def _is_lost(url: str, error: BaseException | None) -> bool:
    """Whether nobody answered at a web address, rather than answering that there is nothing."""
    if not url.startswith(("http://", "https://")):
        return False
    import aiohttp

    return isinstance(error, aiohttp.ClientConnectionError | TimeoutError)


def _transport_errors(url: str) -> tuple[type[Exception], ...]:
    errors: tuple[type[Exception], ...] = (OSError, ValueError, ImportError)
    if url.startswith(("http://", "https://")):
        import aiohttp

        errors += (aiohttp.ClientError,)
    elif url.startswith(("s3://", "s3a://")):
        from botocore.exceptions import BotoCoreError

        errors += (BotoCoreError,)
    return errors


def _sorted_out(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A brief's own columns at the top, all others under `variables`; empty ones left out."""
    given = fields.get("variables")
    brief: dict[str, Any] = {}
    variables: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    if given is not None and not isinstance(given, Mapping):
        brief["variables"] = given
    for name, value in fields.items():
        if value is None or value == "" or name == "variables":
            continue
        if name in _FIELDS:
            brief[name] = value
        else:
            variables[name] = value
    if variables:
        brief["variables"] = variables
    return brief


def _column(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


def _decode(url: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            url,
            f"byte 0x{data[error.start]:02x} is not UTF-8.",
            "Save the file as UTF-8.",
            row=data.count(b"\n", 0, error.start) + 1,
        ) from error


def _csv_rows(url: str, data: bytes) -> Iterator[_Row]:
    lines = csv.reader(io.StringIO(_decode(url, data), newline=""), strict=True)
    try:
        header = [_column(name) for name in next(lines, [])]
        if header and "text" not in header:
            fix = "Separate the columns with commas." if len(header) == 1 else ""
            raise SourceError(
                url, f"there is no column 'text' among {', '.join(header)}.", fix, row=1
            )
        repeated = {name for name in header if header.count(name) > 1}
        if repeated:
            raise SourceError(url, f"the column {min(repeated)!r} occurs twice.", row=1)
        row = lines.line_num + 1
        for values in lines:
            if values and len(values) != len(header):
                yield (
                    row,
                    SourceError(
                        url,
                        f"the row has {len(values)} values, and the header {len(header)}.",
                        "Quote values that contain commas.",
                        row=row,
                    ),
                )
            elif any(value.strip() for value in values):
                fields: dict[str, Any] = dict(zip(header, map(str.strip, values), strict=True))
                want = fields.get("want", "")
                if re.fullmatch(r"[+-]?\d{1,9}", want):
                    fields["want"] = int(want)
                yield row, fields
            row = lines.line_num + 1
    except csv.Error as error:
        raise SourceError(url, f"the row is malformed: {error}.", row=lines.line_num) from error


class _Repeated(ValueError):
    """An object has a key twice, of which JSON would take the last."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise _Repeated(f"the key {name!r} occurs twice.")
        fields[name] = value
    return fields


def _jsonl_rows(url: str, data: bytes) -> Iterator[_Row]:
    for row, line in enumerate(_decode(url, data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line, object_pairs_hook=_distinct)
        except _Repeated as error:
            yield row, SourceError(url, str(error), "Leave one of them out.", row=row)
            continue
        except (ValueError, RecursionError) as error:
            yield row, SourceError(url, f"the line is not JSON: {error}.", row=row)
            continue
        if isinstance(fields, dict):
            yield row, {_column(name): value for name, value in fields.items()}
        else:
            yield row, SourceError(url, "the line is not a JSON object.", row=row)


def _parquet_rows(url: str, data: bytes) -> Iterator[_Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(url, f"it is not a Parquet file: {error}.") from error
    row = 0
    for batch in table.to_batches(max_chunksize=10_000):
        for fields in batch.to_pylist():
            row += 1
            yield row, {_column(name): value for name, value in fields.items()}


_READERS: Mapping[str, Callable[[str, bytes], Iterator[_Row]]] = {
    "csv": _csv_rows,
    "jsonl": _jsonl_rows,
    "ndjson": _jsonl_rows,
    "parquet": _parquet_rows,
}
