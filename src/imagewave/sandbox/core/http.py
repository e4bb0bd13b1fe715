"""What both the wire and the control endpoints need of HTTP: JSON in, JSON out, broken lines."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from imagewave.sandbox.core.errors import ApiError

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, with the connection within a handler's reach so that it can be cut."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Lends the transport to the requests of this connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Hangup(Response):
    """No answer at all: the connection is cut."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Aborts the connection before a byte is sent."""
        await _cut(scope, receive)


class FileSlice(Response):
    """A file from disk, streamed; honours one byte range, and may be cut off on the way.

    `cut_at` is the share of the bytes after which the connection is dropped; None sends all.
    `stall` is a share of the bytes and the seconds to wait before the next ones. `short` is the
    share after which the answer ends as if that were all, its length untold. Of the file's end,
    `lacks` lines are left out.
    """

    def __init__(
        self,
        path: Path,
        media_type: str,
        range_header: str = "",
        cut_at: float | None = None,
        stall: tuple[float, float] | None = None,
        short: float | None = None,
        lacks: int = 0,
    ) -> None:
        self._path = path
        self._cut_at = cut_at
        self._stall = stall
        size = _size_without(path, lacks) if lacks else path.stat().st_size
        self._first, self._last = 0, size - 1
        status, headers = 200, {"accept-ranges": "bytes"}
        if wanted := _RANGE.match(range_header):
            self._first = int(wanted[1])
            self._last = min(int(wanted[2] or size - 1), size - 1)
            status = 206
            headers["content-range"] = f"bytes {self._first}-{self._last}/{size}"
            if self._first > self._last:
                status, self._last = 416, self._first - 1
                headers["content-range"] = f"bytes */{size}"
        super().__init__(status_code=status, headers=headers, media_type=media_type)
        del self.headers["content-length"]
        if short is None:
            self.headers["content-length"] = str(self._last - self._first + 1)
        else:
            self._last = self._first + int((self._last - self._first + 1) * short) - 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the bytes in chunks of a mebibyte, read off the event loop."""
        left = total = self._last - self._first + 1
        stop_at = 0 if self._cut_at is None else total - int(total * self._cut_at)
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        with await asyncio.to_thread(open, self._path, "rb") as file:
            file.seek(self._first)
            while left > stop_at:
                chunk = await asyncio.to_thread(file.read, min(_CHUNK, left - stop_at))
                left -= len(chunk)
                await self._pause(total - left, total)
                await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
        if self._cut_at is not None:
            await _cut(scope, receive, flush=True)
        elif total == 0:
            await send({"type": "http.response.body", "body": b""})

    async def _pause(self, sent: int, total: int) -> None:
        if self._stall is not None and sent >= total * self._stall[0]:
            seconds, self._stall = self._stall[1], None
            await asyncio.sleep(seconds)


def _size_without(path: Path, lines: int) -> int:
    """The file's size without its last lines."""
    kept = path.read_bytes().splitlines(keepends=True)[:-lines]
    return sum(map(len, kept))


async def _cut(scope: Scope, receive: Receive, *, flush: bool = False) -> None:
    transport: asyncio.Transport = scope["state"]["transport"]
    if flush:
        transport.close()
    else:
        transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def json_response(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer."""
    body = orjson.dumps(content, option=orjson.OPT_INDENT_2)
    return Response(body, status, headers, media_type="application/json; charset=UTF-8")


async def json_body(request: Request) -> Any:
    """The JSON body; an empty body is an empty object.

    Raises:
        ApiError: it is no JSON.
    """
    body = await request.body()
    if not body:
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error
