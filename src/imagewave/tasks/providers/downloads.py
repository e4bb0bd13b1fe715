"""A file received over HTTP as chunks, whole and in order, however often the connection drops.

Nothing is spooled: the position in the file is all that survives a drop. The rest is asked for
with a `Range`; a server that knows no ranges sends the file anew, and what was already passed on
is read over. So the receiver sees every byte once, and memory stays at one chunk.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import urllib3
from requests import RequestException, Response

from imagewave.killpoints import reached
from imagewave.tasks.failures import patience

CHUNK = 1024 * 1024
"""Bytes read at a time."""


class Dropped(Exception):
    """The connection ended before the file did."""


class Changed(Exception):
    """The server sends another file than the one whose beginning was already passed on."""


DROPS = (Dropped, RequestException, urllib3.exceptions.HTTPError, OSError)
"""What the end of a connection can look like."""


def name_of_loss(error: Exception) -> str:
    """The class of the error, or of the one that it is about: its text is a stack of wrappings."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", None)
    return type(reason if isinstance(reason, Exception) else error).__name__


def chunks_of(
    get: Callable[[int], Response], may_pass: Callable[[Exception], bool | float]
) -> Iterator[bytes]:
    """Yields the file's bytes, in order and each once, in chunks of at most `CHUNK`.

    `get(position)` opens the file from that byte on, or from its beginning where the server knows
    no ranges, and raises if the server refuses. `may_pass` says of such an error whether, or after
    how many seconds, it may be tried again. Tries are counted anew whenever a byte arrives.

    Raises:
        Changed: the file is not the same as before the drop.
        DROPS: the connection dropped in every try; or what `get` raised.
    """
    download = _Download(get)
    try:
        while not download.finished:
            for attempt in patience(lambda error: isinstance(error, DROPS) or may_pass(error)):
                with attempt:
                    chunk = download.read()
            if chunk:
                yield chunk
                reached("collect.chunk")
    finally:
        download.close()


class _Download:
    def __init__(self, get: Callable[[int], Response]) -> None:
        self._get = get
        self._response: Response | None = None
        self._position = 0
        self._total: int | None = None
        self._etag: str | None = None
        self.finished = False

    def read(self) -> bytes:
        """The next chunk; empty at the end of the file. After an error, a call goes on there."""
        with ExitStack() as unless_read:
            unless_read.callback(self.close)
            if self._response is None:
                self._open()
            chunk = self._next()
            unless_read.pop_all()
        return chunk

    def close(self) -> None:
        """Drops the connection, if one is open."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _next(self) -> bytes:
        assert self._response is not None
        chunk: bytes = self._response.raw.read(CHUNK, decode_content=False)
        if not chunk:
            if self._total is not None and self._position < self._total:
                raise Dropped(f"{self._total - self._position} bytes are missing")
            self.finished = True
        self._position += len(chunk)
        return chunk

    def _open(self) -> None:
        self._response = response = self._get(self._position)
        start = 0
        if response.status_code == 206:
            span, _, total = response.headers.get("Content-Range", "").partition("/")
            start = int(span.removeprefix("bytes ").partition("-")[0] or 0)
            length = int(total) if total.isdigit() else None
        else:
            length = _content_length(response)
        etag = response.headers.get("ETag")
        if self._position and (length, etag) != (self._total, self._etag):
            raise Changed("the file was replaced while it was being downloaded")
        self._total, self._etag = length, etag
        self._skip(self._position - start)

    def _skip(self, count: int) -> None:
        assert self._response is not None
        if count < 0:
            raise Changed("the server left out a part of the file")
        while count:
            chunk = self._response.raw.read(min(count, CHUNK), decode_content=False)
            if not chunk:
                raise Dropped(f"{count} bytes short of where it had dropped before")
            count -= len(chunk)


def _content_length(response: Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None
