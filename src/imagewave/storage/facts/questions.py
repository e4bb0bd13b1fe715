"""SQL that people write: it reads the store's facts, and can do nothing else.

`imagewave sql` and the conditions of `rerun --where` take SQL from outside. DuckDB would let it
write files, the ledger's among them, attach databases and read any file of the machine. So only
statements that read are let through, by DuckDB's own parser, and they run on a connection that may
open the store's facts and nothing else.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from imagewave.errors import ImagewaveError
from imagewave.storage.facts import analytics, mirror
from imagewave.storage.store import Store

_EXPLAIN = re.compile(r"\s*EXPLAIN\b(\s+ANALYZE\b)?(\s*\([^)]*\))?", re.IGNORECASE)


class NotARead(ImagewaveError):
    """A statement would do more than read."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"{kind} is no question: facts are read, never changed.",
            "Ask with SELECT, FROM, WITH, DESCRIBE, SUMMARIZE or SHOW; -o FILE writes an answer to"
            " a file, and --export FILE every view to a database of your own.",
        )


@contextmanager
def asking(
    store: Store | None, sql: str, *, answer: Path | None = None, every_view: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection for these statements, with the views that they need, for the block.

    With `every_view`, all views are there. It may write to `answer`, if that is given, and open no
    other file than the store's facts.

    Raises:
        NotARead: one of the statements does more than read.
        duckdb.ParserException: they are no SQL.
        StoreError: as for `analytics.connect`.
    """
    require_reads(sql)
    with analytics.asking(store, None if every_view else sql) as connection:
        _lock(connection, store, answer)
        yield connection


def ask_where(
    store: Store, sql: str, condition: str, params: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """The rows of a query of ours, `sql`, with somebody's condition in place of its `{where}`.

    Raises:
        duckdb.Error: the condition is no single SQL expression, or names what is not there.
        StoreError: as for `analytics.connect`.
    """
    # As an expression it cannot end the query around it and begin another.
    duckdb.SQLExpression(condition)
    # On lines of its own: a comment at its end would take our words with it.
    whole = sql.format(where=f"\n{condition}\n")
    with asking(store, whole) as connection:
        cursor = connection.execute(whole, list(params))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def require_reads(sql: str) -> None:
    """Raises NotARead unless all of the statements only read."""
    with duckdb.connect() as parser:
        for statement in parser.extract_statements(sql):
            kind = statement.type
            if kind is duckdb.StatementType.EXPLAIN:
                # What it explains must be a question, too: with ANALYZE it is run.
                explained = _EXPLAIN.sub("", statement.query, count=1)
                kinds = {inner.type for inner in parser.extract_statements(explained)}
                kind = kinds.pop() if len(kinds) == 1 else kind
            if kind is not duckdb.StatementType.SELECT:
                raise NotARead(kind.name)


def _lock(connection: duckdb.DuckDBPyConnection, store: Store | None, answer: Path | None) -> None:
    """Lets the connection open the store's facts and nothing else, from now on."""
    folders = []
    if store is not None:
        root = store.local_path("") or mirror.copies_of(store)
        # DuckDB holds what is opened, a pattern, against these words, not against the file.
        folders = [
            f"{path}/"
            for name in ("facts", "ledger")
            for path in {str(root / name), analytics.pattern(root / name)}
        ]
    files = [] if answer is None else [str(answer)]
    for name, value in (
        ("allowed_directories", folders),
        ("allowed_paths", files),
        ("enable_external_access", False),
        ("python_enable_replacements", False),
        ("lock_configuration", True),
    ):
        connection.execute(f"SET {name} = {_literal(value)}")


def _literal(value: bool | list[str]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    quoted = ("'" + text.replace("'", "''") + "'" for text in value)
    return f"[{', '.join(quoted)}]::VARCHAR[]"
