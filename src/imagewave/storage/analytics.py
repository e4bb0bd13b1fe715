"""SQL over the facts: an in-memory DuckDB connection with a view per question.

The views are in views.sql; what each says is in its comment, which `imagewave sql` lists.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from imagewave.errors import ImagewaveError
from imagewave.storage import mirror, parts
from imagewave.storage.files import RESTORE, damaged
from imagewave.storage.store import Store
from imagewave.storage.tables import COLUMNS, KEYS, RECORDED_AT, SQL_TYPES

# A query with such a word, or one that starts so, asks which views there are.
_ASKS_FOR_NAMES = re.compile(r"show|describe|pragma|information_schema|(duckdb|sqlite|pg)_\w+")

# The ledger's entries are files of their own (storage/ledger.py), not rows of a fact table.
_LEDGER = "raw_ledger"
_LEDGER_TYPES = {
    "seq": "BIGINT",
    "kind": "VARCHAR",
    "job_id": "VARCHAR",
    "wave": "VARCHAR",
    "usd": "DECIMAL(18,9)",
    "at": "TIMESTAMP",
    "settles": "BIGINT",
    "settlement": "VARCHAR",
}

# What is wrong with a statement, whatever the files hold.
_MISTAKES = (duckdb.ParserException, duckdb.CatalogException, duckdb.BinderException)

_COPY = "Remove it: it is a copy of the store's, and fetched again."

# How DuckDB is told the columns of Parquet files.
_SCHEMA = "MAP(VARCHAR, STRUCT(name VARCHAR, type VARCHAR, default_value VARCHAR))"

_COMMENT = re.compile(r"^COMMENT ON VIEW \w+ IS '(.*)';$", re.MULTILINE)
# A condition on a row of `results`: its image, if it has one, was not given up by upkeep since.
KEPT = (
    "NOT EXISTS (SELECT 1 FROM raw_sweeps AS swept"
    " WHERE swept.image = results.image AND swept.recorded_at > results.recorded_at)"
)

_REMARKS = re.compile(r"^(--|COMMENT ON ).*$", re.MULTILINE)


class UnknownWave(ImagewaveError):
    """The store knows no wave of that name; the message names those that it knows."""

    def __init__(self, wave: str, store: Store, known: Sequence[str]) -> None:
        super().__init__(
            f"{store.url} has no wave {wave!r}.",
            f"It has: {', '.join(known)}." if known else "It has none yet: run a wave first.",
        )


def require_wave(store: Store, wave: str) -> None:
    """Raises UnknownWave unless the store has a wave of that name."""
    known = [row["wave"] for row in query(store, "SELECT wave FROM waves ORDER BY wave")]
    if wave not in known:
        raise UnknownWave(wave, store, known)


def connect(store: Store | None, sql: str | None = None) -> duckdb.DuckDBPyConnection:
    """A connection that sees the facts that the store holds now, and none that come later.

    For each table: `raw_<table>`, all rows as recorded; `every_<table>`, one row per key; and the
    views of views.sql. With `sql`, only the views that those statements need, so that a question
    about one table does not wait for the others. A remote store's parts are copied to this machine
    first. None is a store without facts. The connection's own tables live in memory: what a
    statement changes is lost with it.

    Raises:
        StoreError: the store, or the folder for copies of a remote one, cannot be used; or what
            is in it is damaged, as far as that shows before the statements are run.
    """
    connection = duckdb.connect()
    with _explained(store, sql):
        for statement in _statements(store, sql):
            connection.execute(statement)
    return connection


@contextmanager
def asking(store: Store | None, sql: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection as of `connect`, for the time of the block.

    Raises:
        StoreError: as for `connect`, and if anything that the block reads is damaged.
    """
    with connect(store, sql) as connection, _explained(store, sql):
        yield connection


def query(store: Store, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
    """The rows of one query over the store's facts, as dicts; `?` in it stand for `params`.

    Raises:
        StoreError: as for `asking`.
    """
    with _database().cursor() as connection, _explained(store, sql):
        for statement in _statements(store, sql):
            # Temporary views are a cursor's own: others may ask another store at the same time.
            connection.execute(statement.replace("CREATE VIEW", "CREATE TEMP VIEW", 1))
        cursor = connection.execute(sql, list(params))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def answered(store: Store, request_ids: Iterable[str]) -> set[str]:
    """Those of the requests that some attempt, in whatever wave, brought an image or text for.

    Not those whose image was given up since.
    """
    rows = query(
        store,
        "SELECT DISTINCT request_id FROM raw_results AS results"
        " WHERE status IN ('image', 'text') AND request_id IN (SELECT unnest(?::VARCHAR[]))"
        f" AND {KEPT}",
        [list(request_ids)],
    )
    return {row["request_id"] for row in rows}


def asks_for_facts(sql: str) -> bool:
    """Whether the statements look at any fact, and so need a store."""
    needed = _needed(sql, _definitions())
    return bool(_tables(needed)) or _LEDGER in needed


def views() -> list[tuple[str, str]]:
    """The names of the documented views and what each says, in the order of views.sql."""
    found = []
    for name, definition in _definitions().items():
        if comment := _COMMENT.search(definition):
            found.append((name, comment[1].replace("''", "'")))
    return found


@functools.cache
def _database() -> duckdb.DuckDBPyConnection:
    """The empty database that this process's queries share: making one takes 10 to 20 ms."""
    return duckdb.connect()


@contextmanager
def _explained(store: Store | None, sql: str | None) -> Iterator[None]:
    """Names the damaged file, if that is what a fault of the block comes from."""
    try:
        yield
    except duckdb.Error as error:
        if store is not None and not isinstance(error, _MISTAKES):
            _find_damage(store, sql)
        raise


def _find_damage(store: Store, sql: str | None) -> None:
    """Reads what the statements read, file by file; raises StoreError for one that is damaged."""
    definitions = _definitions()
    needed = set(definitions) if sql is None else _needed(sql, definitions)
    sources = [
        (file, _parts_source(table, [file]))
        for table, files in _live_files(store, _tables(needed)).items()
        for file in files
    ]
    if _LEDGER in needed:
        sources += [(file, _ledger_source([file])) for file in _ledger_files(store)]
    with duckdb.connect() as connection:
        for file, source in sources:
            try:
                connection.execute(f"CREATE OR REPLACE TABLE whole AS {source}")
            except duckdb.Error as error:
                remote = store.local_path("") is None
                raise damaged(str(file), error, _COPY if remote else RESTORE) from error


def _statements(store: Store | None, sql: str | None) -> list[str]:
    """What makes the views that the statements need, over the facts that the store holds now."""
    definitions = _definitions()
    needed = set(definitions) if sql is None else _needed(sql, definitions)
    tables = _tables(needed)
    files = {} if store is None else _live_files(store, tables)
    statements = [_raw_view(table, files.get(table, [])) for table in tables]
    if _LEDGER in needed:
        statements.append(_ledger_view([] if store is None else _ledger_files(store)))
    # The raw views have no statement of their own here.
    statements += [text for name, text in definitions.items() if name in needed and text]
    return statements


@functools.cache
def _definitions() -> dict[str, str]:
    """The statements that make each view, those that others are made of first."""
    text = Path(__file__).with_name("views.sql").read_text("utf-8")
    statements = re.split(r"^(?=CREATE VIEW )", text, flags=re.MULTILINE)[1:]
    # The raw views' statements are made when it is known which files they read.
    return (
        {f"raw_{table}": "" for table in COLUMNS}
        | {_LEDGER: ""}
        | {f"every_{table}": _every_view(table) for table in COLUMNS}
        | {statement.split(maxsplit=3)[2]: statement for statement in statements}
    )


def _needed(sql: str, definitions: dict[str, str]) -> set[str]:
    """The views that the statements name, and those that these are made of."""
    words = _words(sql)
    if any(_ASKS_FOR_NAMES.fullmatch(word) for word in words):
        return set(definitions)
    # A word that only looks like a view's name costs a view too many, which does no harm.
    needed: set[str] = set()
    for name in reversed(definitions):
        if name in words:
            needed.add(name)
            words |= _words(_REMARKS.sub("", definitions[name]))
    return needed


def _tables(views: set[str]) -> list[str]:
    return [table for table in COLUMNS if f"raw_{table}" in views]


def _words(sql: str) -> set[str]:
    return set(re.findall(r"\w+", sql.lower()))


def _live_files(store: Store, tables: list[str]) -> dict[str, list[Path]]:
    """The parts that count now in each table, as files of this machine."""
    if not tables:
        return {}
    by_table: dict[str, list[str]] = {table: [] for table in tables}
    # One listing of everything is fewer round trips than one for each of several tables.
    for file in store.list("facts" if len(tables) > 1 else f"facts/{tables[0]}"):
        if (table := file.split("/")[1]) in by_table:
            by_table[table].append(file)
    live = {table: parts.live(store, table, files) for table, files in by_table.items()}
    local = iter(mirror.local_files(store, [path for paths in live.values() for path in paths]))
    return {table: [next(local) for _ in paths] for table, paths in live.items()}


def _raw_view(table: str, files: list[Path]) -> str:
    source = _parts_source(table, files) if files else _nothing(_sql_types(table))
    return f"CREATE VIEW raw_{table} AS {source}"


def _parts_source(table: str, files: list[Path]) -> str:
    """The rows of the files; a column that the table did not have when one was written is null."""
    listed = ", ".join(map(_literal, files))
    columns = ", ".join(
        f'{name}={{name: {name}, type: "{kind}", default_value: NULL}}'
        for name, kind in _sql_types(table).items()
    )
    # As text: each view upon it binds it again. (`union_by_name` would open every file for that.)
    return f"FROM read_parquet([{listed}], schema = '{{{columns}}}'::{_SCHEMA})"


def _sql_types(table: str) -> dict[str, str]:
    return {name: SQL_TYPES[kind] for name, kind in COLUMNS[table].items()}


def _nothing(types: Mapping[str, str]) -> str:
    """No rows, of columns of these types."""
    nulls = (f'NULL::{kind} AS "{name}"' for name, kind in types.items())
    return f"SELECT {', '.join(nulls)} WHERE false"


def _ledger_files(store: Store) -> list[Path]:
    entries = [file for file in store.list("ledger") if file.count("/") == 1]
    return mirror.local_files(store, entries)


def _ledger_view(files: list[Path]) -> str:
    source = _ledger_source(files) if files else _nothing(_LEDGER_TYPES)
    return f"CREATE VIEW {_LEDGER} AS {source}"


def _ledger_source(files: list[Path]) -> str:
    types = ", ".join(f"'{name}': '{kind}'" for name, kind in _LEDGER_TYPES.items())
    return f"FROM read_json([{', '.join(map(_literal, files))}], columns = {{{types}}})"


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
