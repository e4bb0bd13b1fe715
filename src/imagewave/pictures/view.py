"""The one renderer: a file to the pixels that a viewer sees, and nothing done that need not be.

Its samples are brought to sRGB by the file's own profile and intent, laid over a backdrop where
they are transparent, and turned upright. The profile is applied before anything is laid over
anything, as it describes the file's samples and no others.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from imagewave.pictures.colour import to_srgb
from imagewave.pictures.exif import turned
from imagewave.pictures.pixels import shrunk
from imagewave.pictures.read import (
    Header,
    Pixels,
    Reduction,
    Samples,
    Undecodable,
    read,
    read_header,
)

__all__ = ["MAX_PIXELS", "WHITE", "Header", "Seen", "Undecodable", "look", "read_header", "view"]

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255 each, in sRGB."""

WHITE: Final = (255, 255, 255)
"""What lies behind a picture on a page."""

MAX_PIXELS: Final = 64_000_000
"""Where nothing else is asked for, a larger picture is not decoded."""

_ROOM: Final = 1.5
"""How much larger a picture is left by the quick reduction that goes before the good one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A picture as it is seen: `pixels` is sRGB, 8 bit, (rows, columns, 3), or (rows, columns, 4)
    with alpha as the fourth. `width` and `height` are those of the whole picture, upright, in
    pixels, however small `pixels` was made."""

    pixels: Pixels
    width: int
    height: int


def look(
    data: bytes,
    *,
    max_pixels: int,
    backdrop: Colour | None = WHITE,
    reduction: Reduction = lambda width, height: 1,
    strict: bool = False,
) -> Seen:
    """What is seen of a file; of an animation, its first frame.

    backdrop: what lies behind; with None, transparency is kept where there is any. reduction: the
    power of two by which a picture is made smaller, each pixel the mean of a square. strict: what
    libjpeg only warns of, such as stray bytes, is damage.

    Raises:
        Undecodable: the bytes are no picture, a damaged one, or have more than `max_pixels`.
        MemoryError: this machine has not got enough for it.
    """
    samples = read(data, max_pixels=max_pixels, reduction=reduction, strict=strict)
    factor = reduction(samples.width, samples.height) // samples.factor
    if samples.alpha is None or samples.alpha.min() == 255:
        pixels = to_srgb(shrunk(samples.pixels, factor), samples.profile)
    else:
        page = _laid_over(samples, samples.alpha, backdrop)
        # Where transparency is kept, Pillow weighs each pixel by it.
        small = page.reduce(factor) if page.mode == "RGBA" else shrunk(np.asarray(page), factor)
        pixels = np.asarray(small)
    width, height = samples.width, samples.height
    if samples.orientation != 1:
        pixels = turned(pixels, samples.orientation)
        if samples.orientation >= 5:
            width, height = height, width
    return Seen(pixels=pixels, width=width, height=height)


def view(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    backdrop: Colour | None = WHITE,
    longest: int | None = None,
) -> Image.Image:
    """What is seen of a file, as an image of mode RGB, or RGBA where transparency is kept.

    longest: the most pixels that the longest edge may have; a smaller picture stays as it is.
    `backdrop` and errors are those of `look`.
    """

    def reduction(width: int, height: int) -> int:
        factor = 1
        while longest and max(width, height) >= 2 * factor * longest * _ROOM:
            factor *= 2
        return factor

    seen = look(data, max_pixels=max_pixels, backdrop=backdrop, reduction=reduction)
    image = Image.fromarray(seen.pixels)
    if longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def _laid_over(samples: Samples, alpha: Pixels, backdrop: Colour | None) -> Image.Image:
    pixels = to_srgb(samples.pixels, samples.profile)
    if backdrop is None:
        return Image.fromarray(np.dstack([pixels, alpha]))
    page = Image.new("RGB", (samples.width, samples.height), backdrop)
    page.paste(Image.fromarray(pixels), mask=Image.fromarray(alpha))
    return page
