"""Everything that screening knows of an image, from one decode.

All figures come from the preview (`decode.py`): RGB, longest edge 512 to 1,023 pixels. Luma is
Rec. 601 (0.299 R + 0.587 G + 0.114 B), 8 bit. Formulas, sources and defaults: `docs/screening.md`.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from imagewave.storage.images import sniff
from imagewave.tasks.screening.decode import (
    PREVIEW_EDGE,
    Pixels,
    Undecodable,
    decode,
    halved,
)
from imagewave.tasks.screening.phash import phash

_UNIFORM: Final = 12
"""Luma range, in levels of 255, of a line of one colour: JPEG rings by about this much."""
_NARROW: Final = 0.02
"""A bar thinner than this share of its side is an edge effect, not a letterbox."""
_CAST_EDGE: Final = 256
_LIT: Final = 51
"""Below a fifth of full brightness, 8-bit rounding and noise make saturation meaningless."""
_LIT_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What one decode says of an image; if `error` is not empty, the rest of it is zero.

    width, height: stored pixels. format: what the bytes are ("" if unknown), whatever was declared.
    brightness, p05, p95, contrast: mean, 5th and 95th percentile and standard deviation of luma,
    0..1. blur: how fine the detail is (`sharpness`), 0..3; low is blurred. entropy: of the luma
    histogram, 0..8 bits. border: share of the area in uniform bars or a frame. cast: saturation
    that nearly everything exceeds, 0..1. phash: 64 bits.
    """

    width: int = 0
    height: int = 0
    format: str = ""
    error: str = ""
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
    """Decode once and measure; what is wrong with the image is in `error`, never raised."""
    kind = sniff(data)
    failed = Metrics(format=kind.value if kind else "")
    try:
        preview = decode(data, max_pixels=max_pixels)
    except Undecodable as reason:
        return replace(failed, error=str(reason))
    gray = np.asarray(cv2.cvtColor(preview.pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    tones = _tones(gray)
    return replace(
        failed,
        width=preview.width,
        height=preview.height,
        brightness=tones.mean,
        p05=tones.p05,
        p95=tones.p95,
        contrast=tones.deviation,
        blur=sharpness(gray),
        entropy=tones.entropy,
        border=border_share(gray),
        cast=colour_cast(preview.pixels),
        phash=phash(gray),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tones:
    mean: float
    deviation: float
    p05: float
    p95: float
    entropy: float


_LEVELS: Final = np.arange(256) / 255.0


def _tones(gray: Pixels) -> _Tones:
    """Statistics of luma from its histogram alone, so the pixels are read once."""
    share = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel().astype(np.float64) / gray.size
    below = np.cumsum(share)
    mean = float(share @ _LEVELS)
    present = share[share > 0]
    return _Tones(
        mean=mean,
        deviation=math.sqrt(max(float(share @ (_LEVELS - mean) ** 2), 0.0)),
        p05=float(_LEVELS[np.searchsorted(below, 0.05)]),
        p95=float(_LEVELS[np.searchsorted(below, 0.95)]),
        entropy=max(float(-(present @ np.log2(present))), 0.0),
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
    return min(
        _fineness(gray[1:], gray[:-1], gray[2:], gray[:-2]),
        _fineness(gray[:, 1:], gray[:, :-1], gray[:, 2:], gray[:, :-2]),
        _fineness(gray[1:, 1:], gray[:-1, :-1], gray[2:, 2:], gray[:-2, :-2]),
        _fineness(gray[1:, :-1], gray[:-1, 1:], gray[2:, :-2], gray[:-2, 2:]),
    )


def _fineness(here: Pixels, next_one: Pixels, there: Pixels, next_but_one: Pixels) -> float:
    """The ratio along one direction; one square level of noise floor keeps flat pictures at 0.

    With a and b two steps in a row, |a - b|^2 = 2|a|^2 + 2|b|^2 - |a + b|^2: the energy of second
    differences follows from steps of one and of two pixels, and no difference need be stored.
    """
    single = _energy(here, next_one)
    second = 4.0 * single - _energy(there, next_but_one)
    return max(second, 0.0) / (single + 1.0)


def _energy(left: Pixels, right: Pixels) -> float:
    return float(cv2.norm(left, right, cv2.NORM_L2SQR)) / left.size


def border_share(gray: Pixels) -> float:
    """The share of the area in bars of one tone that end at a straight edge, 0..1.

    A product on a plain backdrop has uniform margins too, but the first line inside them is still
    mostly backdrop; inside a letterbox or frame most of that line is picture. A picture of one tone
    throughout is all border.
    """
    rows, columns = gray.shape
    if int(gray.max()) - int(gray.min()) <= _UNIFORM:
        return 1.0
    top, bottom = _bar(gray), _bar(gray[::-1])
    inner = gray[top : rows - bottom]
    left, right = _bar(inner.T), _bar(inner.T[::-1])
    picture = (rows - top - bottom) * (columns - left - right)
    return float(1.0 - picture / (rows * columns))


def _bar(lines: Pixels) -> int:
    """How many lines from the first on are one bar; 0 if they fade into the picture."""
    tone = float(np.median(lines[0]))
    narrowest = max(2, math.ceil(_NARROW * len(lines)))
    if not _plain(lines[:narrowest], tone).all():
        return 0
    plain = _plain(lines, tone)
    depth = len(lines) if plain.all() else int(np.argmin(plain))
    # One line of margin: shrinking blends the edge into the line that straddles it.
    inside = lines[min(depth + 1, len(lines) - 1)].astype(np.int16)
    return depth if float(np.mean(np.abs(inside - tone) > _UNIFORM)) >= 0.5 else 0


def _plain(lines: Pixels, tone: float) -> NDArray[np.bool_]:
    """Which lines hold nothing but that tone."""
    highest, lowest = lines.max(axis=1), lines.min(axis=1)
    return np.asarray((highest <= tone + _UNIFORM) & (lowest >= tone - _UNIFORM), np.bool_)


def colour_cast(pixels: Pixels) -> float:
    """The saturation (HSV, 0..1) that all but the grayest twentieth of the lit pixels exceed.

    Almost every picture has something near gray in it: a shade, a highlight, a stone. Light of one
    colour leaves nothing gray. 0 where too little is lit to tell.
    """
    hsv = np.asarray(cv2.cvtColor(halved(pixels, below=_CAST_EDGE), cv2.COLOR_RGB2HSV), np.uint8)
    lit = (hsv[:, :, 2] > _LIT).astype(np.uint8)
    count = int(cv2.countNonZero(lit))
    if count < _LIT_SHARE * lit.size:
        return 0.0
    histogram = cv2.calcHist([hsv], [1], lit, [256], [0, 256]).ravel()
    return float(_LEVELS[np.searchsorted(np.cumsum(histogram), count / 20)])
