"""A PNG's chunks: what the file holds besides its pixels, and whether it is whole.

The chunks are walked once, every checksum verified. Decoders are then given the chunks that pixels
are made of and no other: Pillow refuses a file for more than 1 MiB of inflated text, libpng for a
long profile, though neither says anything about the picture.
"""

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngStream

from imagewave.pictures.exif import orientation_of

crc32: Callable[[bytes | memoryview], int]
try:
    from deflate import crc32
except ImportError:  # no `fast` extra; some ten times as slow
    from zlib import crc32

GRAY: Final = 0
RGB: Final = 2
PALETTE: Final = 3
GRAY_ALPHA: Final = 4
"""Colour types; RGB with an alpha channel is 6."""

_SAMPLES: Final = {GRAY: 1, RGB: 3}
"""Values in the tRNS chunk of a colour type without a palette, of two bytes each."""

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_CHUNK_OVERHEAD: Final = 12
"""Bytes of a chunk beside its data: length, type, checksum."""
_HEADER_LENGTH: Final = 13

_MOST_PROFILE: Final = 4 * 1024 * 1024
"""Bytes; the largest profiles in use, of printing presses, have about three million."""

_NOTES: Final = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Texts in which programs that knew no eXIf chunk have put the orientation."""
_MOST_NOTE: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PngFile:
    """A whole PNG. Sizes in pixels; `depth` in bits per sample; `colour` is the colour type.

    palette, clear: the contents of PLTE and tRNS, empty where there is none. profile: the ICC
    profile. orientation: EXIF's, 1 to 8. pixel_data: the contents of the IDAT chunks.
    """

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool
    palette: memoryview
    clear: memoryview
    profile: bytes
    orientation: int
    pixel_data: list[memoryview]
    header: memoryview

    @property
    def is_plain_rgb(self) -> bool:
        """8-bit RGB without transparency and not interlaced: what most models store."""
        return self.colour == RGB and self.depth == 8 and not self.interlaced and not self.clear

    @property
    def is_gray(self) -> bool:
        """Gray, with an alpha channel or without."""
        return self.colour in (GRAY, GRAY_ALPHA)

    @property
    def has_transparency(self) -> bool:
        """There is an alpha channel, or a colour that is clear, be it used or not."""
        return bool(self.clear) or self.colour > PALETTE

    @property
    def clear_colour(self) -> tuple[int, ...]:
        """The one colour that is clear, a value per sample, of `depth` bits; () if there is none.

        (In a palette each colour has an alpha of its own.)
        """
        samples = _SAMPLES.get(self.colour, 0)
        values = [int.from_bytes(self.clear[2 * at : 2 * at + 2]) for at in range(samples)]
        return tuple(value & (2**self.depth - 1) for value in values) if self.clear else ()

    def bare(self, *, with_clear: bool) -> bytes:
        """The file with nothing but what its pixels are made of, `tRNS` among it if asked for."""
        chunks: list[bytes | memoryview] = [_SIGNATURE, _chunk(b"IHDR", self.header)]
        if self.palette:
            chunks.append(_chunk(b"PLTE", self.palette))
        if self.clear and with_clear:
            chunks.append(_chunk(b"tRNS", self.clear))
        chunks += [_chunk(b"IDAT", part) for part in self.pixel_data]
        chunks.append(_chunk(b"IEND", b""))
        return b"".join(chunks)


def read_png(data: bytes) -> PngFile:
    """Walks the chunks of a file that begins as a PNG does; what follows the end is not looked at.

    Raises `ValueError` where a chunk is damaged, missing or not where it has to be.
    """
    header = palette = clear = memoryview(b"")
    profile = b""
    pixel_data: list[memoryview] = []
    notes: list[tuple[bytes, memoryview]] = []
    last = b""
    for kind, content in _chunks(data):
        if not last and (kind != b"IHDR" or len(content) != _HEADER_LENGTH):
            raise ValueError("its header is missing")
        match kind:
            case b"IHDR":
                if last:
                    raise ValueError("it has two headers")
                header = content
            case b"IDAT":
                if pixel_data and last != b"IDAT":
                    raise ValueError("its pixel data is interrupted by another chunk")
                pixel_data.append(content)
            case b"PLTE" if not pixel_data:
                palette = content
            case b"tRNS" if not pixel_data:
                clear = content
            case b"iCCP" if not pixel_data:
                profile = _profile(content)
            case b"eXIf":
                notes.append((kind, content))
            case b"tEXt" | b"zTXt" | b"iTXt" if len(content) <= _MOST_NOTE:
                if bytes(content[:32]).startswith(_NOTES):
                    notes.append((kind, content))
        last = kind
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    if not width or not height:
        raise ValueError(f"it is {width}x{height} pixels")
    if header[9] == PALETTE and not palette:
        raise ValueError("its palette is missing")
    if not pixel_data:
        raise ValueError("its pixel data is missing")
    if len(clear) < 2 * _SAMPLES.get(header[9], 0):  # viewers leave a short one out of account
        clear = memoryview(b"")
    return PngFile(
        width=width,
        height=height,
        depth=header[8],
        colour=header[9],
        interlaced=bool(header[12]),
        palette=palette,
        clear=clear,
        profile=profile,
        orientation=_orientation(notes) if notes else 1,
        pixel_data=pixel_data,
        header=header,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Each chunk's type and data up to the end chunk, as PNG specification section 5 lays out."""
    view = memoryview(data)
    start = len(_SIGNATURE)
    while start + _CHUNK_OVERHEAD <= len(data):
        length = int.from_bytes(view[start : start + 4])
        kind = bytes(view[start + 4 : start + 8])
        end = start + 8 + length
        if end + 4 > len(data):
            break
        if crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4]):
            raise ValueError(f"the checksum of chunk {kind!r} is wrong")
        if kind == b"IEND":
            return
        yield kind, view[start + 8 : end]
        start = end + 4
    raise ValueError("its end is missing")


def _chunk(kind: bytes, content: bytes | memoryview) -> bytes:
    checked = kind + bytes(content)
    return len(content).to_bytes(4) + checked + crc32(checked).to_bytes(4)


def _profile(content: memoryview) -> bytes:
    """The ICC profile in an iCCP chunk: a name, a zero, a method (0, deflate), and it, deflated.

    A damaged or endless one is none: the picture is whole without it, and viewers show it.
    """
    _, _, rest = bytes(content).partition(b"\0")
    if not rest.startswith(b"\0"):
        return b""
    inflating = zlib.decompressobj()
    try:
        profile = inflating.decompress(rest[1:], _MOST_PROFILE)
    except zlib.error:
        return b""
    return profile if inflating.eof else b""


def _orientation(notes: list[tuple[bytes, memoryview]]) -> int:
    """EXIF's orientation, read by Pillow out of the chunks that may tell it."""
    holder = Image.new("L", (1, 1))
    for kind, content in notes:
        if kind == b"eXIf":
            holder.info["exif"] = b"Exif\0\0" + content
            continue
        stream = PngStream(io.BytesIO(content))
        try:
            getattr(stream, f"chunk_{kind.decode()}")(0, len(content))
        except (ValueError, SyntaxError):  # too long when inflated, or no text
            continue
        holder.info.update(stream.im_text)
    return orientation_of(holder)
