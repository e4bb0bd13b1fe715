"""`imagewave sql`: questions to the facts, answered as a table, CSV, JSON or Parquet."""

import contextlib
import io
import os
import secrets
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import duckdb
import typer

from imagewave.cli.terminal import printing
from imagewave.cli.terminal.options import StoreOption
from imagewave.errors import ImagewaveError
from imagewave.storage.facts import analytics, questions
from imagewave.storage.store import Store
from imagewave.tasks.stores import store_to_read

# A single row of so many columns is easier to read from top to bottom.
_WIDE = 8
_ROWS_ON_SCREEN = 200
_CHUNK = 1 << 20

# What a cell begins with that a spreadsheet takes for a formula, full-width signs among it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_TEXTS = ("varchar", "enum", "blob", "union", "variant")


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
    store: StoreOption = None,
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

    The views answer what is asked most: funnel, costs, cost_per_accepted, lineage, … A query only
    reads, and only the facts: it changes nothing and opens no other file. In CSV, texts that a
    spreadsheet would run as formulas have an apostrophe before them; JSON and Parquet have every
    text as it is. More: docs/sql.md.

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
        _export(store_to_read(store), export)
    elif query is None:
        _list_views()
    else:
        _answer(sys.stdin.read() if query == "-" else query, store, format, output)


def _answer(query: str, named: str | None, format: Format | None, output: Path | None) -> None:
    chosen = format or _format_of(output)
    if chosen is Format.PARQUET and output is None and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is not for terminals: add -o FILE")
    store = store_to_read(named) if analytics.asks_for_facts(query) else None
    with ExitStack() as stack:
        stack.enter_context(_explained())
        if output is not None:
            file = stack.enter_context(_replacing(output))
        else:
            file = Path(stack.enter_context(TemporaryDirectory())) / "answer"
        answer = stack.enter_context(_answered(store, query, file))
        if output is None:
            _print(answer, chosen, file)
        else:
            _write(answer, chosen, file)


@contextmanager
def _answered(store: Store | None, query: str, file: Path) -> Iterator[duckdb.DuckDBPyRelation]:
    """What the last statement answers, to be written nowhere but to the file."""
    with ExitStack() as stack:
        try:
            asking = questions.asking(store, query, answer=file)
            answer = stack.enter_context(asking).sql(query)
        except duckdb.CatalogException:
            # With all views at hand DuckDB names the one that was meant.
            asking = questions.asking(store, query, answer=file, every_view=True)
            answer = stack.enter_context(asking).sql(query)
        if answer is None:
            raise ImagewaveError("There is no question.", 'Ask one: imagewave sql "from funnel".')
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


def _print(answer: duckdb.DuckDBPyRelation, format: Format, file: Path) -> None:
    on_screen = sys.stdout.isatty()
    if format is Format.TABLE:
        printing.say(_table(answer, on_screen=on_screen).rstrip("\n"), lines=True)
        return
    _write(answer, format, file)
    with file.open("rb") as stream:
        if on_screen:
            printing.say(stream.read().decode("utf-8", "replace").rstrip("\n"), lines=True)
        else:
            printing.say_bytes(iter(lambda: stream.read(_CHUNK), b""))


def _write(answer: duckdb.DuckDBPyRelation, format: Format, file: Path) -> None:
    if format is Format.TABLE:
        file.write_text(_table(answer, on_screen=False), "utf-8")
    else:
        quoted = str(file).replace("'", "''")
        rows = _guarded(answer) if format is Format.CSV else answer
        rows.query("answer", f"COPY answer TO '{quoted}' ({_COPY_OPTIONS[format]})")


def _guarded(answer: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The rows with an apostrophe before texts that a spreadsheet would run as formulas.

    Only what is text is touched, and names of columns, which a PIVOT takes from the data: a number
    below zero stays one.
    """
    columns = []
    for number, (name, kind) in enumerate(zip(answer.columns, answer.types, strict=True), 1):
        shown = ("'" + name if name.startswith(_FORMULA) else name).replace('"', '""')
        cell = f"#{number}"
        if str(kind.id) in _TEXTS:
            text = f"{cell}::VARCHAR"
            starts = " OR ".join(f"starts_with({text}, chr({ord(sign)}))" for sign in _FORMULA)
            cell = f"CASE WHEN {starts} THEN concat(chr(39), {text}) ELSE {text} END"
        columns.append(f'{cell} AS "{shown}"')
    return answer.project(", ".join(columns))


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
        indented = ("\n" + " " * (widest + 2)).join(lines)
        printing.say(f"{name.ljust(widest)}  {indented}", lines=True)
    printing.say()
    printing.say(
        'A view\'s columns: imagewave sql "describe funnel". Queries to start from: docs/sql.md.'
    )


def _export(store: Store, file: Path) -> None:
    if os.path.exists(file):
        raise ImagewaveError(f"{file} exists.", "Remove it, or name another file.")
    with _explained(), _replacing(file) as temporary, analytics.asking(store) as connection:
        names = [name for name, _ in analytics.views()]
        quoted = str(temporary).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS export")
        for name in names:
            connection.execute(f"CREATE TABLE export.{name} AS FROM {name}")
        connection.execute("DETACH export")
    printing.say(f"Wrote {len(names)} tables to {file}.")


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """A path beside the file, for what takes its place when it is whole."""
    if not os.path.isdir(file.parent):
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
