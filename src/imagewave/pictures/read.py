"""A file's own samples: one decode, under a pixel limit, by the fastest decoder that is sound.

| Format | Decoder | Damage is seen by |
|---|---|---|
| JPEG, gray or RGB | libjpeg-turbo (simplejpeg) | libjpeg's own warnings, as errors where strict |
| PNG, 8-bit RGB | our own, else kornia-rs, else OpenCV | checksum of every chunk, end |
| PNG, 16-bit with a clear colour | OpenCV | likewise |
| WebP, still, opaque | OpenCV (libwebp) | libwebp's bounds |
| anything else readable | Pillow | Pillow, and for PNG the checksums |
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from imagewave.pictures.colour import is_srgb
from imagewave.pictures.exif import UPRIGHT, orientation_of
from imagewave.pictures.png import PngFile, read_png
from imagewave.pictures.png_readers import read_rgb8_png
from imagewave.storage.images import ImageFormat, sniff

Pixels = NDArray[np.uint8]

_JPEG_FACTORS: Final = (8, 4, 2, 1)


class Undecodable(Exception):
    """The bytes are no whole picture; the message says why, in words for a report."""


class Reduction(Protocol):
    """By which factor a picture of so many pixels may be made smaller while it is decoded."""

    def __call__(self, width: int, height: int, /) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The first picture of a file as it is stored: 8 bit, in the file's own colours, not turned.

    pixels: (rows, columns) gray, (rows, columns, 3) RGB or (rows, columns, 4) CMYK. alpha: (rows,
    columns), 0 is clear; None where all is opaque. width, height: the stored picture's; a decoder
    may have made `pixels` smaller by `factor`. profile: ICC. orientation: EXIF's, 1 to 8.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    width: int
    height: int
    factor: int = 1
    profile: bytes = b""
    orientation: int = UPRIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself before its pixels; `width` and `height` are the upright picture's.

    is_plain: whoever knows nothing of orientation, profiles, transparency, 16 bits and CMYK sees it
    as everybody else does.
    """

    format: ImageFormat
    width: int
    height: int
    is_plain: bool


def read(data: bytes, *, max_pixels: int, reduction: Reduction, strict: bool) -> Samples:
    """The samples of one whole picture; of an animation, its first frame.

    The pixel limit is checked against the header, before anything is unpacked. 16-bit samples keep
    their upper byte. strict: what libjpeg only warns of, such as stray bytes, is damage.

    Raises:
        Undecodable: the bytes are no picture, a damaged one, or one over the limit.
        MemoryError: this machine has not got enough for it.
    """
    kind = _kind(data)
    with _damage_explained(kind):
        if kind is ImageFormat.PNG:
            return _png(read_png(data), max_pixels)
        with _opened(data, kind) as image:
            _keep_limit(*image.size, max_pixels)
            return _other(data, kind, image, reduction, strict=strict)


def read_header(data: bytes) -> Header:
    """What a file says of itself before its pixels.

    Raises:
        Undecodable: the bytes are no picture, or its header is damaged.
    """
    kind = _kind(data)
    with _damage_explained(kind):
        if kind is ImageFormat.PNG:
            png = read_png(data)
            size = png.width, png.height
            plain = png.depth <= 8 and not png.has_transparency and is_srgb(png.profile)
            orientation = png.orientation
        else:
            with _opened(data, kind) as image:
                size = image.size
                plain = image.mode in ("RGB", "L", "P") and not image.has_transparency_data
                plain = plain and is_srgb(image.info.get("icc_profile") or b"")
                orientation = orientation_of(image)
    width, height = size[::-1] if orientation >= 5 else size
    return Header(
        format=kind, width=width, height=height, is_plain=plain and orientation == UPRIGHT
    )


def _kind(data: bytes) -> ImageFormat:
    kind = sniff(data)
    if kind is None:
        raise Undecodable("empty file" if not data else "not an image in a known format")
    return kind


@contextmanager
def _damage_explained(kind: ImageFormat) -> Iterator[None]:
    try:
        yield
    except (Undecodable, MemoryError):
        raise
    except Exception as error:
        # Readers of damaged files raise whatever the damage leads them to, assertions included.
        text = " ".join(str(error).split()) or type(error).__name__
        raise Undecodable(f"damaged {kind}: {text[:200]}") from error


def _keep_limit(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Undecodable(f"{width}x{height} is over the limit of {max_pixels} pixels")


def _opened(data: bytes, kind: ImageFormat) -> Image.Image:
    """The file's header, read by Pillow: tens of microseconds, no pixels."""
    with warnings.catch_warnings():
        # Pillow warns of large images, for which the caller has a limit, and of damaged notes.
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(data), formats=[kind.upper()])


def _png(png: PngFile, max_pixels: int) -> Samples:
    _keep_limit(png.width, png.height, max_pixels)
    if png.is_plain_rgb:
        pixels, alpha = read_rgb8_png(png), None
    elif png.clear_colour:
        pixels, alpha = _with_clear_colour(png)
    else:
        with _opened(png.bare(with_clear=True), ImageFormat.PNG) as image:
            pixels, alpha = _by_pillow(image, gray=png.is_gray)
    return Samples(
        pixels=pixels,
        alpha=alpha,
        width=png.width,
        height=png.height,
        profile=png.profile,
        orientation=png.orientation,
    )


def _with_clear_colour(png: PngFile) -> tuple[Pixels, Pixels]:
    """Gray or RGB of any depth, of which one colour is clear. (Pillow compares it, as it stands in
    the file, with samples that it has scaled to 8 bits.)"""
    bare = png.bare(with_clear=False)
    if png.depth == 16:
        found = cv2.imdecode(
            np.frombuffer(bare, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        )
        if found is None:
            raise ValueError("the decoder refuses it")
        deep = np.asarray(found, np.uint16)
        samples = deep[..., ::-1] if deep.ndim == 3 else deep
        pixels = (samples >> 8).astype(np.uint8)
        scale = 1
    else:
        with _opened(bare, ImageFormat.PNG) as image:
            samples = pixels = np.asarray(image.convert("RGB" if image.mode == "RGB" else "L"))
        scale = 255 // (2**png.depth - 1)
    clear = (samples == np.array(png.clear_colour, np.uint16) * scale).reshape(
        *pixels.shape[:2], -1
    )
    return pixels, np.where(clear.all(axis=2), 0, 255).astype(np.uint8)


def _other(
    data: bytes, kind: ImageFormat, image: Image.Image, reduction: Reduction, *, strict: bool
) -> Samples:
    width, height = image.size
    alpha, factor = None, 1
    if kind is ImageFormat.JPEG and image.mode in ("RGB", "L"):
        factor = next(each for each in _JPEG_FACTORS if each <= reduction(width, height))
        try:
            pixels = _jpeg(data, width, height, image.mode, factor)
        except ValueError:
            if strict:
                raise
            factor = 1
            pixels, alpha = _by_pillow(image, gray=image.mode == "L")
    elif kind is ImageFormat.WEBP and image.mode == "RGB" and not _is_animated(image):
        pixels = _webp(data)
    else:
        pixels, alpha = _by_pillow(image, gray=image.mode in ("1", "L", "LA"))
    return Samples(
        pixels=pixels,
        alpha=alpha,
        width=width,
        height=height,
        factor=factor,
        profile=image.info.get("icc_profile") or b"",
        orientation=orientation_of(image),
    )


def _jpeg(data: bytes, width: int, height: int, mode: str, factor: int) -> Pixels:
    """At a fraction of its size: all of the file is read, and fewer pixels are computed.

    Whatever libjpeg warns of raises `ValueError`; Pillow minds nothing but a missing end.
    """
    pixels: Pixels = simplejpeg.decode_jpeg(
        data,
        "RGB" if mode == "RGB" else "GRAY",
        min_width=-(-width // factor),
        min_height=-(-height // factor),
        min_factor=factor,
        strict=True,
    )
    return pixels if mode == "RGB" else pixels[:, :, 0]


def _webp(data: bytes) -> Pixels:
    bgr = cv2.imdecode(
        np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if bgr is None:
        raise ValueError("the decoder refuses it")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _is_animated(image: Image.Image) -> bool:
    return int(getattr(image, "n_frames", 1)) > 1


def _by_pillow(image: Image.Image, *, gray: bool) -> tuple[Pixels, Pixels | None]:
    """Any mode: gray, RGB or CMYK, and its alpha channel, if it has one."""
    image.load()
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow would clip rather than scale
        return (np.asarray(image) >> 8).astype(np.uint8), None
    if image.has_transparency_data:
        whole = np.asarray(image.convert("RGBA"))
        pixels, alpha = whole[:, :, 0] if gray else whole[:, :, :3], whole[:, :, 3]
        return np.ascontiguousarray(pixels), np.ascontiguousarray(alpha)
    if gray:
        return np.asarray(image.convert("L")), None
    return np.asarray(image if image.mode == "CMYK" else image.convert("RGB")), None
