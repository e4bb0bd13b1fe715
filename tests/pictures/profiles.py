"""Small ICC profiles, made by hand: specification ICC.1:2010, sections 7 to 10."""

import struct
from functools import cache

ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
"""Its red, green and blue in XYZ, as seen under D50."""
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
WHITE = (0.9642, 1.0, 0.8249)


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def _xyz(*numbers: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*numbers)


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


def _text(kind: bytes, words: bytes) -> bytes:
    if kind == b"desc":
        body = struct.pack(">I", len(words) + 1) + words + b"\0" + bytes(78)
        return b"desc\0\0\0\0" + body + bytes(-len(body) % 4)
    return b"text\0\0\0\0" + words + b"\0" + bytes(-(len(words) + 1) % 4)


def _profile(
    model: bytes, space: bytes, kind: bytes, tags: dict[bytes, bytes], intent: int = 0
) -> bytes:
    tags = {
        b"desc": _text(b"desc", b"made by hand"),
        b"cprt": _text(b"cprt", b"none"),
        b"wtpt": _xyz(*WHITE),
        **tags,
    }
    start = 128 + 4 + 12 * len(tags)
    table = struct.pack(">I", len(tags))
    body = b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"\0" * 4, 0x02400000, kind, model, space
    )
    header += bytes(12) + b"acsp" + bytes(24) + struct.pack(">I", intent) + _fixed(*WHITE)
    return header + bytes(128 - len(header)) + table + body


@cache
def rgb(
    primaries: tuple[tuple[float, ...], ...] = ADOBE_RGB, gamma: float = 2.2, padding: int = 0
) -> bytes:
    """Three primaries and a gamma: by default like Adobe RGB. padding: bytes of no meaning."""
    tags = {
        name: _xyz(*xyz) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(gamma))
    if padding:
        tags[b"pad "] = b"data\0\0\0\1" + bytes(padding)
    return _profile(b"RGB ", b"XYZ ", b"mntr", tags)


@cache
def gray(gamma: float = 1.4) -> bytes:
    """Gray, lighter than sRGB's where the gamma is lower."""
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": _gamma(gamma)})


@cache
def cmyk() -> bytes:
    """Inks that mix in straight lines between sixteen corners, none of them a screen's."""
    corners = bytearray()
    for number in range(16):  # the first ink varies slowest
        c, m, y, k = (number >> bit & 1 for bit in (3, 2, 1, 0))
        lightness = 100 * (1 - 0.45 * c) * (1 - 0.5 * m) * (1 - 0.1 * y) * (1 - 0.85 * k)
        a, b = -37 * c + 70 * m - 5 * y, -50 * c - 5 * m + 88 * y
        corners += bytes([round(lightness * 2.55), 128 + a * (1 - k), 128 + b * (1 - k)])
    identity = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += identity * 4 + bytes(corners) + identity * 3
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": table}, intent=0)
