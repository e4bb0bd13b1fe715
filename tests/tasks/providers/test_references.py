"""Reference images on their way to a model."""

import io

import pytest
from PIL import Image

from imagewave.errors import ImagewaveError
from imagewave.tasks.providers.references import reduced


def encoded(size: tuple[int, int], form: str, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 40).convert(mode).save(out, form)
    return out.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("size", "wanted"),
    [((1600, 800), (512, 256)), ((300, 900), (171, 512)), ((513, 513), (512,) * 2)],
)
def test_a_large_picture_becomes_a_jpeg_of_that_edge(
    form: str, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(reduced(encoded(size, form), 512))) as small:
        assert (small.format, small.size, small.mode) == ("JPEG", wanted, "RGB")


def test_a_small_jpeg_is_sent_as_it_is() -> None:
    picture = encoded((512, 100), "JPEG")
    assert reduced(picture, 512) == picture


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_a_small_png_becomes_a_jpeg_of_its_size(mode: str) -> None:
    with Image.open(io.BytesIO(reduced(encoded((64, 32), "PNG", mode), 512))) as small:
        assert (small.format, small.size) == ("JPEG", (64, 32))


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 no picture", b"text"])
def test_what_is_no_picture_is_an_error_that_says_so(data: bytes) -> None:
    with pytest.raises(ImagewaveError, match="cannot be decoded"):
        reduced(data, 512)


def test_a_picture_cut_short_is_an_error() -> None:
    with pytest.raises(ImagewaveError, match="cannot be decoded"):
        reduced(encoded((900, 900), "PNG")[:5000], 512)
