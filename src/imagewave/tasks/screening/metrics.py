"""Everything that screening knows of an image, from one decode.

All figures come from the preview (`decode.py`): RGB, longest edge 512 to 1,023 pixels. Luma is
Rec. 601 (0.299 R + 0.587 G + 0.114 B), 8 bit. Formulas, sources and defaults: `docs/screening.md`.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from imagewave.pictures.pixels import edges, luma, saturation, squares, tones
from imagewave.pictures.view import Seen
from imagewave.storage.images import sniff
from imagewave.tasks.screening.decode import (
    PREVIEW_EDGE,
    Pixels,
    Undecodable,
    decode,
    halved,
)
from imagewave.tasks.screening.phash import phash

_WHITE: Final = 255
_DIRECTIONS: Final = ((1, 0), (0, 1), (1, 1), (1, 1))
"""Down and across in each of those that `squares` tells of."""
_UNIFORM: Final = 12
"""Luma range, in levels of 255, of a line of one colour: JPEG rings by about this much."""
_NARROW: Final = 0.02
"""A bar thinner than this share of its side is an edge effect, not a letterbox."""
_SMALL: Final = 256
"""Pixels of the longest edge, and less, that colour and hash are taken from."""
_MANY_LINES: Final = 400
"""Of so many lines, every second one has the same tones as all."""
_LIT: Final = 51
"""Below a fifth of full brightness, 8-bit rounding and noise make saturation meaningless."""
_LIT_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What one decode says of an image; where `error` is not empty, there are no figures.

    width, height: in pixels, as a viewer shows it. format: what the bytes are ("" if unknown),
    whatever was declared. error: why there are no figures. undecodable: that is because the bytes
    are no whole picture; otherwise nothing is known against the picture, and its size may be known.
    brightness, p05, p95, contrast: mean, 5th and 95th percentile and standard deviation of luma,
    0..1. blur: how fine the detail is (`sharpness`), 0..3; low is blurred. entropy: of the luma
    histogram, 0..8 bits. border: share of the area in uniform bars or a frame. cast: saturation
    that nearly everything exceeds, 0..1. phash: 64 bits.
    """

    width: int = 0
    height: int = 0
    format: str = ""
    error: str = ""
    undecodable: bool = False
    brightness: float = 0.0
    p05: float = 0.0
    p95: float = 0.0
    contrast: float = 0.0
    blur: float = 0.0
    entropy: float = 0.0
    border: float = 0.0
    cast: float = 0.0
    phash: int | None = None


def measure(data: bytes, *, max_pixels: int) -> Metrics:
    """Decode once and measure; whatever goes wrong is in `error`, never raised."""
    kind = sniff(data)
    format = kind.value if kind else ""
    width = height = 0
    try:
        preview = decode(data, max_pixels=max_pixels)
        width, height = preview.width, preview.height
        return _measured(preview, format)
    except Undecodable as reason:
        return Metrics(format=format, error=str(reason), undecodable=True)
    except Exception as fault:  # noqa: BLE001
        # A fault of ours or of this machine: the picture was paid for, and is whole for all that
        # is known. It must neither be lost nor take the others with it.
        said = f"{type(fault).__name__}: {fault}".strip(": ")
        error = f"it could not be measured: {said[:200]}"
        return Metrics(width=width, height=height, format=format, error=error)


def _measured(preview: Seen, format: str) -> Metrics:
    gray = luma(preview.pixels)
    small = halved(preview.pixels, below=_SMALL)
    found = tones(gray, 2 if len(gray) >= _MANY_LINES else 1)
    return Metrics(
        width=preview.width,
        height=preview.height,
        format=format,
        brightness=found.mean,
        p05=found.p05,
        p95=found.p95,
        contrast=found.deviation,
        blur=sharpness(gray),
        entropy=found.entropy,
        border=border_share(gray),
        cast=colour_cast(small),
        phash=phash(luma(small)),
    )


def sharpness(gray: Pixels) -> float:
    """Energy of second differences over energy of first ones, at a longest edge of 512 pixels.

    Blur takes the finest detail first, so the ratio falls with it whatever the contrast and however
    much there is to see, where the usual variance of the Laplacian falls with all three. The least
    of four directions counts, so motion is seen too. 0 for a flat picture, 3 for pure noise.
    """
    rows, columns = gray.shape
    longest = max(rows, columns)
    if longest > PREVIEW_EDGE:
        size = [max(round(side * PREVIEW_EDGE / longest), 1) for side in (columns, rows)]
        gray = np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)
    if min(gray.shape) < 3:
        return 0.0
    # With a and b two steps in a row, |a - b|^2 = 2|a|^2 + 2|b|^2 - |a + b|^2: the energy of second
    # differences follows from steps of one and of two pixels, and no difference need be stored.
    rows, columns = gray.shape
    sums = squares(gray)
    finenesses: list[float] = []
    for number, (down, across) in enumerate(_DIRECTIONS):
        single = sums[2 * number] / ((rows - down) * (columns - across))
        double = sums[2 * number + 1] / ((rows - 2 * down) * (columns - 2 * across))
        # One square level of noise floor keeps flat pictures at 0.
        finenesses.append(max(4.0 * single - double, 0.0) / (single + 1.0))
    return min(finenesses)


def border_share(gray: Pixels) -> float:
    """The share of the area in bars of one tone that end at a straight edge, 0..1.

    A product on a plain backdrop has uniform margins too, but the first line inside them is still
    mostly backdrop; inside a letterbox or frame most of that line is picture. A picture of one tone
    throughout is all border, and so is one of nothing but bars: a flag, or half a picture.
    """
    if min(edges(gray)) > 2 * _UNIFORM:  # what most pictures say already
        return 0.0
    rows, columns = gray.shape
    if _spread(gray) <= _UNIFORM:
        return 1.0
    top, bottom = _bar(gray), _bar(gray[::-1])
    inner = gray[top : rows - bottom]
    if not len(inner):
        return 1.0
    left, right = _bar(inner.T), _bar(inner.T[::-1])
    picture = len(inner) * max(columns - left - right, 0)
    return float(1.0 - picture / (rows * columns))


def _bar(lines: Pixels) -> int:
    """How many lines from the first on are one bar; 0 if they fade into the picture."""
    if _spread(lines[0]) > 2 * _UNIFORM:
        return 0
    tone = float(np.median(lines[0]))
    narrowest = max(2, math.ceil(_NARROW * len(lines)))
    if not _plain(lines[:narrowest], tone).all():
        return 0
    plain = _plain(lines, tone)
    depth = len(lines) if plain.all() else int(np.argmin(plain))
    # One line of margin: shrinking blends the edge into the line that straddles it.
    inside = lines[min(depth + 1, len(lines) - 1)].astype(np.int16)
    return depth if float(np.mean(np.abs(inside - tone) > _UNIFORM)) >= 0.5 else 0


def _spread(gray: Pixels) -> int:
    return int(gray.max()) - int(gray.min())


def _plain(lines: Pixels, tone: float) -> NDArray[np.bool_]:
    """Which lines hold nothing but that tone."""
    highest, lowest = lines.max(axis=1), lines.min(axis=1)
    return np.asarray((highest <= tone + _UNIFORM) & (lowest >= tone - _UNIFORM), np.bool_)


def colour_cast(pixels: Pixels) -> float:
    """The saturation (HSV, 0..1) that all but the grayest twentieth of the lit pixels exceed.

    Almost every picture has something near gray in it: a shade, a highlight, a stone. Light of one
    colour leaves nothing gray. 0 where too little is lit to tell.
    """
    small = halved(pixels, below=_SMALL)
    lit, level = saturation(small, _LIT)
    return level / _WHITE if lit >= _LIT_SHARE * small.shape[0] * small.shape[1] else 0.0
