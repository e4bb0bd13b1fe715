"""SQL over the facts: an in-memory DuckDB connection with a view per question.

The views are in views.sql; what each says is in its comment, which `imagewave sql` lists.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb

from imagewave.storage import mirror, parts
from imagewave.storage.store import Store
from imagewave.storage.tables import COLUMNS, KEYS, RECORDED_AT, SQL_TYPES


def connect(store: Store | None) -> duckdb.DuckDBPyConnection:
    """A connection that sees the facts that the store holds now, and none that come later.

    For each table: `raw_<table>`, all rows as recorded; `every_<table>`, one row per key; and the
    views of views.sql. A remote store's parts are copied to this machine first. None is a store
    without facts. The connection's own tables live in memory: what a query changes is lost with
    it.
    """
    files = _live_files(store) if store is not None else {}
    connection = duckdb.connect()
    for table in COLUMNS:
        connection.execute(_raw_view(table, files.get(table, [])))
        connection.execute(_every_view(table))
    connection.execute(resources.files(__package__).joinpath("views.sql").read_text("utf-8"))
    return connection


def query(store: Store, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
    """The rows of one query over the store's facts, as dicts; `?` in it stand for `params`."""
    with connect(store) as connection:
        cursor = connection.execute(sql, list(params))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def views(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """The names of the documented views and what each says, in the order of views.sql."""
    return connection.execute(
        "SELECT view_name, comment FROM duckdb_views() WHERE comment IS NOT NULL ORDER BY view_oid"
    ).fetchall()


def _live_files(store: Store) -> dict[str, list[Path]]:
    by_table: dict[str, list[str]] = {}
    for file in store.list("facts"):
        by_table.setdefault(file.split("/")[1], []).append(file)
    live = {table: parts.live(store, table, files) for table, files in by_table.items()}
    local = iter(mirror.local_files(store, [path for paths in live.values() for path in paths]))
    return {table: [next(local) for _ in paths] for table, paths in live.items()}


def _raw_view(table: str, files: list[Path]) -> str:
    if files:
        names = ", ".join(f'"{name}"' for name in COLUMNS[table])
        listed = ", ".join(_literal(file) for file in files)
        source = f"SELECT {names} FROM read_parquet([{listed}])"
    else:
        nulls = (f'NULL::{SQL_TYPES[kind]} AS "{name}"' for name, kind in COLUMNS[table].items())
        source = f"SELECT {', '.join(nulls)} WHERE false"
    return f"CREATE VIEW raw_{table} AS {source}"


def _every_view(table: str) -> str:
    # A fact that two runs recorded counts once, as it was recorded first.
    return (
        f"CREATE VIEW every_{table} AS SELECT * FROM raw_{table} "
        f"QUALIFY row_number() OVER (PARTITION BY {', '.join(KEYS[table])} "
        f"ORDER BY {RECORDED_AT}) = 1"
    )


def _literal(file: Path) -> str:
    # DuckDB reads each path as a pattern.
    pattern = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(file))
    return "'" + pattern.replace("'", "''") + "'"
