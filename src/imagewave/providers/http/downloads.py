"""A file received over HTTP as chunks, whole and in order, however often the connection drops.

Nothing is spooled: the position in the file is all that survives a drop. The rest is asked for
with a `Range`; a server that knows no ranges sends the file anew, and what was already passed on
is read over. So the receiver sees every byte once, and memory stays at one chunk.

An answer that does not say how long the file is may end early without a trace. So its end is held
for the file's only once the server, asked for the rest, has said that there is none.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import urllib3
from requests import RequestException, Response

from imagewave.killpoints import reached
from imagewave.providers.failures import patience

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
    no ranges; its answer may be 416, that there are no such bytes; it raises if the server refuses.
    `may_pass` says of such an error whether, or after
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
        self._ended_at: int | None = None  # where an answer without a length ended
        self.finished = False

    def read(self) -> bytes:
        """The next chunk; empty at the end of the file. After an error, a call goes on there."""
        with ExitStack() as unless_read:
            unless_read.callback(self.close)
            if self._response is None:
                self._open()
            chunk = b"" if self.finished else self._next()
            if chunk:
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
        self._position += len(chunk)
        if not chunk:
            self._end()
        return chunk

    def _end(self) -> None:
        """The answer has ended: finished, if that is known to be the end of the file."""
        if self._total is None:
            self.finished = self._ended_at == self._position
            self._ended_at = self._position
        elif self._position < self._total:
            raise Dropped(f"{self._total - self._position} bytes are missing")
        else:
            self.finished = True

    def _open(self) -> None:
        self._response = response = self._get(self._position)
        if response.status_code == 416:
            self._know(_total_of(response), response.headers.get("ETag"))
            if self._total not in (None, self._position):
                raise Changed("the server gives another length than before")
            self.finished = True
            return
        start = 0
        if response.status_code == 206:
            span = response.headers.get("Content-Range", "").partition("/")[0]
            start = int(span.removeprefix("bytes ").partition("-")[0] or 0)
            length = _total_of(response)
        else:
            length = _content_length(response)
        self._know(length, response.headers.get("ETag"))
        self._skip(self._position - start)

    def _know(self, total: int | None, etag: str | None) -> None:
        """Takes note of what an answer says of the file, which must be what others have said."""
        for known, said in ((self._total, total), (self._etag, etag)):
            if None not in (known, said) and known != said:
                raise Changed("the file was replaced while it was being downloaded")
        self._total = self._total if total is None else total
        self._etag = self._etag if etag is None else etag

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


def _total_of(response: Response) -> int | None:
    """The length of the whole file, by an answer about a part of it."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None
