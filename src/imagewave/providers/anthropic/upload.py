"""The body of a Message Batch's `create`: a file on disk, marked for its token, sent in time."""

import time
from collections.abc import Iterator
from typing import IO

from imagewave.providers.anthropic.wire import KEY_FIELD

UPLOAD_LIMIT_S = 120.0
"""Seconds after which `create`, which is the upload, is given up: well below every lease."""


class Upload:
    """A file as the body of a request, of known length, that ends by breaking off if it takes long.

    A body that breaks off is no request, so nothing is billed for it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._until = time.monotonic() + UPLOAD_LIMIT_S
        file.seek(0)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() > self._until:
            raise TimeoutError(f"the upload took longer than {UPLOAD_LIMIT_S:.0f} s")
        return self._file.read(size)

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(1 << 16):
            yield chunk


def put_marks(file: IO[bytes], mark: bytes) -> None:
    """Writes the mark over the one that stands in each entry."""
    file.seek(0)
    places, start = [], 0
    for line in file:
        at = line.find(KEY_FIELD, 0, 64)
        if at >= 0:
            places.append(start + at + len(KEY_FIELD))
        start += len(line)
    for place in places:
        file.seek(place)
        file.write(mark)
    file.flush()
