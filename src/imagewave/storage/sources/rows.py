"""What a source of briefs gives: rows, and what is wrong with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from imagewave.errors import ImagewaveError
from imagewave.words import redacted

Say = Callable[[str], None]
"""Hears what a user should know of how a source was read."""


class SourceError(ImagewaveError):
    """A source of briefs cannot be read; `row` is None where no single row is at fault.

    Secrets in URLs are blotted out; those in the words of what it was caused by are not.
    """

    def __init__(self, file: str, message: str, fix: str = "", row: int | None = None) -> None:
        super().__init__(redacted(message), fix)
        self.file = redacted(file)
        self.row = row


def too_large(url: str, limit: int, *, unpacked: bool = False) -> SourceError:
    """The error for a source of more than `limit` bytes."""
    when = "unpacked " if unpacked else ""
    return SourceError(
        url, f"{when}it has more than {limit // 2**20} MiB.", "Split it into several waves."
    )


class Row(NamedTuple):
    """A row as its source spells it: the columns' names, and a value for each.

    `place` counts the lines of a text file, or the rows of a sheet or Parquet file, from 1. A name
    of "" is a column that has none.
    """

    file: str
    place: int
    names: tuple[str, ...]
    values: tuple[Any, ...]


Rows = Iterator[Row | SourceError]
"""The rows of a source; an error in the place of one that is malformed."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A value that is no text or number, such as a date: what it is, and the way out."""

    what: str
    fix: str
