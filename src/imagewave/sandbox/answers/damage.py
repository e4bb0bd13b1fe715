"""Spoils pictures on purpose: each picture defect as one function of a finished picture."""

import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import cv2
import numpy as np

from imagewave.sandbox.answers.pictures import Picture, as_picture, encode
from imagewave.sandbox.core.defects import Defect

_BOMB_EDGE = 24_000


def spoil_picture(picture: Picture, defect: Defect) -> Picture:
    """The picture with a defect that can be seen; unchanged for defects of another sort."""
    spoil = _VISIBLE.get(defect)
    return picture if spoil is None else spoil(picture)


def spoil_bytes(data: bytes, defect: Defect) -> bytes:
    """The encoded picture with a defect of its bytes; unchanged for defects of another sort."""
    if defect is Defect.TRUNCATED:
        return data[: len(data) * 6 // 10]
    if defect is Defect.CORRUPT:
        return _corrupt(data)
    if defect is Defect.BOMB:
        return _bomb()
    return data


def pad_jpeg(data: bytes, size: int) -> bytes:
    """The same JPEG picture, made at least `size` bytes long by comment segments."""
    segment = b"\xff\xfe" + struct.pack(">H", 65_535) + b"\x20" * 65_533
    return data[:2] + segment * (max(size - len(data), 0) // len(segment) + 1) + data[2:]


def near_duplicate(picture: Picture) -> bytes:
    """Another encoding of the picture, a little brighter: other bytes, the same sight."""
    return encode(as_picture(cv2.convertScaleAbs(picture, alpha=1.02, beta=3)), quality=82)


def _blank(picture: Picture) -> Picture:
    colour = picture.reshape(-1, 3).mean(axis=0)
    return np.full_like(picture, colour.astype(np.uint8))


def _dark(picture: Picture) -> Picture:
    return as_picture(cv2.convertScaleAbs(picture, alpha=0.06))


def _washed_out(picture: Picture) -> Picture:
    return as_picture(cv2.convertScaleAbs(picture, alpha=0.08, beta=228))


def _blurred(picture: Picture) -> Picture:
    edge = min(picture.shape[:2])
    small = cv2.resize(picture, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), max(edge / 400, 1.0))
    size = (picture.shape[1], picture.shape[0])
    return as_picture(cv2.resize(smooth, size, interpolation=cv2.INTER_CUBIC))


def _bordered(picture: Picture) -> Picture:
    framed = picture.copy()
    height, width = picture.shape[:2]
    top, side = round(height * 0.12), round(width * 0.12)
    framed[:top] = framed[height - top :] = 255
    framed[:, :side] = framed[:, width - side :] = 255
    return framed


_VISIBLE: Mapping[Defect, Callable[[Picture], Picture]] = MappingProxyType(
    {
        Defect.BLANK: _blank,
        Defect.DARK: _dark,
        Defect.WASHED_OUT: _washed_out,
        Defect.BLURRED: _blurred,
        Defect.BORDERED: _bordered,
    }
)


def _corrupt(data: bytes) -> bytes:
    """Keeps the first bytes, so that it looks like a JPEG, and breaks the headers behind them."""
    broken = bytearray(data)
    for position in range(12, min(len(broken), 700)):
        broken[position] ^= 0x5A
    return bytes(broken)


@cache
def _bomb() -> bytes:
    """A PNG of some 70 kB that decodes to more than half a gigapixel of black."""
    packer = zlib.compressobj(9)
    row = bytes(1 + _BOMB_EDGE // 8)
    packed = b"".join(packer.compress(row * 100) for _ in range(_BOMB_EDGE // 100))
    packed += packer.flush()
    header = struct.pack(">IIBBBBB", _BOMB_EDGE, _BOMB_EDGE, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
