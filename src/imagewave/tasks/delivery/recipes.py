"""How a picture becomes its variants for the web: which sizes, by which encoder, at which address.

An address is the digest of the source and of the recipe. So a variant that is there need not be
made again, and one that would come out otherwise has another name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from PIL import Image, features
from PIL import __version__ as pillow

from imagewave.pictures.colour import srgb_profile
from imagewave.pictures.view import WHITE
from imagewave.pictures.write import encode
from imagewave.storage.images import ImageFormat
from imagewave.storage.requests import digest
from imagewave.storage.waves.wave import Deliver

_DIGITS: Final = 12
"""Hex digits of an address that a file's name has: within one folder, enough to tell all apart."""

# AVIF at speed 8 takes a third of the time of speed 6, which is most of the whole; and one thread
# each, as there are pictures enough to keep every core busy.
_SETTINGS: Final[Mapping[ImageFormat, Mapping[str, int | str]]] = {
    ImageFormat.AVIF: {"quality": 60, "speed": 8, "max_threads": 1},
    ImageFormat.WEBP: {"quality": 80, "method": 4},
    ImageFormat.JPEG: {"quality": 85, "progressive": 1, "optimize": 1},
}
_LIBRARIES: Final = {ImageFormat.AVIF: "avif", ImageFormat.WEBP: "webp", ImageFormat.JPEG: "jpg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One variant of a picture: its format, its width and height in pixels, and its XMP packet,
    b"" for none."""

    format: ImageFormat
    width: int
    height: int
    xmp: bytes = b""

    @property
    def digest(self) -> str:
        """The digest of all that decides on the bytes, but for the source."""
        return digest(
            {
                "width": self.width,
                "height": self.height,
                "xmp": self.xmp.decode(),
                "encoder": _encoder(self.format),
            }
        )

    def address(self, image: str) -> str:
        """Of the source's SHA-256 and the recipe, as a file's name has it."""
        return digest({"image": image, "recipe": self.digest})[:_DIGITS]


def recipes(wanted: Deliver, width: int, height: int, xmp: bytes) -> Iterator[Recipe]:
    """The variants of a picture of that size; what is wider than the picture becomes its own width.

    Narrow ones come first; those of one width stand together.
    """
    for each in sorted({min(asked, width) for asked in wanted.widths}):
        for format in dict.fromkeys(wanted.formats):
            yield Recipe(
                format=ImageFormat(format),
                width=each,
                height=max(1, round(height * each / width)),
                xmp=xmp,
            )


def resized(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture in that size; colours that are hidden do not bleed into what is seen."""
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def made(picture: Image.Image, recipe: Recipe) -> bytes:
    """The file of a picture in sRGB, RGB or RGBA, that `resized` gave.

    JPEG has no transparency: it shows what a white page would.

    Raises:
        Unwritable: the format cannot hold it.
    """
    if recipe.format is ImageFormat.JPEG:
        picture = on_white(picture)
    settings: dict[str, int | str | bytes] = {**_SETTINGS[recipe.format]}
    quality = int(settings.pop("quality"))
    if recipe.xmp:
        settings["xmp"] = recipe.xmp
    return encode(picture, recipe.format, quality=quality, icc_profile=srgb_profile(), **settings)


def mean_colour(picture: Image.Image) -> str:
    """What a page may show until the picture is there, as `#rrggbb`."""
    small = on_white(picture).resize((32, 32), Image.Resampling.BOX)
    red, green, blue = np.asarray(small).reshape(-1, 3).mean(axis=0).round().astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def on_white(picture: Image.Image) -> Image.Image:
    """The picture without transparency."""
    if picture.mode == "RGB":
        return picture
    page = Image.new("RGB", picture.size, WHITE)
    page.paste(picture, mask=picture.getchannel("A"))
    return page


@cache
def _encoder(format: ImageFormat) -> dict[str, object]:
    """The format's encoder, its version and its settings."""
    library = _LIBRARIES[format]
    version = features.version(library)
    if format is ImageFormat.JPEG:  # Pillow tells the ABI there, and the library's version here
        version = features.version_feature("libjpeg_turbo") or version
    return {
        "format": format.value,
        "library": f"{library} {version}",
        "pillow": pillow,
        "profile": "srgb",
        "settings": dict(_SETTINGS[format]),
    }
