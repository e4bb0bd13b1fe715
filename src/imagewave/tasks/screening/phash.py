"""The perceptual hash: 64 signs of a small DCT, as the ImageHash package's `phash` computes them.

ImageHash shrinks the gray picture to 32 x 32 with Pillow's Lanczos filter, takes its DCT-II in two
dimensions, keeps the 8 x 8 lowest frequencies and sets a bit where one is above their median.
Shrinking and DCT are both linear, so here they are one 8 x n matrix per side, kept per size, after
the gray picture was halved to at most 255 pixels. The distance to ImageHash's own bits is at most
4 of 64 and mostly 0 (`tests/tasks/screening`).
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from imagewave.pictures.pixels import Pixels, project
from imagewave.tasks.screening.decode import halved

SIDE: Final = 8
_MIDDLE: Final = SIDE * SIDE // 2
_GRID: Final = 32
_LOBES: Final = 3
_WHOLE: Final = 2**16
_INPUT: Final = 256
"""Small enough for exact sums, and that numpy's BLAS stays on one thread."""


def phash(gray: Pixels) -> int:
    """The 64-bit hash of a gray picture, (rows, columns); the first bit is the highest."""
    small = halved(gray, below=_INPUT)
    low = project(small, _projection(small.shape[0]), _projection(small.shape[1]))
    # Of 64 numbers: np.median takes longer than all the rest.
    ordered = sorted(low)
    median = (ordered[_MIDDLE - 1] + ordered[_MIDDLE]) / 2
    return sum(1 << place for place, value in enumerate(reversed(low)) if value > median)


@lru_cache(maxsize=64)
def _projection(size: int) -> NDArray[np.int32]:
    """The (size, 8) matrix from a line of pixels to its 8 lowest DCT-II coefficients.

    In whole parts of 2^16, so that sums are exact: where a picture has next to nothing of most
    frequencies, bits would else depend on the order in which a machine adds.
    """
    angles = np.outer(np.arange(SIDE), 2 * np.arange(_GRID) + 1) * (np.pi / (2 * _GRID))
    weights = np.rint(_WHOLE * (np.cos(angles) @ _lanczos(size)))
    return np.ascontiguousarray(weights.T, np.int32)


def _lanczos(size: int) -> NDArray[np.float64]:
    """The (32, size) weights with which Pillow resizes a line of that size to 32."""
    scale = max(size / _GRID, 1.0)
    centres = (np.arange(_GRID) + 0.5) * size / _GRID
    distance = (np.arange(size) + 0.5 - centres[:, None]) / scale
    weights = np.where(
        np.abs(distance) < _LOBES, np.sinc(distance) * np.sinc(distance / _LOBES), 0.0
    )
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised
