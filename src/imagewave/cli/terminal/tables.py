"""Tables and lines with a style, in which every text is taken word for word."""

from typing import IO, Any

from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from imagewave.cli.terminal import printing
from imagewave.words import legible

# Piped output is for grep and awk, whose lines must not wrap.
_WIDTH_OF_A_PIPE = 200


class Table(RichTable):
    """A table whose headings, title and cells hold no markup; the style is given beside them."""

    def __init__(self, *headings: str, title: str | None = None, **settings: Any) -> None:
        super().__init__(title=None if title is None else _word_for_word(title), **settings)
        for heading in headings:
            self.add_column(heading)

    def add_column(self, header: RenderableType = "", *args: Any, **settings: Any) -> None:
        """As rich's."""
        super().add_column(_word_for_word(header), *args, **settings)

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        """As rich's."""
        super().add_row(*map(_word_for_word, cells), **settings)


class _Console(Console):
    """A console that outlives its reader."""

    def on_broken_pipe(self) -> None:
        """Where rich would end the process."""
        printing.given_up(self.file, BrokenPipeError())


def console(*, file: IO[str] | None = None, width: int | None = None) -> Console:
    """A console that takes no text for markup, nor for a number to colour."""
    return _Console(
        file=file or printing.stream_of_words(),
        markup=False,
        highlight=False,
        emoji=False,
        width=width,
    )


def show(table: Table, *, width: int = _WIDTH_OF_A_PIPE) -> None:
    """Prints the table; where it is not printed to a terminal, so wide at the most."""
    stream = printing.stream_of_words()
    try:
        console(width=None if stream.isatty() else width).print(table)
    except OSError as error:
        printing.given_up(stream, error)


def say(*parts: str | tuple[str, str]) -> None:
    """Prints a line of texts, some of them with a style: `("covers", "bold")`."""
    pairs = [(part, "") if isinstance(part, str) else part for part in parts]
    stream = printing.stream_of_words()
    line = Text.assemble(*((legible(text), style) for text, style in pairs))
    try:
        console().print(line, soft_wrap=True)
    except OSError as error:
        printing.given_up(stream, error)


def _word_for_word(cell: Any) -> Any:
    return Text(legible(cell)) if isinstance(cell, str) else cell
