"""Bytes to a small picture: one strict decode, under a pixel limit, by the fastest sound decoder.

Every metric is taken from a *preview* whose longest edge is 512 to 1,023 pixels (a smaller image
stays as it is). A JPEG is therefore decoded straight to half, quarter or eighth size: libjpeg still
reads every coefficient of the file, so damage is still seen, but it computes fewer pixels.

Which decoder reads what, and why it may:

| Format | Decoder | Damage is seen by |
|---|---|---|
| JPEG, gray or colour | libjpeg-turbo (simplejpeg, strict) | libjpeg's own warnings, as errors |
| PNG, 8-bit RGB | our own (`png.py`), else kornia-rs, else OpenCV | checksum of every chunk, end |
| WebP, still, opaque | OpenCV (libwebp) | libwebp's bounds |
| anything else readable | Pillow | Pillow (`verify` for PNG, `load`) |
"""

import io
import warnings
import zlib
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from imagewave.storage.images import ImageFormat, sniff
from imagewave.tasks.screening.png import read_rgb8_png, verify_png

Pixels = NDArray[np.uint8]

PREVIEW_EDGE: Final = 512
"""The preview's longest edge is at least this, and below twice this, where the image allows."""

_PNG_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_PNG_RGB8: Final = b"\x08\x02\x00\x00\x00"
"""8 bits, RGB, deflated, filtered by row, not interlaced: how most models store what they draw."""

_DAMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    zlib.error,
    cv2.error,
)
"""What Pillow's and OpenCV's readers are known to raise on damaged files."""


class Undecodable(Exception):
    """The bytes are no whole picture; the message says why, in words for a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A decoded picture, made small: `pixels` is RGB, (rows, columns, 3), 8 bit.

    `width` and `height` are the stored picture's, in pixels, before any EXIF rotation.
    """

    pixels: Pixels
    width: int
    height: int


def decode(data: bytes, *, max_pixels: int) -> Preview:
    """The preview of one whole, undamaged picture.

    The pixel limit is checked against the header, before anything is unpacked. An animation shows
    its first frame; transparency is laid over white, as a page would show it; 16-bit samples keep
    their upper byte. Raises `Undecodable`.
    """
    kind = sniff(data)
    if kind is None:
        raise Undecodable("empty file" if not data else "not an image in a known format")
    with _opened(data, kind) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise Undecodable(f"{width}x{height} is over the limit of {max_pixels} pixels")
        try:
            pixels = _decoder(data, kind, image)
        except _DAMAGE as error:
            raise Undecodable(f"damaged {kind}: {_reason(error)}") from error
    return Preview(pixels=pixels, width=width, height=height)


def reduction(width: int, height: int) -> int:
    """The power of two by which a picture is made smaller for its preview."""
    factor = 1
    while max(width, height) >= 2 * factor * PREVIEW_EDGE and min(width, height) >= 32 * factor:
        factor *= 2
    return factor


def _opened(data: bytes, kind: ImageFormat) -> Image.Image:
    """The file's header, read by Pillow: tens of microseconds, no pixels."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; the caller's own limit decides, a few lines below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=[kind.upper()])
    except Image.DecompressionBombError as bomb:
        raise Undecodable(_reason(bomb)) from bomb
    except _DAMAGE as error:
        raise Undecodable(f"damaged {kind}: {_reason(error)}") from error


def _decoder(data: bytes, kind: ImageFormat, image: Image.Image) -> Pixels:
    if kind is ImageFormat.JPEG and image.mode in ("RGB", "L"):
        return _jpeg(data, *image.size)
    if kind is ImageFormat.PNG:
        if data.rfind(_PNG_END) < 0:
            raise ValueError("its end is missing")
        if data[24:29] == _PNG_RGB8 and not image.has_transparency_data:
            return _shrunk(read_rgb8_png(data, *image.size))
        verify_png(data)
    elif kind is ImageFormat.WEBP and image.mode == "RGB" and not _animated(image):
        return _opencv(data)
    return _shrunk(_pillow(image))


def _jpeg(data: bytes, width: int, height: int) -> Pixels:
    wanted = reduction(width, height)
    factor = min(wanted, 8)  # libjpeg scales to an eighth at most
    pixels: Pixels = simplejpeg.decode_jpeg(
        data,
        "RGB",
        min_width=-(-width // factor),
        min_height=-(-height // factor),
        min_factor=factor,
        strict=True,
    )
    return pixels if factor == wanted else _shrunk(pixels)


def _opencv(data: bytes) -> Pixels:
    bgr = cv2.imdecode(
        np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if bgr is None:
        raise ValueError("the decoder refuses it")
    return np.asarray(cv2.cvtColor(_shrunk(np.asarray(bgr, np.uint8)), cv2.COLOR_BGR2RGB), np.uint8)


def _animated(image: Image.Image) -> bool:
    return int(getattr(image, "n_frames", 1)) > 1


def _pillow(image: Image.Image) -> Pixels:
    """Any other mode as 8-bit RGB at full size."""
    image.load()
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow would clip rather than scale
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        image = page
    return np.asarray(image.convert("RGB"))


def _shrunk(pixels: Pixels) -> Pixels:
    """The preview of a full-size picture: the mean of each factor x factor square."""
    height, width = pixels.shape[:2]
    factor = reduction(width, height)
    if factor == 1:
        return pixels
    # Whole squares only: OpenCV averages those ten times faster than fractions of them.
    height, width = height // factor, width // factor
    whole = pixels[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def halved(pixels: Pixels, *, below: int) -> Pixels:
    """The picture, gray or colour, halved until its longest edge is below that many pixels.

    A side that is one pixel long stays so.
    """
    while max(pixels.shape[:2]) >= below:
        rows, columns = (max(side // 2, 1) for side in pixels.shape[:2])
        whole = pixels[: rows * 2, : columns * 2]
        pixels = np.asarray(
            cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8
        )
    return pixels


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
