"""8-bit RGB PNG, what most image models deliver, by the fastest decoder that is installed."""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from imagewave.pictures.png import PngFile

PngReader = Callable[[PngFile], NDArray[np.uint8]]
"""A PNG that is plain RGB to its pixels, (rows, columns, 3).

Raises `ValueError` or what OpenCV raises of damage. Checksums were verified before.
"""


def _by_opencv(png: PngFile) -> NDArray[np.uint8]:
    bgr = cv2.imdecode(
        np.frombuffer(png.bare(with_clear=False), np.uint8),
        cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    )
    if bgr is None or bgr.shape[:2] != (png.height, png.width):
        raise ValueError("the decoder refuses it")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _installed() -> dict[str, PngReader]:
    readers: dict[str, PngReader] = {}
    try:
        from imagewave.pictures.own_png import decode_rgb8
    except ImportError:  # no `fast` extra, or no C compiler when it was installed
        pass
    else:
        readers["own"] = decode_rgb8
    try:
        from kornia_rs.io import decode_image_png_u8
    except ImportError:
        pass
    else:

        def by_kornia(png: PngFile) -> NDArray[np.uint8]:
            size = (png.height, png.width)
            try:
                pixels: NDArray[np.uint8] = decode_image_png_u8(
                    png.bare(with_clear=False), size, "rgb"
                )
            except Exception as error:
                # kornia-rs raises the bare class, so nothing narrower can be caught.
                raise ValueError(str(error)) from error
            return pixels

        readers["kornia-rs"] = by_kornia
    readers["OpenCV"] = _by_opencv
    return readers


PNG_READERS: Final = _installed()
"""The decoders that this installation has, by name, fastest first."""

read_rgb8_png: Final = next(iter(PNG_READERS.values()))
"""The fastest of them."""
