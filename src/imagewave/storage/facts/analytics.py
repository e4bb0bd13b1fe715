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
from imagewave.storage.facts import mirror, parts
from imagewave.storage.facts.tables import COLUMNS, KEYS, RECORDED_AT, SQL_TYPES
from imagewave.storage.files.protocol import RESTORE, damaged
from imagewave.storage.store import Store

# A query with such a word, or one that starts so, asks which views there are.
_ASKS_FOR_NAMES = re.compile(r"show|describe|pragma|information_schema|(duckdb|sqlite|pg)_\w+")

# The ledger's entries are files of their own (storage/money/ledger.py), not rows of a fact table.
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

_OWN_WITH = re.compile(r"\s*WITH\s", re.IGNORECASE)
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


class Snapshot:
    """The facts that a store holds at one moment, for several queries that must fit together."""

    def __init__(self, store: Store, sql: str | None = None) -> None:
        """With `sql`, only what these statements look at; a remote store's parts are copied here.

        Raises:
            StoreError: as for `connect`.
        """
        self._store = store
        self._sources = _sources(store, _needed_by(sql))

    def query(
        self, sql: str, params: Sequence[object] | Mapping[str, object] = ()
    ) -> list[dict[str, Any]]:
        """The rows of one query, as dicts; `?` in it, or `$name`, stand for `params`.

        Raises:
            StoreError: what it reads is damaged.
        """
        with _database().cursor() as connection, _explained(self._store, sql):
            cursor = connection.execute(self._with_views(sql), params)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _with_views(self, sql: str) -> str:
        """The query with the views that it needs in front.

        Each is bound once for each use. A view of the database's own is bound when it is made,
        again for each view upon it, and once more when it is asked: that took longer than most
        answers.
        """
        definitions = _definitions()
        needed = _needed(sql, definitions)
        views = [
            f"{name} AS ({self._sources[name] if name in self._sources else _body(text)})"
            for name, text in definitions.items()
            if name in needed
        ]
        if not views:
            return sql
        # In brackets of its own, DuckDB 2.0 loses a query's WITH where it has an ORDER BY.
        own = _OWN_WITH.match(sql)
        rest = f", {sql[own.end() :]}" if own else f" {sql}"
        return f"WITH {', '.join(views)}{rest}"


def query(
    store: Store, sql: str, params: Sequence[object] | Mapping[str, object] = ()
) -> list[dict[str, Any]]:
    """The rows of one query over the facts that the store holds now; see `Snapshot.query`.

    Raises:
        StoreError: as for `asking`.
    """
    return Snapshot(store, sql).query(sql, params)


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
    needed = _needed_by(sql)
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
    needed = _needed_by(sql)
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
    needed = _needed_by(sql)
    raw = [f"CREATE VIEW {name} AS {text}" for name, text in _sources(store, needed).items()]
    # The raw views have no statement of their own here.
    return raw + [text for name, text in _definitions().items() if name in needed and text]


def _sources(store: Store | None, needed: set[str]) -> dict[str, str]:
    """The raw views among those needed, each with the query that is its rows now."""
    tables = _tables(needed)
    files = {} if store is None else _live_files(store, tables)
    sources = {f"raw_{table}": _raw_rows(table, files.get(table, [])) for table in tables}
    if _LEDGER in needed:
        sources[_LEDGER] = _ledger_rows([] if store is None else _ledger_files(store))
    return sources


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


def _body(statement: str) -> str:
    """The query of a statement that makes a view."""
    return _REMARKS.sub("", statement).split(" AS", 1)[1].strip().removesuffix(";")


def _needed_by(sql: str | None) -> set[str]:
    """The views that the statements need; all of them for None."""
    definitions = _definitions()
    return set(definitions) if sql is None else _needed(sql, definitions)


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


def _raw_rows(table: str, files: list[Path]) -> str:
    return _parts_source(table, files) if files else _nothing(_sql_types(table))


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


def _ledger_rows(files: list[Path]) -> str:
    return _ledger_source(files) if files else _nothing(_LEDGER_TYPES)


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


def pattern(file: Path) -> str:
    """The path as DuckDB reads it, which takes each for a pattern."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(file))


def _literal(file: Path) -> str:
    return "'" + pattern(file).replace("'", "''") + "'"
