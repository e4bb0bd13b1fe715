"""Only whole pictures are decoded, whatever decoder reads them, and they look as they should."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.tasks.screening import labelled

from imagewave.pictures import read as reading
from imagewave.pictures.png_readers import PNG_READERS
from imagewave.tasks.screening.decode import Undecodable, decode
from imagewave.tasks.screening.metrics import measure

LIMIT = 64_000_000


def gradient(width: int = 96, height: int = 64) -> Image.Image:
    """Red grows to the right, green downwards, blue is 40: any swap or flip shows."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([across, down, np.full_like(down, 40)]).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def animated(kind: str) -> bytes:
    second = gradient().transpose(Image.Transpose.ROTATE_180)
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return saved(gradient(), kind, save_all=True, append_images=[second], duration=100, **lossless)


READABLE: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved(gradient(), "PNG"),
    "png palette": lambda: saved(gradient().quantize(256), "PNG"),
    "png opaque alpha": lambda: saved(gradient().convert("RGBA"), "PNG"),
    "png animated": lambda: animated("PNG"),
    "jpeg": lambda: saved(gradient(), "JPEG", quality=95),
    "jpeg progressive": lambda: saved(gradient(), "JPEG", quality=95, progressive=True),
    "jpeg cmyk": lambda: saved(gradient().convert("CMYK"), "JPEG", quality=95),
    "webp": lambda: saved(gradient(), "WEBP", quality=95),
    "webp opaque alpha": lambda: saved(gradient().convert("RGBA"), "WEBP", lossless=True),
    "webp animated": lambda: animated("WEBP"),
    "gif animated": lambda: animated("GIF"),
    "avif": lambda: saved(gradient(), "AVIF", quality=95),
}


@pytest.mark.parametrize("make", READABLE.values(), ids=READABLE.keys())
def test_every_kind_shows_its_first_frame_in_the_right_colours(make: Callable[[], bytes]) -> None:
    preview = decode(make(), max_pixels=LIMIT)

    assert (preview.width, preview.height) == (96, 64)
    off = np.abs(preview.pixels.astype(int) - np.asarray(gradient()).astype(int))
    assert off.mean() < 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("size", "preview"),
    [
        ((1024, 1024), (512, 512)),
        ((1344, 768), (672, 384)),
        ((1023, 700), (1023, 700)),
        ((2051, 1501), (513, 376)),
        ((5000, 30), (5000, 30)),
        ((1, 1), (1, 1)),
    ],
)
def test_previews_are_small_but_not_too_small(
    kind: str, size: tuple[int, int], preview: tuple[int, int]
) -> None:
    found = decode(saved(gradient(*size), kind), max_pixels=LIMIT)

    assert (found.width, found.height) == size
    rows, columns = found.pixels.shape[:2]
    # JPEG rounds a fraction of a pixel up, averaging whole squares rounds it down.
    assert preview[0] - 1 <= columns <= preview[0] + 1
    assert preview[1] - 1 <= rows <= preview[1] + 1


@pytest.fixture(params=["own", "kornia-rs", "OpenCV"])
def each_png_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were the fastest that is installed."""
    if request.param not in PNG_READERS:
        pytest.skip("it comes with the `fast` extra (our own where there is a C compiler)")
    monkeypatch.setattr(reading, "read_rgb8_png", PNG_READERS[request.param])


@pytest.mark.usefixtures("each_png_reader")
def test_every_png_reader_gives_the_same_pixels() -> None:
    image = Image.fromarray(labelled.photographs()["coffee"])
    data = saved(image, "PNG", compress_level=1)

    rows = np.asarray(image)[: image.height // 2 * 2].reshape(-1, 2, image.width // 2, 2, 3)
    means = rows.astype(float).mean(axis=(1, 3))
    assert np.abs(decode(data, max_pixels=LIMIT).pixels - means).max() <= 0.5


def photo(kind: str) -> bytes:
    image = Image.fromarray(labelled.photographs()["rocket"]).resize((400, 300))
    return saved(image, kind)


@pytest.mark.usefixtures("each_png_reader")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_cut_file_is_never_a_picture(kind: str, kept: float) -> None:
    data = photo(kind)

    with pytest.raises(Undecodable, match="damaged"):
        decode(data[: int(len(data) * kept)], max_pixels=LIMIT)


@pytest.mark.usefixtures("each_png_reader")
@pytest.mark.parametrize("lost", [1, 4, 12, 13])
def test_a_png_without_its_last_bytes_is_cut(lost: int) -> None:
    with pytest.raises(Undecodable, match="damaged png"):
        decode(photo("PNG")[:-lost], max_pixels=LIMIT)


@pytest.mark.usefixtures("each_png_reader")
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_flipped_bit_in_a_png_is_seen(mode: str) -> None:
    data = bytearray(saved(gradient().convert(mode), "PNG"))
    data[len(data) // 2] ^= 0x10

    with pytest.raises(Undecodable, match="damaged png"):
        decode(bytes(data), max_pixels=LIMIT)


def test_a_jpeg_that_lost_its_middle_but_not_its_end_is_damaged() -> None:
    data = photo("JPEG")

    for patched in (
        data[: len(data) // 2] + data[-2:],
        data[: len(data) // 2] + bytes(2000) + data[len(data) // 2 + 2000 :],
    ):
        with pytest.raises(Undecodable, match="damaged jpeg"):
            decode(patched, max_pixels=LIMIT)


@pytest.mark.parametrize("data", [b"", b"<html>no such picture</html>", b"BM" + bytes(100)])
def test_what_is_no_image_says_so(data: bytes) -> None:
    with pytest.raises(Undecodable, match=r"empty file|not an image"):
        decode(data, max_pixels=LIMIT)


def test_the_pixel_limit_is_read_off_the_header() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    # There is no picture behind this header, so a decoder that looked would say "damaged".
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")

    with pytest.raises(Undecodable, match=r"limit|exceeds"):
        decode(bomb, max_pixels=LIMIT)
    with pytest.raises(Undecodable, match="96x64 is over the limit of 6143 pixels"):
        decode(saved(gradient(), "JPEG"), max_pixels=96 * 64 - 1)
    assert decode(saved(gradient(), "JPEG"), max_pixels=96 * 64).width == 96


SMALL = [make() for make in READABLE.values()]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_whatever_raises_out_of_measure(data: st.DataObject) -> None:
    broken = bytearray(data.draw(st.sampled_from(SMALL)))
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(broken)))

    for candidate in (bytes(broken), bytes(broken[:cut])):
        found = measure(candidate, max_pixels=1_000_000)
        assert bool(found.error) != bool(found.width)
