"""Splits a stream of chunks into lines, in memory that depends on neither the file nor the chunks.

Lines are assembled in one buffer that is used again for each: fresh memory for every line would
cost more, in page faults, than receiving the line.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_LINE = 256 * 1024 * 1024
"""Longest line taken, in bytes: a dozen 4K pictures as base64. Far above what providers send."""

KEPT_OF_CUT = 64 * 1024
"""Bytes kept of a line that is longer: enough to tell whose it was."""

_FIRST_SIZE = 2 * 1024 * 1024
_NEWLINE, _RETURN = b"\n", ord("\r")
_BLANK = re.compile(rb"\s*+")


@dataclass(frozen=True, slots=True)
class Line:
    """The first `size` bytes of a buffer, until the next line is asked for.

    `cut` if these are only the beginning of an overlong line.
    """

    buffer: bytearray
    size: int
    cut: bool = False

    def copy(self) -> bytes:
        """The line's bytes, to keep."""
        return bytes(memoryview(self.buffer)[: self.size])


def split_lines(chunks: Iterable[bytes], *, limit: int = MAX_LINE) -> Iterator[Line]:
    r"""Yields the lines of the concatenated chunks, ended by `\n` or `\r\n`, the last or not.

    Lines of nothing but white space are passed over, and so is a byte order mark before a line. A
    line longer than `limit` bytes comes cut to its first `KEPT_OF_CUT`, and what follows it is read
    as if nothing had happened.
    """
    line = _Assembly(limit)
    for chunk in chunks:
        whole = memoryview(chunk)
        start = 0
        while (end := chunk.find(_NEWLINE, start)) >= 0:
            line.add(whole[start:end])
            start = end + 1
            yield from line.take()
        line.add(whole[start:])
    yield from line.take()


class _Assembly:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = min(KEPT_OF_CUT, limit)
        self._buffer = bytearray(min(_FIRST_SIZE, limit))
        self._size = 0
        self._cut = False

    def add(self, piece: memoryview) -> None:
        if self._cut:
            return
        if self._size + len(piece) > self._limit:
            self._cut = True
            piece = piece[: max(self._kept - self._size, 0)]
        end = self._size + len(piece)
        if end > len(self._buffer):
            grown = bytearray(min(max(2 * len(self._buffer), end), self._limit))
            memoryview(grown)[: self._size] = memoryview(self._buffer)[: self._size]
            self._buffer = grown
        # Assigned through a view: a bytearray would copy the piece once more for itself.
        memoryview(self._buffer)[self._size : end] = piece
        self._size = end

    def take(self) -> Iterator[Line]:
        size = min(self._size, self._kept) if self._cut else self._size
        if size and self._buffer[size - 1] == _RETURN:
            size -= 1
        if self._buffer.startswith(BOM_UTF8, 0, size):
            mark = len(BOM_UTF8)
            size -= mark
            memoryview(self._buffer)[:size] = self._buffer[mark : mark + size]
        if not _BLANK.fullmatch(self._buffer, 0, size):
            yield Line(self._buffer, size, self._cut)
        self._size, self._cut = 0, False
