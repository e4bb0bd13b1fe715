"""Our own decoder of 8-bit RGB PNG.

Two thirds of the work is inflating, which libdeflate does; the rest is undoing the row filters,
which `_unfilter.c` does for eight rows at once. It can be imported where `imagewave[fast]` is
installed and pip found a C compiler; `png_readers.py` has other decoders where it did not.
"""

import numpy as np
from deflate import DeflateError, zlib_decompress
from numpy.typing import NDArray

from imagewave.pictures._unfilter import unfilter
from imagewave.pictures.png import PngFile


def decode_rgb8(png: PngFile) -> NDArray[np.uint8]:
    """The pixels of a PNG that is plain RGB: (rows, columns, 3).

    The inflated data's checksum is verified, and no more is unpacked than the header promises.
    Raises `ValueError`.
    """
    length = png.height * (1 + 3 * png.width)
    try:
        filtered = zlib_decompress(b"".join(png.pixel_data), length)
    except DeflateError as error:
        raise ValueError("its pixel data does not inflate") from error
    if len(filtered) != length:
        raise ValueError(f"{len(filtered)} bytes of pixel data, {length} expected")
    pixels = np.empty((png.height, png.width, 3), np.uint8)
    unfilter(filtered, pixels, png.width)
    return pixels
