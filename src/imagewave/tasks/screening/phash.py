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

from imagewave.tasks.screening.decode import Pixels, halved

SIDE: Final = 8
_GRID: Final = 32
_LOBES: Final = 3
_INPUT: Final = 256
"""Small enough that numpy's BLAS stays on one thread; every core has its own image."""


def phash(gray: Pixels) -> int:
    """The 64-bit hash of a gray picture, (rows, columns); the first bit is the highest."""
    small = halved(gray, below=_INPUT)
    rows, columns = small.shape
    low = _projection(rows) @ small.astype(np.float32) @ _projection(columns).T
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def to_hex(value: int) -> str:
    """The hash as 16 hex digits: the same text as `str(imagehash.phash(...))`."""
    return f"{value:016x}"


def from_hex(text: str) -> int:
    """Read what `to_hex` wrote."""
    return int(text, 16)


@lru_cache(maxsize=64)
def _projection(size: int) -> NDArray[np.float32]:
    """The (8, size) matrix from a line of pixels to its 8 lowest DCT-II coefficients."""
    angles = np.outer(np.arange(SIDE), 2 * np.arange(_GRID) + 1) * (np.pi / (2 * _GRID))
    return np.asarray(np.cos(angles) @ _lanczos(size), np.float32)


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
