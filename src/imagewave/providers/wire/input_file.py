"""The input file of a job, written to disk line by line, with a limit to what it may hold."""

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import Rejected
from imagewave.providers.wire.references import reduced
from imagewave.storage.requests import FailureClass, Request

Reference = Callable[[str, int | None], bytes]
"""Gives the bytes of a reference image, reduced to that longest edge."""

_READERS = 8  # enough to hide a remote store's latency; so many lines are in memory at once


@contextmanager
def spooled(
    requests: Iterable[Request],
    line: Callable[[Request, Reference], bytes],
    read_image: Callable[[str], bytes],
    *,
    max_bytes: int,
    display_name: str,
    around: tuple[bytes, bytes, bytes] = (b"", b"", b""),
) -> Iterator[IO[bytes]]:
    """A temporary file with the requests' lines in their order, gone when the block ends.

    `around` is what stands before the first line, between two, and after the last.

    Raises:
        Rejected: it would be larger than `max_bytes`.
    """

    def reference(sha256: str, edge: int | None) -> bytes:
        image = read_image(sha256)
        return image if edge is None else reduced(image, edge)

    with tempfile.NamedTemporaryFile(prefix="imagewave-", suffix=".jsonl") as spool:
        opening, between, closing = around
        _append(spool, opening)
        for number, written in enumerate(_ahead(requests, lambda r: line(r, reference))):
            _append(spool, between + written if number else written)
            if spool.tell() > max_bytes:
                raise Rejected(
                    f"The input of {display_name!r} passes {max_bytes:,} bytes.",
                    "Put fewer requests into a job.",
                    FailureClass.INVALID,
                )
        _append(spool, closing)
        spool.flush()
        yield spool


def _ahead(requests: Iterable[Request], line: Callable[[Request], bytes]) -> Iterator[bytes]:
    """The requests' lines in their order; a few threads fetch and reduce references ahead."""
    ahead: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="prepare") as pool:
        for request in requests:
            ahead.append(pool.submit(line, request))
            if len(ahead) > _READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _append(spool: Any, line: bytes) -> None:
    try:
        spool.write(line)
    except OSError as error:
        raise ImagewaveError(
            f"The input of a job cannot be written to {tempfile.gettempdir()}: {error.strerror}.",
            "Free some space there, or set TMPDIR to another folder.",
        ) from error
