"""Samples in a file's own colours to sRGB, as its ICC profile says.

Profiles are those of the format's colour model: one of another model (a gray profile in an RGB
file), or one that cannot be read, is left out of account, as browsers do. Whatever has no profile
is taken for sRGB; CMYK without one is converted by the plain formula that Pillow has.
"""

import io
import struct
from functools import cache, lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8]

_MODES: Final = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
"""What ICC calls a colour model, and what Pillow does."""
_UNSEEN: Final = 2
"""Levels of 255 by which two profiles of the same sRGB differ."""


def to_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    """(rows, columns) gray, (rows, columns, 3) RGB or (rows, columns, 4) CMYK to 8-bit sRGB,
    (rows, columns, 3)."""
    mode = "L" if pixels.ndim == 2 else "CMYK" if pixels.shape[2] == 4 else "RGB"
    if profile:
        model = _model(profile)
        if mode == "L" and model == "RGB":  # gray is a colour, and this says which
            pixels, mode = _gray_to_rgb(pixels), "RGB"
        if model == mode and (transform := _transform(profile, mode)) is not None:
            converted = ImageCms.applyTransform(Image.fromarray(pixels, mode), transform)
            assert converted is not None, "it is not done in place"
            return np.asarray(converted)
    if mode == "L":
        return _gray_to_rgb(pixels)
    if mode == "CMYK":
        return np.asarray(Image.fromarray(pixels, "CMYK").convert("RGB"))
    return pixels


def _gray_to_rgb(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)


def is_srgb(profile: bytes) -> bool:
    """Whether RGB samples with that profile (b"" for none) are sRGB as they stand."""
    return _model(profile) != "RGB" or _transform(profile, "RGB") is None


@cache
def srgb_profile() -> bytes:
    """sRGB as an ICC profile of some 600 bytes, the same whenever it is made."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Bytes 24 to 36 of its header are the time of making (ICC.1:2010, 7.2).
    return made[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + made[36:]


@lru_cache(maxsize=8)
def _model(profile: bytes) -> str:
    """The mode of Pillow's for what the profile describes; "" if it is of no use."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (OSError, ImageCms.PyCMSError):
        return ""
    return _MODES.get(opened.profile.xcolor_space.strip(), "")


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """To sRGB by the intent that the profile names; None where that would change nothing."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    try:
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent(ImageCms.getDefaultIntent(opened)),
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None
    if mode == "RGB" and _changes_nothing(transform):
        return None
    return transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)
    seen = ImageCms.applyTransform(Image.fromarray(colours), transform)
    off = np.abs(np.asarray(seen).astype(np.int16) - colours)
    return int(off.max()) <= _UNSEEN
