"""The picture that screening looks at: what a viewer sees, made small in the course of decoding.

Every metric is taken from a *preview* whose longest edge is 512 to 1,023 pixels (a smaller image
stays as it is). A JPEG is therefore decoded straight to half, quarter or eighth size: libjpeg still
reads every coefficient of the file, so damage is still seen, but it computes fewer pixels.
"""

from typing import Final

from imagewave.pictures.pixels import shrunk
from imagewave.pictures.read import Pixels, Undecodable
from imagewave.pictures.view import Seen, look

__all__ = ["PREVIEW_EDGE", "Pixels", "Undecodable", "decode", "halved", "reduction"]

PREVIEW_EDGE: Final = 512
"""The preview's longest edge is at least this, and below twice this, where the image allows."""


def decode(data: bytes, *, max_pixels: int) -> Seen:
    """The preview of one whole, undamaged picture, as a white page shows it.

    Raises:
        Undecodable: the bytes are no picture, a damaged one, or have more than `max_pixels`.
        MemoryError: this machine has not got enough for it.
    """
    return look(data, max_pixels=max_pixels, reduction=reduction, strict=True)


def reduction(width: int, height: int) -> int:
    """The power of two by which a picture is made smaller for its preview."""
    factor = 1
    while max(width, height) >= 2 * factor * PREVIEW_EDGE and min(width, height) >= 32 * factor:
        factor *= 2
    return factor


def halved(pixels: Pixels, *, below: int) -> Pixels:
    """The picture, gray or colour, halved until its longest edge is below that many pixels.

    A side that is one pixel long stays so.
    """
    while max(pixels.shape[:2]) >= below:
        pixels = shrunk(pixels, 2)
    return pixels
