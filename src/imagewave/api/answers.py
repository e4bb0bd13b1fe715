"""Answers to SQL questions, as Arrow, pandas or Polars."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

import duckdb

from imagewave.errors import ImagewaveError
from imagewave.storage.facts import analytics, questions
from imagewave.storage.store import Store
from imagewave.tasks.stores import store_to_read

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_ROWS_SHOWN = 50


class QueryError(ImagewaveError):
    """The statement is no SQL, names what is not there, or does more than read."""


class MissingLibrary(ImagewaveError):
    """A library is not installed that this form of an answer needs."""


class Answer:
    """The rows that a query found, all of them in memory.

    A notebook shows the first of them as a table.
    """

    def __init__(self, table: "pa.Table") -> None:
        self._table = table

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._table.column_names)

    def arrow(self) -> "pa.Table":
        """The rows as a pyarrow Table. Money is decimal."""
        return self._table

    def df(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame.

        Money stays exact, as Arrow decimals, which add up but cannot be drawn:
        `df.astype({"cost_usd": float})` makes them numbers that can.

        Raises:
            MissingLibrary: pandas is not installed.
        """
        pandas = _library("pandas")
        arrow = import_module("pyarrow")

        def exact(kind: "pa.DataType") -> Any:
            return pandas.ArrowDtype(kind) if arrow.types.is_decimal(kind) else None

        return self._table.to_pandas(types_mapper=exact)

    def pl(self) -> "pl.DataFrame":
        """The rows as a Polars DataFrame.

        Raises:
            MissingLibrary: Polars is not installed.
        """
        frame: pl.DataFrame = _library("polars").from_arrow(self._table)
        return frame

    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts by column."""
        rows: list[dict[str, Any]] = self._table.to_pylist()
        return rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows())

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        return f"<Answer: {len(self)} rows of {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = self._table.slice(0, _ROWS_SHOWN).to_pylist()
        body = "".join(
            f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row.values())}</tr>"
            for row in rows
        )
        left = len(self) - len(rows)
        more = f"<p>… and {left} more rows</p>" if left else ""
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{more}"


def ask(
    url: str | None, sql: str, params: Sequence[object] | Mapping[str, object] | None = None
) -> Answer:
    """What the statements answer, over the facts that the store holds now.

    `url` None is the default store.

    Raises:
        QueryError: they cannot be answered, or one of them does more than read.
        NoStore: they ask for facts, and there is no store.
        StoreError: the store cannot be used, or is damaged.
    """
    try:
        needs_store = analytics.asks_for_facts(sql)
        store = store_to_read(url) if needs_store else None
        try:
            return _ask(store, sql, params, every_view=False)
        except duckdb.CatalogException:
            # With all views at hand DuckDB names the one that was meant.
            return _ask(store, sql, params, every_view=True)
    except questions.NotARead as error:
        raise QueryError(
            error.message, "Ask with SELECT, FROM, WITH, DESCRIBE, SUMMARIZE or SHOW."
        ) from error
    except duckdb.Error as error:
        raise QueryError(
            str(error), "\nStore.views() lists the views; DESCRIBE shows the columns of one."
        ) from error


def _ask(
    store: Store | None,
    sql: str,
    params: Sequence[object] | Mapping[str, object] | None,
    *,
    every_view: bool,
) -> Answer:
    with questions.asking(store, sql, every_view=every_view) as connection:
        answer = connection.sql(sql, params=params) if params else connection.sql(sql)
        if answer is None:
            raise QueryError("There is no question.", 'Ask one, such as "from funnel".')
        return Answer(answer.to_arrow_table())


def _cell(value: object) -> str:
    return "" if value is None else escape(str(value))


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            f"{name} is not installed.", f"Install it: pip install 'imagewave[{name}]'."
        ) from error
