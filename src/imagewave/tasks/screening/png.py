"""8-bit RGB PNG, what most image models deliver, by the fastest decoder that is installed."""

import io
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PngReader = Callable[[bytes, int, int], NDArray[np.uint8]]
"""The bytes of a PNG and its width and height to its pixels, (rows, columns, 3).

Every chunk's checksum is verified. Raises `ValueError` or what OpenCV and Pillow raise of damage.
"""


def verify_png(data: bytes) -> None:
    """Check every chunk's checksum: Pillow's `load` and older OpenCV accept a damaged tail."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        image.verify()


def _by_opencv(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    verify_png(data)
    bgr = cv2.imdecode(
        np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if bgr is None or bgr.shape[:2] != (height, width):
        raise ValueError("the decoder refuses it")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _installed() -> dict[str, PngReader]:
    readers: dict[str, PngReader] = {}
    try:
        from imagewave.tasks.screening.own_png import decode_rgb8
    except ImportError:  # no `fast` extra, or no C compiler when it was installed
        pass
    else:
        readers["own"] = decode_rgb8
    try:
        from kornia_rs.io import decode_image_png_u8
    except ImportError:
        pass
    else:

        def by_kornia(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
            try:
                pixels: NDArray[np.uint8] = decode_image_png_u8(data, (height, width), "rgb")
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
