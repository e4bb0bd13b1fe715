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
_CAST_EDGE: Final = 256
_NARROW: Final = 0.02
"""A bar thinner than this share of its side is an edge effect, not a letterbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What one decode says of an image; if `error` is not empty, the rest of it is zero.

    width, height: stored pixels. format: what the bytes are ("" if unknown), whatever was declared.
    brightness, p05, p95, contrast: mean, 5th and 95th percentile and standard deviation of luma,
    0..1. blur: variance of the Laplacian with the longest edge at 512 pixels; sharp is large.
    entropy: of the luma histogram, 0..8 bits. border: share of the area that is uniform bars or
    frame. cast: how far the mean colour lies from gray beyond the spread of colours, 0..1.
    phash: 64 bits.
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
    """Variance of the Laplacian (Pech-Pacheco et al., 2000), longest edge at 512 pixels."""
    rows, columns = gray.shape
    longest = max(rows, columns)
    if longest > PREVIEW_EDGE:
        size = (
            max(round(columns * PREVIEW_EDGE / longest), 1),
            max(round(rows * PREVIEW_EDGE / longest), 1),
        )
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    edges = cv2.Laplacian(gray, cv2.CV_16S)
    # The two sums cost a tenth of meanStdDev on 16-bit data and are exact.
    mean: float = cv2.sumElems(edges)[0] / edges.size
    energy: float = cv2.norm(edges, cv2.NORM_L2SQR)
    return max(float(energy / edges.size - mean * mean), 0.0)


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
    """How far the mean colour is from gray, less the spread of colours (CIELAB, a*b* plane).

    After Gasparini and Schettini (2004): in a picture with a cast the colours lie in one small
    cloud away from the gray axis; in a colourful one the cloud is wide.
    """
    small = halved(pixels, below=_CAST_EDGE)
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(small, cv2.COLOR_RGB2Lab))
    away = math.hypot(float(mean[1, 0]) - 128.0, float(mean[2, 0]) - 128.0)
    spread = math.hypot(float(deviation[1, 0]), float(deviation[2, 0]))
    return max(away - spread, 0.0) / 128.0
