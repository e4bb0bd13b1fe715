"""Reference images on their way to a model."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.pictures import profiles

from imagewave.errors import ImagewaveError
from imagewave.pictures.view import view
from imagewave.providers.anthropic import wire as anthropic_wire
from imagewave.providers.gemini import wire as gemini_wire
from imagewave.providers.gpu.image_server import ImageServerCaller
from imagewave.providers.openai import wire as openai_wire
from imagewave.providers.wire.references import accepted, reduced
from imagewave.storage.catalog import find_model
from imagewave.storage.requests import Kind, Request


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


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_format_that_is_taken_is_sent_as_it_is(form: str) -> None:
    picture = encoded((30, 20), form)
    assert accepted(picture) == (picture, f"image/{form.lower()}")


@pytest.mark.parametrize(
    ("form", "mode", "wanted"),
    [
        ("GIF", "P", "PNG"),
        ("AVIF", "RGB", "JPEG"),
        ("TIFF", "RGB", "JPEG"),
        ("TIFF", "CMYK", "JPEG"),
        ("BMP", "RGB", "JPEG"),
        ("BMP", "P", "PNG"),
        ("ICO", "RGBA", "PNG"),
    ],
)
def test_any_other_becomes_one_and_the_same_each_time(form: str, mode: str, wanted: str) -> None:
    picture = encoded((48, 32), form, mode)
    sent, mime = accepted(picture)
    assert (sent, mime) == accepted(picture)
    assert mime == f"image/{wanted.lower()}"
    with Image.open(io.BytesIO(sent)) as found, Image.open(io.BytesIO(picture)) as original:
        assert (found.format, found.size) == (wanted, original.size)
        assert found.has_transparency_data == original.has_transparency_data


def test_transparency_stays() -> None:
    out = io.BytesIO()
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 10, 20))
    clear.save(out, "AVIF", quality=100)
    with Image.open(io.BytesIO(accepted(out.getvalue())[0])) as found:
        assert [found.getpixel(place)[3] for place in ((5, 5), (15, 5))] == [0, 255]  # type: ignore[index]


def test_an_animation_is_its_first_frame() -> None:
    out = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(accepted(out.getvalue())[0])) as found:
        assert getattr(found, "n_frames", 1) == 1
        assert found.convert("RGB").getpixel((8, 8)) == (255, 0, 0)


def test_a_converted_picture_stands_upright() -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(out, "TIFF", exif=exif)
    with Image.open(io.BytesIO(accepted(out.getvalue())[0])) as found:
        assert found.size == (20, 40)


@pytest.mark.parametrize("data", [b"", b"GIF89a no picture", b"II*\0"])
def test_what_cannot_be_converted_is_an_error_that_says_so(data: bytes) -> None:
    with pytest.raises(ImagewaveError, match="cannot be decoded"):
        accepted(data)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("gemini-nano-banana-2.1", Kind.FINAL),
        ("gpt-image-2", Kind.FINAL),
        ("gpt-5.6-luna", Kind.JUDGE),
        ("claude-haiku-5-5", Kind.JUDGE),
        ("flux-2-klein-4b", Kind.FINAL),
    ],
)
def test_no_provider_is_sent_a_gif(model: str, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWAVE_GPU_USD_PER_HOUR", "1")
    provider = find_model(model).provider
    line_of = {
        "google": gemini_wire.request_line,
        "openai": openai_wire.request_line,
        "anthropic": anthropic_wire.request_line,
        "self": ImageServerCaller("http://127.0.0.1:9/v1").line,
    }[provider]
    request = Request(kind=kind, model=model, prompt="x", references=("a",), aspect_ratio="1:1")
    line = line_of(request, lambda sha256, edge: encoded((16, 16), "GIF", "P"))
    assert b"iVBORw0KGgo" in line  # how a PNG begins
    assert b"image/gif" not in line
    assert json.loads(line)


def seen(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        upright = ImageOps.exif_transpose(picture)
        upright.load()
        return upright


@pytest.mark.parametrize("size", [(1600, 800), (200, 100)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_sent_upright(form: str, size: tuple[int, int]) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    out = io.BytesIO()
    Image.effect_noise(size, 40).convert("RGB").save(out, form, exif=turned)

    small = seen(reduced(out.getvalue(), 512))

    assert small.height == 2 * small.width
    assert not small.getexif()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF"])
def test_a_clear_backdrop_is_white(form: str) -> None:
    out = io.BytesIO()
    Image.new("RGBA", (200, 100), (0, 0, 0, 0)).save(out, form)

    assert seen(reduced(out.getvalue(), 64)).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize(
    ("mode", "profile"), [("CMYK", b""), ("CMYK", profiles.cmyk()), ("RGB", profiles.rgb())]
)
def test_a_small_jpeg_of_other_colours_is_sent_in_those_of_a_screen(
    mode: str, profile: bytes
) -> None:
    out = io.BytesIO()
    colour = Image.new("RGB", (64, 64), (30, 200, 60)).convert(mode)
    colour.save(out, "JPEG", icc_profile=profile)

    sent = reduced(out.getvalue(), 512)

    with Image.open(io.BytesIO(sent)) as small:
        assert (small.mode, small.info.get("icc_profile")) == ("RGB", None)
        off = np.abs(np.asarray(small).astype(int) - np.asarray(view(out.getvalue())))
    assert off.max() <= 4
