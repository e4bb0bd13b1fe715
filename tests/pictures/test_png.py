"""Every PNG reader agrees with Pillow on any filters and sizes, and takes no damaged file."""

import io
import resource
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from imagewave.pictures import read as reading
from imagewave.pictures.png import read_png
from imagewave.pictures.png_readers import PNG_READERS, PngReader
from imagewave.pictures.view import Undecodable, look

pytestmark = pytest.mark.heavy

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LIMIT = 64_000_000


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def header(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def written(
    filters: Sequence[int], width: int, seed: int, *, before: bytes = b"", parts: int = 1
) -> bytes:
    """A PNG whose rows have these filters and random differences: every value meets every other."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, 256, (len(filters), 3 * width + 1), np.uint8)
    rows[:, 0] = filters
    return assembled(rows.tobytes(), width, len(filters), before=before, parts=parts)


def assembled(raw: bytes, width: int, height: int, *, before: bytes = b"", parts: int = 1) -> bytes:
    packed = zlib.compress(raw, 1)
    cuts = [len(packed) * part // parts for part in range(parts + 1)]
    content = [packed[start:end] for start, end in pairwise(cuts)]
    body = b"".join(chunk(b"IDAT", part) for part in content)
    return SIGNATURE + header(width, height) + before + body + chunk(b"IEND", b"")


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(params=["own", "kornia-rs", "OpenCV"])
def reader(request: pytest.FixtureRequest) -> PngReader:
    if request.param not in PNG_READERS:
        pytest.skip("it comes with the `fast` extra (our own where there is a C compiler)")
    return PNG_READERS[request.param]


# Our own takes eight rows at once: fewer, exactly as many, some left over, and rows too short for
# all eight to be inside them.
@pytest.mark.parametrize("height", [1, 7, 8, 9, 16, 37])
@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 10, 200])
@pytest.mark.parametrize("filter", [0, 1, 2, 3, 4])
def test_each_filter(reader: PngReader, filter: int, width: int, height: int) -> None:
    data = written([filter] * height, width, seed=filter)

    assert np.array_equal(reader(read_png(data)), by_pillow(data))


@settings(deadline=None, max_examples=200)
@given(
    filters=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    width=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_mixed_filters(filters: list[int], width: int, seed: int) -> None:
    data = written(filters, width, seed)
    expected = by_pillow(data)

    for name, read in PNG_READERS.items():
        assert np.array_equal(read(read_png(data)), expected), name


def test_pixel_data_in_many_chunks_among_others(reader: PngReader) -> None:
    gamma = chunk(b"gAMA", struct.pack(">I", 45455))
    data = written([4, 3, 2, 1, 0], 11, seed=1, before=gamma, parts=5)

    assert np.array_equal(reader(read_png(data)), by_pillow(data))


@pytest.fixture
def through(reader: PngReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """`look` reads with that reader."""
    monkeypatch.setattr(reading, "read_rgb8_png", reader)


RAW = bytes([4, *range(60)]) * 20
"""20 rows of 20 pixels."""


@pytest.mark.usefixtures("through")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(bytes([5]) + RAW[1:], id="unknown filter in the first row"),
        pytest.param(RAW[:-61] + bytes([255]) + RAW[-60:], id="unknown filter in the last row"),
        pytest.param(RAW[:-1], id="a byte short"),
        pytest.param(RAW[:-61], id="a row short"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_file_whose_rows_make_no_picture(raw: bytes) -> None:
    with pytest.raises(Undecodable, match="damaged png"):
        look(assembled(raw, 20, 20), max_pixels=LIMIT)


@pytest.mark.usefixtures("through")
@pytest.mark.parametrize("kind", [b"IHDR", b"gAMA", b"IDAT", b"IEND"])
def test_a_wrong_checksum_in_any_chunk(kind: bytes) -> None:
    gamma = chunk(b"gAMA", struct.pack(">I", 45455))
    data = bytearray(assembled(RAW, 20, 20, before=gamma))
    start = data.index(kind)
    (length,) = struct.unpack(">I", data[start - 4 : start])
    data[start + 4 + length] ^= 1

    with pytest.raises(Undecodable, match="damaged png"):
        look(bytes(data), max_pixels=LIMIT)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A gigabyte behind a header of one pixel."""
    pump = zlib.compressobj(1)
    packed = b"".join(pump.compress(bytes(2**24)) for _ in range(64)) + pump.flush()
    return SIGNATURE + header(1, 1) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_nothing_is_unpacked_beyond_what_the_header_promises(
    reader: PngReader, bomb: bytes
) -> None:
    """It may be read, as one pixel is there, or refused."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with suppress(ValueError):
        assert reader(read_png(bomb)).shape == (1, 1, 3)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_a_colour_that_stands_for_transparency_is_laid_over_white() -> None:
    red = bytes([0, *[255, 0, 0] * 4]) * 4
    clear_red = chunk(b"tRNS", struct.pack(">HHH", 255, 0, 0))

    preview = look(assembled(red, 4, 4, before=clear_red), max_pixels=LIMIT)

    assert preview.pixels.min() == 255


def test_interlaced_files_are_read() -> None:
    """Adam7 of a 1 x 1 picture is one pass of one pixel."""
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1))
    body = chunk(b"IDAT", zlib.compress(bytes([0, 10, 20, 30])))

    preview = look(SIGNATURE + ihdr + body + chunk(b"IEND", b""), max_pixels=LIMIT)

    assert preview.pixels.tolist() == [[[10, 20, 30]]]


def palette(*chunks: bytes) -> bytes:
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0))
    return SIGNATURE + ihdr + b"".join(chunks) + chunk(b"IEND", b"")


INDICES = chunk(b"IDAT", zlib.compress(bytes([0, 0, 1])))
COLOURS = chunk(b"PLTE", bytes([9, 9, 9, 200, 100, 50]))
HALVES = zlib.compress(RAW)[:20], zlib.compress(RAW)[20:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(palette(INDICES), "its palette is missing", id="no palette"),
        pytest.param(palette(INDICES, COLOURS), "its palette is missing", id="palette too late"),
        pytest.param(palette(COLOURS), "its pixel data is missing", id="no pixel data"),
        pytest.param(
            SIGNATURE + INDICES + chunk(b"IEND", b""), "its header is missing", id="no header"
        ),
        pytest.param(
            SIGNATURE + header(2, 1) * 2 + INDICES, "it has two headers", id="two headers"
        ),
        pytest.param(assembled(RAW, 0, 20), "it is 0x20 pixels", id="no columns"),
        pytest.param(
            SIGNATURE
            + header(20, 20)
            + chunk(b"IDAT", HALVES[0])
            + chunk(b"tEXt", b"Comment\0between")
            + chunk(b"IDAT", HALVES[1])
            + chunk(b"IEND", b""),
            "its pixel data is interrupted by another chunk",
            id="interrupted pixel data",
        ),
    ],
)
def test_a_file_that_no_buyer_can_open(data: bytes, reason: str) -> None:
    """Pillow, libpng, OpenCV and kornia-rs refuse it, and so does ours."""
    with pytest.raises(Undecodable, match=f"damaged png: {reason}"):
        look(data, max_pixels=LIMIT)


def test_a_palette_is_read() -> None:
    assert look(palette(COLOURS, INDICES), max_pixels=LIMIT).pixels.tolist() == [
        [[9, 9, 9], [200, 100, 50]]
    ]
