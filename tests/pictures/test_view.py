"""What is seen of a file is what Pillow, asked rightly, shows of it: every mode, format, way up."""

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from tests.pictures import profiles

from imagewave.pictures.view import Undecodable, look, view
from imagewave.tasks.screening.decode import decode

pytestmark = pytest.mark.heavy

LIMIT = 1_000_000
SIZE = (60, 40)
"""Columns and rows of the pictures of the matrix: a quarter turn shows."""


def scene(mode: str) -> Image.Image:
    """Red grows to the right, green downwards, a blue corner: a turn, a flip, a swap shows."""
    across, down = np.meshgrid(np.linspace(0, 255, SIZE[0]), np.linspace(0, 255, SIZE[1]))
    blue = np.zeros_like(down)
    blue[:15, :20] = 200
    image = Image.fromarray(np.dstack([across, down, blue]).astype(np.uint8))
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        alpha = np.clip(down * 2 - 100, 0, 255).astype(np.uint8)
        image.putalpha(Image.fromarray(alpha))
        return image
    if mode == "I;16":
        return Image.fromarray((across * 128 + down * 129).astype(np.uint16))
    return image.quantize(64) if mode == "P" else image.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    if kind in ("WEBP", "AVIF"):
        options.setdefault("quality", 100)
    if kind == "WEBP":
        options |= {"lossless": True, "exact": True}
    if kind == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
    image.save(stream, kind, **options)
    return stream.getvalue()


def by_pillow(data: bytes, backdrop: str | None = "white") -> NDArray[np.int16]:
    """The judge of truth: the profile applied, laid over the backdrop, turned upright."""
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        profile = opened.info.get("icc_profile")
        image: Image.Image = opened
        if image.mode == "I;16":
            image = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
        clear = opened.has_transparency_data
        if image.mode not in ("L", "CMYK") or clear:
            image = image.convert("RGBA" if clear else "RGB")
        if profile:
            opened_profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            alpha = image.getchannel("A") if clear else None
            colours = image if image.mode in ("L", "CMYK") else image.convert("RGB")
            model = opened_profile.profile.xcolor_space.strip()
            if opened.mode in ("L", "LA", "1", "I;16"):
                colours = colours.convert("L" if model == "GRAY" else "RGB")
            converted = ImageCms.profileToProfile(
                colours,
                opened_profile,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent(ImageCms.getDefaultIntent(opened_profile)),
                outputMode="RGB",
            )
            assert converted is not None
            image = converted
            if alpha is not None:
                image.putalpha(alpha)
        if clear and backdrop:
            page = Image.new("RGBA", image.size, backdrop)
            page.alpha_composite(image)
            image = page
        image = image.copy()
        image.getexif()[0x0112] = opened.getexif().get(0x0112, 1)
        turned = ImageOps.exif_transpose(image)
        assert turned is not None
        kept = "RGBA" if clear and backdrop is None else "RGB"
        return np.asarray(turned.convert(kept)).astype(np.int16)


def exif(orientation: int) -> Image.Exif:
    notes = Image.Exif()
    notes[0x0112] = orientation
    return notes


MODES = {
    "PNG": ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"),
}
PROFILES: dict[str, Callable[[], bytes]] = {
    "none": lambda: b"",
    "srgb": lambda: ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "wide": profiles.rgb,
    "gray": profiles.gray,
    "cmyk": profiles.cmyk,
}
FITTING = {
    "none": ("1", "L", "LA", "I;16", "P", "RGB", "RGBA", "CMYK"),
    "srgb": ("L", "P", "RGB", "RGBA"),
    "wide": ("L", "P", "RGB", "RGBA"),
    "gray": ("L", "LA", "I;16"),
    "cmyk": ("CMYK",),
}
MATRIX = [
    (kind, mode, profile, orientation)
    for kind, modes in MODES.items()
    for mode in modes
    for profile, fitting in FITTING.items()
    if mode in fitting and not (kind == "GIF" and profile != "none")
    for orientation in ((1,) if kind == "GIF" else range(1, 9))
]


def made(kind: str, mode: str, profile: str, orientation: int) -> bytes:
    options: dict[str, object] = {}
    if profile != "none":
        options["icc_profile"] = PROFILES[profile]()
    if orientation > 1:
        options["exif"] = exif(orientation)
    return saved(scene(mode), kind, **options)


@pytest.mark.parametrize(("kind", "mode", "profile", "orientation"), MATRIX)
def test_what_is_seen_is_what_pillow_shows(
    kind: str, mode: str, profile: str, orientation: int
) -> None:
    data = made(kind, mode, profile, orientation)

    seen = look(data, max_pixels=LIMIT)

    truth = by_pillow(data)
    assert (seen.height, seen.width) == truth.shape[:2]
    assert (seen.width > seen.height) == (orientation < 5), "the picture stands upright"
    assert seen.pixels.shape == truth.shape
    off = np.abs(seen.pixels - truth)
    # Decoders of lossy formats round differently.
    assert off.max() <= (6 if kind == "JPEG" else 2)
    assert off.mean() < 1


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("kind", "mode"), [(kind, mode) for kind in MODES if kind != "GIF" for mode in MODES[kind]]
)
def test_what_is_kept_is_transparency_where_there_is_any(
    kind: str, mode: str, orientation: int
) -> None:
    data = made(kind, mode, "none", orientation)

    image = view(data, backdrop=None)

    assert image.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")
    assert np.abs(np.asarray(image) - by_pillow(data, backdrop=None)).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_any_backdrop_shows_where_the_picture_is_clear(kind: str) -> None:
    data = made(kind, "RGBA", "wide", 6)

    seen = look(data, max_pixels=LIMIT, backdrop=(0, 0, 255))

    assert np.abs(seen.pixels - by_pillow(data, "blue")).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_alpha_channel_that_is_all_opaque_is_none(kind: str) -> None:
    assert view(saved(scene("RGB").convert("RGBA"), kind), backdrop=None).mode == "RGB"


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """The PNG with one chunk more, behind its header."""
    return png[:33] + chunk(kind, content) + png[33:]


def png(samples: NDArray[np.uint16], depth: int, colour: int) -> bytes:
    """(rows, columns, samples of a pixel), each of so many bits, as a PNG of that colour type."""
    rows = []
    for row in samples.reshape(len(samples), -1):
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        else:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            packed = np.packbits(bits.astype(np.uint8)).tobytes()
        rows.append(b"\0" + packed)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_gray_of_every_depth_is_scaled_and_its_clear_tone_is_clear(depth: int) -> None:
    most = 2**depth - 1
    samples = np.linspace(0, most, 16).round().astype(np.uint16)[None, :].repeat(4, axis=0)
    key = int(samples[0, 5])
    data = with_chunk(png(samples[:, :, None], depth, 0), b"tRNS", struct.pack(">H", key))

    seen = look(data, max_pixels=LIMIT).pixels[0, :, 0].astype(int)

    tones = np.where(samples[0] == key, 255, samples[0].astype(int) * 255 / most)
    assert np.abs(seen - tones).max() <= 1
    kept = np.asarray(view(data, backdrop=None))
    assert ((kept[0, :, 3] == 0) == (samples[0] == key)).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_rgb_of_every_depth_is_scaled_and_its_clear_colour_is_clear(depth: int) -> None:
    """Two colours that differ in their lowest bits alone: one of them is clear."""
    most = 2**depth - 1
    near, clear = (most // 2, most // 3, 5), (most // 2, most // 3, 4)
    samples = np.array([[near, clear, near], [near, near, near]], np.uint16)
    data = with_chunk(png(samples, depth, 2), b"tRNS", struct.pack(">HHH", *clear))

    seen = look(data, max_pixels=LIMIT).pixels.astype(int)

    assert seen[0, 1].tolist() == [255, 255, 255]
    assert np.abs(seen[1, 1] - np.array(near) * 255 / most).max() <= 1


@pytest.mark.parametrize("colour", [4, 6])
def test_sixteen_bits_with_an_alpha_channel(colour: int) -> None:
    samples = np.array([[[40_000, 20_000, 10_000, 65_535], [9, 9, 9, 0]]], np.uint16)
    chosen = samples[:, :, [0, 3]] if colour == 4 else samples

    seen = look(png(chosen, 16, colour), max_pixels=LIMIT).pixels.astype(int)

    expected = [40_000 >> 8] * 3 if colour == 4 else [40_000 >> 8, 20_000 >> 8, 10_000 >> 8]
    assert seen[0].tolist() == [expected, [255, 255, 255]]


def test_a_palette_may_give_each_colour_an_alpha_of_its_own() -> None:
    palette = Image.new("P", (4, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    palette.putdata([0, 1, 2, 3])
    data = saved(palette, "PNG", transparency=bytes([255, 128, 0, 64]))

    seen = look(data, max_pixels=LIMIT).pixels

    assert np.abs(seen - by_pillow(data)).max() <= 1
    assert seen[0, 2].tolist() == [255, 255, 255]


def test_a_gif_with_a_clear_colour_lies_on_the_page() -> None:
    data = saved(Image.new("P", (40, 40), 0), "GIF", transparency=0)

    assert look(data, max_pixels=LIMIT).pixels.min() == 255


@pytest.mark.parametrize("where", ["XML:com.adobe.xmp", "Raw profile type exif"])
def test_a_png_may_tell_its_orientation_in_a_text(where: str) -> None:
    plain = saved(scene("RGB"), "PNG")
    if where.startswith("XML"):
        words = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        data = with_chunk(plain, b"iTXt", where.encode() + b"\0\0\0\0\0" + words)
    else:
        notes = exif(6).tobytes()
        words = f"\nexif\n{len(notes):8}\n{notes.hex()}\n".encode()
        data = with_chunk(plain, b"zTXt", where.encode() + b"\0\0" + zlib.compress(words))

    seen = look(data, max_pixels=LIMIT)

    assert (seen.width, seen.height) == (SIZE[1], SIZE[0])
    assert np.array_equal(seen.pixels, by_pillow(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_notes_that_are_damaged_leave_the_picture_as_stored(kind: str) -> None:
    broken = b"Exif\0\0MM\0*\0\0\xff\xff" + bytes(20)
    for notes in (broken, b"Exif\0\0nothing", exif(99).tobytes()):
        seen = look(saved(scene("RGB"), kind, exif=notes), max_pixels=LIMIT)
        assert (seen.width, seen.height) == SIZE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("profile", [b"no profile at all", profiles.gray(), profiles.cmyk()])
def test_a_profile_that_does_not_fit_is_left_out_of_account(kind: str, profile: bytes) -> None:
    plain = look(saved(scene("RGB"), kind), max_pixels=LIMIT)

    found = look(saved(scene("RGB"), kind, icc_profile=profile), max_pixels=LIMIT)

    assert np.array_equal(found.pixels, plain.pixels)


def test_a_profile_of_srgb_changes_no_pixel() -> None:
    plain = saved(scene("RGB"), "PNG")
    tagged = saved(scene("RGB"), "PNG", icc_profile=PROFILES["srgb"]())

    assert np.array_equal(
        look(tagged, max_pixels=LIMIT).pixels, look(plain, max_pixels=LIMIT).pixels
    )


def test_a_long_profile_is_applied_like_any_other() -> None:
    """Pillow alone refuses a PNG whose profile inflates to more than a mebibyte."""
    short = saved(scene("RGB"), "PNG", icc_profile=profiles.rgb())
    long = saved(scene("RGB"), "PNG", icc_profile=profiles.rgb(padding=2_000_000))

    found = look(long, max_pixels=LIMIT)

    assert np.array_equal(found.pixels, look(short, max_pixels=LIMIT).pixels)
    assert np.array_equal(found.pixels, by_pillow(short))


def test_a_profile_that_never_ends_is_left_out_of_account() -> None:
    bomb = b"endless\0\0" + zlib.compress(bytes(2**26))
    plain = saved(scene("RGB"), "PNG")

    found = look(with_chunk(plain, b"iCCP", bomb), max_pixels=LIMIT)

    assert np.array_equal(found.pixels, look(plain, max_pixels=LIMIT).pixels)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "I;16"])
def test_a_workflow_of_any_length_is_no_damage(kind: bytes, mode: str) -> None:
    words = b"workflow\0"
    if kind == b"tEXt":
        words += b"x" * 3_000_000
    elif kind == b"zTXt":
        words += b"\0" + zlib.compress(b"x" * 3_000_000)
    else:
        words += b"\1\0\0\0" + zlib.compress(b"x" * 3_000_000)
    plain = saved(scene(mode), "PNG")

    found = look(with_chunk(plain, kind, words), max_pixels=LIMIT)

    assert np.array_equal(found.pixels, look(plain, max_pixels=LIMIT).pixels)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        (kind, mode)
        for kind, modes in MODES.items()
        for mode in modes
        if (kind, mode) != ("PNG", "1")
    ],
)
@pytest.mark.parametrize("longest", [1000, 640, 97, 40])
def test_a_picture_is_made_smaller_and_never_larger(kind: str, mode: str, longest: int) -> None:
    large = scene(mode).resize((900, 600))
    data = saved(large, kind, **({} if kind == "GIF" else {"exif": exif(6)}))

    image = view(data, longest=longest)

    assert max(image.size) == min(longest, 900)
    assert min(image.size) == pytest.approx(600 * min(longest / 900, 1), abs=1)
    truth = Image.fromarray(by_pillow(data).astype(np.uint8))
    expected = truth.resize(image.size, Image.Resampling.LANCZOS)
    off = np.abs(np.asarray(image).astype(int) - np.asarray(expected))
    assert off.mean() < 3


def test_transparency_that_is_kept_is_weighed_when_it_is_made_smaller() -> None:
    """Hidden black must not darken the edge of what is seen."""
    pixels = np.zeros((400, 400, 4), np.uint8)
    pixels[:, 201:] = 255
    data = saved(Image.fromarray(pixels), "PNG")

    image = np.asarray(view(data, backdrop=None, longest=50))

    assert image[:, :, :3][image[:, :, 3] > 8].min() >= 250


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("WEBP", "RGB")]
)
def test_screens_look_at_the_same_picture(kind: str, mode: str, orientation: int) -> None:
    large = scene(mode).resize((1800, 1200), Image.Resampling.BICUBIC)
    icc = PROFILES["cmyk" if mode == "CMYK" else "wide"]()
    data = saved(large, kind, exif=exif(orientation), icc_profile=icc)

    seen = decode(data, max_pixels=10_000_000)

    truth = by_pillow(data)
    assert (seen.height, seen.width) == truth.shape[:2]
    assert seen.pixels.shape[:2] in ((600, 900), (900, 600))
    means = cv2.resize(
        truth.astype(np.float32), seen.pixels.shape[1::-1], interpolation=cv2.INTER_AREA
    )
    assert np.abs(seen.pixels - means).mean() < 1.5


def test_what_is_no_picture_says_why() -> None:
    with pytest.raises(Undecodable, match="60x40 is over the limit of 2399 pixels"):
        view(saved(scene("RGB"), "PNG"), max_pixels=2399)
    with pytest.raises(Undecodable, match="not an image"):
        view(b"<html>", max_pixels=LIMIT)
