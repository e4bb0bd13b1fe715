"""Our own decoder of 8-bit RGB PNG.

Two thirds of the work is inflating, which libdeflate does; the rest is undoing the row filters,
which `_unfilter.c` does for eight rows at once. It can be imported where `imagewave[fast]` is
installed and pip found a C compiler; `png.py` has other decoders where it did not.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from deflate import DeflateError, crc32, zlib_decompress
from numpy.typing import NDArray

from imagewave.tasks.screening._unfilter import unfilter

_SIGNATURE_LENGTH: Final = 8
_CHUNK_OVERHEAD: Final = 12
"""Bytes of a chunk beside its data: length, type, checksum."""


def decode_rgb8(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """The pixels of a whole PNG of colour type 2 and 8 bits, not interlaced: (rows, columns, 3).

    Every chunk's checksum is verified, and the inflated data's; what follows the end chunk is not
    looked at. No more is unpacked than the header promises. Raises `ValueError`.
    """
    parts = []
    for kind, content in _chunks(data):
        if kind == b"IDAT":
            parts.append(content)
    filtered_length = height * (1 + 3 * width)
    try:
        filtered = zlib_decompress(b"".join(parts), filtered_length)
    except DeflateError as error:
        raise ValueError("its pixel data does not inflate") from error
    if len(filtered) != filtered_length:
        raise ValueError(f"{len(filtered)} bytes of pixel data, {filtered_length} expected")
    pixels = np.empty((height, width, 3), np.uint8)
    unfilter(filtered, pixels, width)
    return pixels


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Each chunk's type and data up to the end chunk, as PNG specification section 5 lays out."""
    view = memoryview(data)
    start = _SIGNATURE_LENGTH
    while start + _CHUNK_OVERHEAD <= len(data):
        length = int.from_bytes(view[start : start + 4])
        kind = bytes(view[start + 4 : start + 8])
        end = start + 8 + length
        if end + 4 > len(data):
            break
        if crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4]):
            raise ValueError(f"the checksum of chunk {kind!r} is wrong")
        if kind == b"IEND":
            return
        yield kind, view[start + 8 : end]
        start = end + 4
    raise ValueError("its end is missing")
