"""Passes over pixels: smaller, gray, and what statistics need of them.

They are compiled (`_pixels.c`) for processors with AVX2; elsewhere, and where pip found no C
compiler, OpenCV and NumPy do the same, with equal results.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

try:
    from imagewave.pictures import _pixels
except ImportError:  # no C compiler when it was installed, or no AVX2
    _pixels = None  # type: ignore[assignment]

compiled = _pixels is not None
"""Whether the passes over pixels are those of `_pixels.c`."""

Pixels = NDArray[np.uint8]

_RGB = 3
_WHITE = 255


class Tones(NamedTuple):
    """Mean, standard deviation, 5th and 95th percentile of gray, 0..1; its entropy, 0..8 bits."""

    mean: float
    deviation: float
    p05: float
    p95: float
    entropy: float


def shrunk(pixels: Pixels, factor: int) -> Pixels:
    """(rows, columns, …) smaller by that factor: the mean of each factor x factor square.

    What is left over at the right and at the bottom is left out. A side that is shorter than one
    square becomes one pixel.
    """
    if factor == 1:
        return pixels
    rows, columns = pixels.shape[0] // factor, pixels.shape[1] // factor
    if _pixels and factor == 2 and rows and columns and pixels.shape[2:] == (_RGB,):
        half = np.empty((rows, columns, _RGB), np.uint8)
        _pixels.halve(np.ascontiguousarray(pixels), half, pixels.shape[1])
        return half
    # Whole squares only: OpenCV averages those ten times faster than fractions of them.
    size = max(columns, 1), max(rows, 1)
    whole = pixels[: size[1] * factor, : size[0] * factor]
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)


def luma(pixels: Pixels) -> Pixels:
    """RGB, (rows, columns, 3), to gray, (rows, columns), as Rec. 601 weighs it."""
    if _pixels:
        gray = np.empty(pixels.shape[:2], np.uint8)
        _pixels.luma(np.ascontiguousarray(pixels), gray)
        return gray
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def tones(gray: Pixels, step: int) -> Tones:
    """What the histogram of every `step`-th row of a gray picture says."""
    if _pixels:
        return Tones(*_pixels.tones(np.ascontiguousarray(gray), gray.shape[1], step))
    counts = _counts(gray[::step])
    below = list(accumulate(counts))
    total = below[-1]
    mean = sum(level * count for level, count in enumerate(counts)) / total
    squares = sum(count * ((level - mean) * (level - mean)) for level, count in enumerate(counts))
    information = sum(count * math.log2(total / count) for count in counts if count)
    return Tones(
        mean / _WHITE,
        math.sqrt(squares / total) / _WHITE,
        bisect_left(below, 0.05 * total) / _WHITE,
        bisect_left(below, 0.95 * total) / _WHITE,
        information / total,
    )


def saturation(pixels: Pixels, dark: int) -> tuple[int, int]:
    """How many pixels of an RGB picture are lit, and what saturation all but a twentieth of them
    have at least: HSV's, 0 to 255. Lit is a pixel whose value in HSV is above `dark`."""
    if _pixels:
        return _pixels.saturation(np.ascontiguousarray(pixels), dark)
    hsv = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), np.uint8)
    below = list(accumulate(_counts(hsv, 1, (hsv[:, :, 2] > dark).astype(np.uint8))))
    return below[-1], bisect_left(below, below[-1] / 20)


def squares(gray: Pixels) -> Sequence[int]:
    """The sums of squared differences between neighbours of a gray picture, 3 x 3 or larger.

    Each of four directions (down, right, down right, down left) has two: next to each other, and
    next but one.
    """
    if _pixels:
        return _pixels.squares(np.ascontiguousarray(gray), gray.shape[1])
    neighbours = (
        (gray[1:], gray[:-1]),
        (gray[2:], gray[:-2]),
        (gray[:, 1:], gray[:, :-1]),
        (gray[:, 2:], gray[:, :-2]),
        (gray[1:, 1:], gray[:-1, :-1]),
        (gray[2:, 2:], gray[:-2, :-2]),
        (gray[1:, :-1], gray[:-1, 1:]),
        (gray[2:, :-2], gray[:-2, 2:]),
    )
    return [round(cv2.norm(*pair, cv2.NORM_L2SQR)) for pair in neighbours]


def edges(gray: Pixels) -> Sequence[int]:
    """The lightest less the darkest tone of the top, bottom, left and right line of a picture."""
    if _pixels:
        return _pixels.edges(np.ascontiguousarray(gray), gray.shape[1])
    lines = (gray[0], gray[-1], gray[:, 0], gray[:, -1])
    return [int(line.max()) - int(line.min()) for line in lines]


def project(gray: Pixels, of_rows: NDArray[np.int32], of_columns: NDArray[np.int32]) -> list[float]:
    """The 8 x 8 sums of a gray picture, (rows, columns), weighted by (rows, 8) and (columns, 8).

    Whole numbers, and exact: the sums of a line by `of_columns` must be below 2^31, and all below
    2^53.
    """
    if _pixels:
        return _pixels.project(np.ascontiguousarray(gray), of_rows, of_columns)
    rows, picture, columns = (each.astype(np.float64) for each in (of_rows.T, gray, of_columns))
    sums: list[float] = (rows @ picture @ columns).ravel().tolist()
    return sums


def _counts(picture: Pixels, channel: int = 0, mask: Pixels | None = None) -> list[int]:
    """How often each of 256 levels is there: floating point in OpenCV, exact up to 2^24."""
    histogram = cv2.calcHist([picture], [channel], mask, [_WHITE + 1], [0, _WHITE + 1])
    return [int(count) for count in histogram.ravel()]
