"""Reads web addresses: to the end, within limits of size and time, and never where a stranger's
address or redirect has no business.

The address that a connection goes to is checked as the connection is made, so that no spelling of
a name, no redirect and no name server that answers otherwise the second time gets around it.
"""

import ipaddress
import socket
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from imagewave.storage.sources.rows import SourceError, too_large

if TYPE_CHECKING:
    import aiohttp

TOTAL_S = 600.0
"""Seconds that a whole answer may take."""
SILENCE_S = 30.0
"""Seconds without a byte, after which a server is given up."""

_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_CHUNK = 2**16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def read_web(url: str, limit: int, *, trusted: str) -> bytes:
    """The whole answer to a GET of an http or https URL, unpacked where the server has packed it.

    Only the server (host and port) of the URL `trusted` may be on this machine or in a private
    network.

    Raises:
        SourceError: there is no such thing, it did not come whole or in time, it has more than
            `limit` bytes, or it is where it may not be.
    """
    import fsspec.asyn

    data: bytes = fsspec.asyn.sync(fsspec.asyn.get_loop(), _follow, url, limit, trusted)
    return data


async def _follow(url: str, limit: int, trusted: str) -> bytes:
    """Goes from redirect to redirect, each held against the same rules."""
    place = url
    for _ in range(_REDIRECTS + 1):
        found = await _get(url, place, limit, anywhere=_server(url, place) == _server(url, trusted))
        if isinstance(found, bytes):
            return found
        before, place = place, urljoin(place, found)
        schemes = urlsplit(before).scheme.lower(), urlsplit(place).scheme.lower()
        if schemes[1] not in _PORTS or schemes == ("https", "http"):
            raise SourceError(
                url,
                f"the server leads from {schemes[0]} on to {schemes[1]}: {place}.",
                "Name the address where it is.",
            )
    raise SourceError(url, f"it leads on more than {_REDIRECTS} times.", "Check the address.")


async def _get(url: str, place: str, limit: int, *, anywhere: bool) -> bytes | str:
    """The answer's bytes, or the address that it leads on to."""
    import aiohttp

    refused: list[str] = []

    def connected_to(address: Any) -> socket.socket:
        family, type_, protocol, _, target = address
        if not (anywhere or _is_public(target[0])):
            refused.append(target[0])
            raise OSError(f"{target[0]} is no public address")
        return socket.socket(family=family, type=type_, proto=protocol)

    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(socket_factory=connected_to, force_close=True),
                timeout=aiohttp.ClientTimeout(
                    total=TOTAL_S, sock_connect=SILENCE_S, sock_read=SILENCE_S
                ),
                auto_decompress=False,
                headers={"Accept-Encoding": "gzip"},
            ) as session,
            session.get(place, allow_redirects=False) as answer,
        ):
            if answer.status in (301, 302, 303, 307, 308) and "Location" in answer.headers:
                return answer.headers["Location"]
            _check_status(url, answer)
            return await _body(url, answer, limit)
    except TimeoutError:
        raise SourceError(
            url, "it did not come in time.", "Try again, or name a copy on this machine."
        ) from None
    except aiohttp.ClientConnectionError as error:
        if refused:
            host = urlsplit(place).hostname
            where = "" if host == refused[0] else f" is at {refused[0]}, which"
            raise SourceError(
                url,
                f"{host}{where} is no public address.",
                "Copy it to this machine, and name the copy.",
            ) from None
        raise SourceError(
            url, f"it could not be reached: {error}.", "Check the address and the network."
        ) from None
    except aiohttp.ClientPayloadError:
        raise SourceError(
            url, "it did not come whole: fewer bytes than were promised.", "Try again."
        ) from None
    except (aiohttp.ClientError, ValueError) as error:
        raise SourceError(url, f"it cannot be read: {error}.", "Check the address.") from None


def _check_status(url: str, answer: "aiohttp.ClientResponse") -> None:
    if answer.status in (404, 410):
        raise SourceError(url, f"it does not exist ({answer.status}).", "Check the path.")
    if answer.status != 200:
        raise SourceError(
            url, f"the server answers {answer.status} {answer.reason or ''}".rstrip() + "."
        )


async def _body(url: str, answer: "aiohttp.ClientResponse", limit: int) -> bytes:
    """All that comes; that its length is the promised one, the client sees to."""
    packed = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise SourceError(url, f"it is packed as {packed!r}, which was not asked for.")
    if (answer.content_length or 0) > limit:
        raise too_large(url, limit)
    unpack = _Unpacked() if packed not in ("identity", "") else None
    data = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        data += unpack.more(chunk, limit + 1 - len(data)) if unpack else chunk
        if len(data) > limit:
            raise too_large(url, limit, unpacked=unpack is not None)
    if unpack and not unpack.whole:
        raise SourceError(url, "it did not come whole: what is packed ends early.", "Try again.")
    return bytes(data)


class _Unpacked:
    """Unpacks gzip (any number of members, one after the other) and zlib."""

    def __init__(self) -> None:
        self._member = self._new()
        self._begun = False

    @staticmethod
    def _new() -> "zlib._Decompress":
        return zlib.decompressobj(zlib.MAX_WBITS | 32)

    @property
    def whole(self) -> bool:
        """Whether the last member has come to its end."""
        return self._member.eof or not self._begun

    def more(self, chunk: bytes, most: int) -> bytes:
        """What the chunk unpacks to, no more than `most` bytes; ValueError if it is damaged."""
        data = bytearray()
        while chunk and len(data) < most:
            if self._member.eof:
                self._member = self._new()
            self._begun = True
            try:
                data += self._member.decompress(chunk, most - len(data))
            except zlib.error as error:
                raise ValueError(f"what is packed is damaged: {error}") from None
            chunk = self._member.unused_data or self._member.unconsumed_tail
        return bytes(data)


def _server(url: str, place: str) -> tuple[str, int | None]:
    """The host and port that a URL is asked of."""
    try:
        parts = urlsplit(place)
        return (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme.lower())
    except ValueError as error:
        raise SourceError(url, f"this is no address: {error}.", "Check the address.") from None


def _is_public(address: str) -> bool:
    """Whether the address is one that anybody on the internet would reach."""
    found: _Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        # Addresses that stand for an IPv4 one go where that goes.
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            found = inner
    return found.is_global and not found.is_multicast
