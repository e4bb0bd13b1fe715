"""`imagewave sql`: questions to the facts, answered as a table, CSV, JSON or Parquet."""

import contextlib
import io
import os
import secrets
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import duckdb
import typer

from imagewave.errors import ImagewaveError
from imagewave.storage import analytics
from imagewave.storage.store import DEFAULT_STORE, Store

# A single row of so many columns is easier to read from top to bottom.
_WIDE = 8
_ROWS_ON_SCREEN = 200


class Format(StrEnum):
    """How the answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


_COPY_OPTIONS = {
    Format.CSV: "FORMAT csv, HEADER",
    Format.JSON: "FORMAT json, ARRAY",
    Format.PARQUET: "FORMAT parquet",
}


def sql(
    query: Annotated[
        str | None,
        typer.Argument(help="SQL; - reads it from standard input. Without it: list the views."),
    ] = None,
    store: Annotated[
        str, typer.Option(help="The store to ask: a folder or s3://bucket/prefix.")
    ] = DEFAULT_STORE,
    format: Annotated[
        Format | None,
        typer.Option(help="How to write the answer; by default as FILE's name ends, or a table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every view as a table of a new DuckDB file."),
    ] = None,
) -> None:
    """Ask the facts: SQL over everything that was ever done.

    The views answer what is asked most: funnel, costs, cost_per_accepted, lineage, … Whatever a
    query changes is gone when it ends; facts cannot be changed. More: docs/sql.md.

    Examples:

      imagewave sql

      imagewave sql "from funnel"

      imagewave sql "select brief, accepted from funnel" --format csv

      imagewave sql "from lineage" -o lineage.parquet

      imagewave sql --store s3://team/waves --export waves.duckdb
    """
    if export is not None:
        if query is not None or output is not None or format is not None:
            raise typer.BadParameter("--export writes all views: it takes no query and no format")
        _export(Store.open(store, create=False), export)
    elif query is None:
        _list_views()
    else:
        _answer(sys.stdin.read() if query == "-" else query, store, format, output)


def _answer(query: str, url: str, format: Format | None, output: Path | None) -> None:
    chosen = format or _format_of(output)
    if chosen is Format.PARQUET and output is None and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is not for terminals: add -o FILE")
    store = Store.open(url, create=False) if analytics.asks_for_facts(query) else None
    with _explained(), _answered(store, query) as answer:
        if answer is None:
            return
        if output is not None:
            with _replacing(output) as temporary:
                _write(answer, chosen, temporary)
        else:
            _print(answer, chosen)


@contextmanager
def _answered(store: Store | None, query: str) -> Iterator[duckdb.DuckDBPyRelation | None]:
    """What the last statement answers; None if it answers nothing."""
    with analytics.asking(store, query) as connection:
        try:
            answer = connection.sql(query)
        except duckdb.CatalogException:
            # With all views at hand DuckDB names the one that was meant.
            answer = analytics.connect(store).sql(query)
        yield answer


def _format_of(output: Path | None) -> Format:
    """The format that a file's name asks for; a table for the screen and where it asks none."""
    ending = output.suffix.removeprefix(".").lower() if output else ""
    if not ending or ending == "txt":
        return Format.TABLE
    if ending not in list(Format):
        known = ", ".join(f".{each}" for each in Format if each is not Format.TABLE)
        raise ImagewaveError(
            f"No format is known by the ending of {str(output)!r}.",
            f"Name it {known} or .txt, or say which it is with --format.",
        )
    return Format(ending)


def _print(answer: duckdb.DuckDBPyRelation, format: Format) -> None:
    try:
        if format is Format.TABLE:
            sys.stdout.write(_table(answer, on_screen=sys.stdout.isatty()))
        else:
            with TemporaryDirectory() as folder:
                file = Path(folder) / "answer"
                _write(answer, format, file)
                with file.open("rb") as stream:
                    sys.stdout.flush()
                    shutil.copyfileobj(stream, sys.stdout.buffer)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read, `head` say, has seen enough. Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(answer: duckdb.DuckDBPyRelation, format: Format, file: Path) -> None:
    if format is Format.TABLE:
        file.write_text(_table(answer, on_screen=False), "utf-8")
    else:
        quoted = str(file).replace("'", "''")
        answer.query("answer", f"COPY answer TO '{quoted}' ({_COPY_OPTIONS[format]})")


def _table(answer: duckdb.DuckDBPyRelation, *, on_screen: bool) -> str:
    """The rows as a table; on a screen, no more columns and rows than it bears."""
    one_wide = len(answer.columns) > _WIDE and len(answer.limit(2).fetchall()) == 1
    mode = duckdb.RenderMode.COLUMNS if one_wide else duckdb.RenderMode.ROWS
    size = shutil.get_terminal_size()
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        answer.show(
            max_width=size.columns if on_screen else 1_000_000,
            max_rows=_ROWS_ON_SCREEN if on_screen else 1_000_000_000,
            render_mode=mode,
        )
    return text.getvalue()


def _list_views() -> None:
    views = analytics.views()
    widest = max(len(name) for name, _ in views)
    width = min(shutil.get_terminal_size().columns, 100)
    for name, comment in views:
        lines = textwrap.wrap(comment, max(20, width - widest - 2))
        print(name.ljust(widest), ("\n" + " " * (widest + 2)).join(lines), sep="  ")
    print(
        '\nA view\'s columns: imagewave sql "describe funnel". Queries to start from: docs/sql.md.'
    )


def _export(store: Store, file: Path) -> None:
    if file.exists():
        raise ImagewaveError(f"{file} exists.", "Remove it, or name another file.")
    with _explained(), _replacing(file) as temporary, analytics.asking(store) as connection:
        names = [name for name, _ in analytics.views()]
        quoted = str(temporary).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS export")
        for name in names:
            connection.execute(f"CREATE TABLE export.{name} AS FROM {name}")
        connection.execute("DETACH export")
    print(f"Wrote {len(names)} tables to {file}.")


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """A path beside the file, for what takes its place when it is whole."""
    if not file.parent.is_dir():
        raise ImagewaveError(f"{file}: there is no folder {file.parent}.", "Make it first.")
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        # Whoever writes it may say in other words that nothing can be written there.
        temporary.touch()
        temporary.unlink()
        try:
            yield temporary
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ImagewaveError(f"{file}: {error.strerror or error}.", "Name another file.") from error


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise ImagewaveError(
            str(error),
            '\n`imagewave sql` lists the views; `imagewave sql "describe costs"` shows the columns'
            " of one.",
        ) from error
