"""Splits a stream of chunks into lines, in memory that depends on neither the file nor the chunks.

A line that lies within one chunk is sliced out of it; one that spans chunks is joined once. So
each byte is copied once after it was received, and only the line being assembled is held.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_LINE = 256 * 1024 * 1024
"""Longest line taken, in bytes: a dozen 4K pictures as base64. Far above what providers send."""

KEPT_OF_CUT = 64 * 1024
"""Bytes kept of a line that is longer: enough to tell whose it was."""


class Line(NamedTuple):
    """One line without its terminator; `cut` if only the beginning of an overlong one is here."""

    data: bytes
    cut: bool = False


def split_lines(chunks: Iterable[bytes], *, limit: int = MAX_LINE) -> Iterator[Line]:
    r"""Yields the lines of the concatenated chunks, ended by `\n` or `\r\n`, the last or not.

    Lines of nothing but white space are passed over. A line longer than `limit` bytes comes cut to
    its first `KEPT_OF_CUT`, and what follows it is read as if nothing had happened.
    """
    pending: list[bytes | memoryview] = []
    held = 0
    overlong = False
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            end = chunk.find(b"\n", start)
            stop = len(chunk) if end < 0 else end
            if not overlong:
                pending.append(memoryview(chunk)[start:stop])
                held += stop - start
                if held > limit:
                    pending = [b"".join(pending)[: min(KEPT_OF_CUT, limit)]]
                    overlong = True
            start = stop + 1
            if end >= 0:
                yield from _line(pending, overlong)
                pending, held, overlong = [], 0, False
    yield from _line(pending, overlong)


def _line(pending: list[bytes | memoryview], overlong: bool) -> Iterator[Line]:
    data = b"".join(pending).removesuffix(b"\r")
    if data and not data.isspace():
        yield Line(data, overlong)
