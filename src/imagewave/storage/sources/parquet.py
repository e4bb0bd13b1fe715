"""Parquet files of briefs: measured by their metadata first, then read batch by batch."""

from collections.abc import Sequence
from typing import Any

from imagewave.storage.sources.cells import AS_TEXT
from imagewave.storage.sources.columns import Columns
from imagewave.storage.sources.rows import Row, Rows, SourceError, Unusable, too_large

MAX_CELLS = 50_000_000
"""Values of a list, all rows and columns together; more are refused as a mistake."""

_CELLS_AT_ONCE = 100_000
_BAD_TEXT = Unusable("text that is not UTF-8", "Write it as UTF-8.")


def parquet_rows(url: str, data: bytes, columns: Columns, limit: int) -> Rows:
    """The rows of a Parquet file whose values take no more than `limit` bytes.

    Raises:
        SourceError: it is none, or too large, or lacks a column that is needed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(pa.BufferReader(data))
        _check_size(url, metadata, limit)
        # A text that stands in many rows is kept once, as it is in the file.
        names = [metadata.schema.column(n).path for n in range(metadata.num_columns)]
        kept_once = [name for name in names if "." not in name]
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=kept_once)
        header = tuple(file.schema_arrow.names)
        columns.check_header(header, None)
        row = 0
        at_once = max(1, _CELLS_AT_ONCE // max(1, len(header)))
        for batch in file.iter_batches(at_once, use_threads=False):
            for values in zip(*map(_values, batch.columns), strict=True):
                row += 1
                yield Row(url, row, header, values)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(url, f"it is not a Parquet file that can be read: {error}.") from error


def _check_size(url: str, metadata: Any, limit: int) -> None:
    """Raises SourceError for what would be too much once it is unpacked."""
    cells, size = metadata.num_rows * metadata.num_columns, 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        parts = [group.column(n) for n in range(group.num_columns)]
        cells = max(cells, sum(part.num_values for part in parts))
        size += sum(part.total_uncompressed_size for part in parts)
    if cells > MAX_CELLS:
        raise SourceError(
            url,
            f"it has {metadata.num_rows:,} rows of {metadata.num_columns:,} columns:"
            f" more than {MAX_CELLS:,} values.",
            "Split it into several waves, or leave columns out.",
        )
    if size > limit:
        raise too_large(url, limit, unpacked=True)


def _values(array: Any) -> Sequence[Any]:
    """The column's values as Python has them; what is no text or number as `Unusable`."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_dictionary(kind):
        words = _values(array.dictionary)
        return [None if n is None else words[n] for n in array.indices.to_pylist()]
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        found = array.cast("large_binary").to_pylist()
        return [None if each is None else _text(each) for each in found]
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        # 4.1 in 32 bits is 4.099999904632568 in 64.
        return [None if n is None else float(str(n)) for n in array.to_numpy(zero_copy_only=False)]
    if pa.types.is_temporal(kind):
        zone = pa.types.is_timestamp(kind) and kind.tz
        what = "a date" if pa.types.is_date(kind) else "a time with a zone" if zone else "a time"
        unusable = Unusable(what, AS_TEXT)
        return [unusable if valid else None for valid in array.is_valid().to_pylist()]
    try:
        return list(array.to_pylist())
    except ValueError:  # nested text that is not UTF-8, nested times
        return [Unusable("a list or a group", AS_TEXT)] * len(array)


def _text(value: bytes) -> str | Unusable:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return _BAD_TEXT
