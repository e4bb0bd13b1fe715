"""Which way up a picture is, as EXIF says it."""

import struct
import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

UPRIGHT: Final = 1

_DAMAGE: Final = (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error)
"""What Pillow's reader of EXIF raises of damaged notes."""


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation of an opened file, 1 to 8; 1, as stored, where it says nothing legible."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of damaged notes
            found = image.getexif().get(ExifTags.Base.Orientation)
    except _DAMAGE:  # a camera's notes are no part of the picture
        return UPRIGHT
    return found if isinstance(found, int) and 1 <= found <= 8 else UPRIGHT


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """(rows, columns, …) as it is to be seen, of what was stored in that orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
