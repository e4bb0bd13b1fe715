"""Facts: rows in immutable Parquet parts, appended by any number of writers without a lock.

A part's name is given by what it holds, so that a repeated piece of work writes the same part
again, which changes nothing.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any

from imagewave import clock
from imagewave.storage.facts import parts
from imagewave.storage.facts.tables import COLUMNS, KEYS, RECORDED_AT
from imagewave.storage.files.protocol import damaged
from imagewave.storage.store import Store

# Imported where rows are written or read, so that who only asks what there is need not wait for it.
if TYPE_CHECKING:
    import pyarrow as pa

# Arrow would cut floats to integers and take bytes for text.
_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "bool": bool,
    "int": int,
    "long": int,
    "double": (float, int),
    "usd": Decimal,
}

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

_USD_STEP = Decimal("1e-9")


@functools.cache
def schema(table: str) -> "pa.Schema":
    """The Arrow schema of a table's parts; key columns are never null."""
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "bool": pa.bool_(),
        "int": pa.int32(),
        "long": pa.int64(),
        "double": pa.float64(),
        "usd": pa.decimal128(18, 9),
        "time": pa.timestamp("us"),
    }
    return pa.schema(
        pa.field(name, types[kind], nullable=name not in KEYS[table])
        for name, kind in COLUMNS[table].items()
    )


def append(store: Store, table: str, part: str, rows: Sequence[Mapping[str, object]]) -> bool:
    """Writes the rows as one part, durably; a part of that name that is there already stays.

    Each row has exactly the table's columns but `recorded_at`, which becomes now. Money is rounded
    half-even to 9 digits after the point. No rows make an empty part, which still says that the
    work it is named for is done.

    Returns:
        True if this call wrote the part.

    Raises:
        ValueError: a part name that is no file name; columns missing, unknown or null in the key.
        TypeError: a value of another type than its column's; money is Decimal. Nothing is written.
        StoreError: the store refused.
    """
    if not _PART.fullmatch(part) or part.startswith(parts.MERGED):
        raise ValueError(f"{part!r} cannot name a part of {table}")
    data = _encode(table, rows)
    # A part that was merged may be deleted since; written again, its rows would count twice.
    if parts.is_moved(store, table, part):
        return False
    return store.put_if_absent(parts.path(table, part), data)


def has(store: Store, table: str, part: str) -> bool:
    """Whether the part was ever written, be it merged into another since."""
    return store.exists(parts.path(table, part)) or parts.moved(store, table, part) is not None


def read(store: Store, table: str, part: str) -> list[dict[str, Any]] | None:
    """The rows of one part, as they were appended; None if it was never written.

    Columns that the table did not have then are None.

    Raises:
        StoreError: the store refused, or the part is damaged.
    """
    try:
        return _rows(table, read_part(store, table, part))
    except FileNotFoundError:
        place = parts.moved(store, table, part)
    while place is not None:
        try:
            merged = read_part(store, table, place.merged)
        except FileNotFoundError:  # merged again and deleted meanwhile
            place = parts.moved(store, table, place.merged)
        else:
            return _rows(table, merged.slice(place.start, place.rows))
    return None


def read_part(store: Store, table: str, part: str) -> "pa.Table":
    """What one file of the table holds, with the columns that the table had then.

    Raises:
        FileNotFoundError: there is none of that name.
        StoreError: the store refused, or the part is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = parts.path(table, part)
    data = store.read(path)
    try:
        # `read_table` would import all that reads many files at once.
        return pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def _rows(table: str, part: "pa.Table") -> list[dict[str, Any]]:
    import pyarrow as pa

    for field in schema(table):
        if field.name not in part.column_names:
            part = part.append_column(field, pa.nulls(part.num_rows, field.type))
    rows: list[dict[str, Any]] = part.to_pylist()
    return rows


def _encode(table: str, rows: Sequence[Mapping[str, object]]) -> bytes:
    import pyarrow as pa

    kinds = {name: kind for name, kind in COLUMNS[table].items() if name != RECORDED_AT}
    for number, row in enumerate(rows):
        if row.keys() != kinds.keys():
            raise ValueError(
                f"row {number} of {table}: missing columns {sorted(kinds.keys() - row.keys())}, "
                f"unknown columns {sorted(row.keys() - kinds.keys())}"
            )
    columns = {name: _column(table, name, kind, rows) for name, kind in kinds.items()}
    columns[RECORDED_AT] = [clock.now().replace(tzinfo=None)] * len(rows)
    try:
        return write_parquet(pa.Table.from_pydict(columns, schema=schema(table)))
    except (pa.ArrowInvalid, OverflowError) as error:
        raise ValueError(f"rows of {table}: {error}") from error


def _column(table: str, name: str, kind: str, rows: Sequence[Mapping[str, object]]) -> list[object]:
    """The column's values, its money rounded, if they fit it."""
    values = [row[name] for row in rows]
    # Types are few, values many: only a type that does not fit has its first value looked for.
    for found in set(map(type, values)):
        null = found is NoneType and name in KEYS[table]
        fits = issubclass(found, _PYTHON_TYPES[kind]) and (found is not bool or kind == "bool")
        if null or not (fits or found is NoneType):
            row = next(row for row, value in enumerate(values) if type(value) is found)
            if null:
                raise ValueError(f"row {row} of {table}: {name} is part of its key and is null")
            raise TypeError(f"row {row} of {table}: {name} is {kind}, not {values[row]!r}")
    if kind == "usd":
        return [rounded(value) if isinstance(value, Decimal) else value for value in values]
    return values


def rounded(usd: Decimal) -> Decimal:
    """An amount as the facts keep it."""
    return usd.quantize(_USD_STEP, rounding=ROUND_HALF_EVEN)


def write_parquet(rows: "pa.Table") -> bytes:
    """The rows as one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
