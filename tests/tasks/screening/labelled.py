"""A labelled set: real photographs, drawn pictures, and what known amounts of harm make of them.

The photographs ship inside scikit-image's wheel (and scikit-learn's, where it is installed), so
nothing is downloaded. Pictures are RGB, (rows, columns, 3), 8 bit, longest edge 1,024.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagewave.sandbox.answers.pictures import Recipe, draw

Picture = NDArray[np.uint8]
Harm = Callable[[Picture], Picture]

EDGE = 1024

_SHIPPED = (
    ("skimage", "data", "astronaut.png brick.png camera.png cell.png chelsea.png coffee.png"),
    ("skimage", "data", "coins.png grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png"),
    ("skimage", "data", "motorcycle_left.png motorcycle_right.png retina.jpg rocket.jpg"),
    ("sklearn", "datasets/images", "china.jpg flower.jpg"),
)
_DRAWN = ((1024, 1024), (1024, 576), (576, 1024), (1024, 768))


@cache
def photographs() -> dict[str, Picture]:
    """The photographs as they are, enlarged or reduced to a longest edge of 1,024."""
    found: dict[str, Picture] = {}
    for package, folder, names in _SHIPPED:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for name in names.split():
            with Image.open(Path(spec.origin).parent / folder / name) as image:
                found[name.partition(".")[0]] = _sized(np.asarray(image.convert("RGB")))
    return found


def drawn(count: int) -> dict[str, Picture]:
    """Pictures as the sandbox draws them, in four shapes."""
    recipes = (
        Recipe(
            model="labelled",
            prompt=f"picture {number}",
            nonce="",
            width=_DRAWN[number % len(_DRAWN)][0],
            height=_DRAWN[number % len(_DRAWN)][1],
        )
        for number in range(count)
    )
    return {f"drawn{n}": draw(recipe)[:, :, ::-1].copy() for n, recipe in enumerate(recipes)}


@cache
def product_shots() -> dict[str, Picture]:
    """Something small on a plain backdrop, off centre: clean, though most of it is one tone."""
    shots = {}
    sources = photographs()
    for name, tone in (("coffee", 255), ("chelsea", 245), ("rocket", 20), ("coins", 128)):
        inset = resized(sources[name], 0.45)
        rows, columns = inset.shape[:2]
        page = np.full((EDGE, EDGE, 3), tone, np.float32)
        ellipse = np.zeros((EDGE, EDGE), np.float32)
        centre = (300 + columns // 2, 420 + rows // 2)
        cv2.ellipse(ellipse, centre, (columns // 2, rows // 2), 0, 0, 360, 1.0, -1)
        mask = np.asarray(cv2.GaussianBlur(ellipse, (0, 0), 2), np.float32)[:, :, None]
        page[420 : 420 + rows, 300 : 300 + columns] = inset
        shots[f"product-{name}"] = _bytes(page * mask + tone * (1 - mask))
    return shots


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One encoded picture: what was done to which source, and the check that must fail on it.

    `fault` is "" for what must pass every check.
    """

    source: str
    harm: str
    fault: str
    data: bytes


def sepia(picture: Picture) -> Picture:
    gray = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32)[:, :, None]
    return _bytes(gray * np.array([1.0, 0.75, 0.45], np.float32))


CLEAN: dict[str, Harm] = {
    "as is": lambda picture: picture,
    "half size": lambda picture: resized(picture, 0.5),
    "flipped": lambda picture: picture[:, ::-1].copy(),
    "crop 5 %": lambda picture: crop(picture, 0.05),
    "brighter 15 %": lambda picture: gain(picture, 1.15),
    "darker 15 %": lambda picture: gain(picture, 0.85),
    "noise 6": lambda picture: noise(picture, 6),
    "blur 1": lambda picture: blur(picture, 1),
}
"""What leaves a good picture good."""

HARMS: dict[str, dict[str, Harm]] = {
    "dark": {
        "light x 0.15": lambda picture: gain(picture, 0.15),
        "light x 0.1": lambda picture: gain(picture, 0.10),
        "light x 0.05": lambda picture: gain(picture, 0.05),
    },
    "bright": {
        "85 % white": lambda picture: fade(picture, 0.85, 255),
        "90 % white": lambda picture: fade(picture, 0.90, 255),
        "95 % white": lambda picture: fade(picture, 0.95, 255),
    },
    "contrast": {
        "85 % gray": lambda picture: fade(picture, 0.85, 128),
        "90 % gray": lambda picture: fade(picture, 0.90, 128),
        "one colour": lambda picture: fade(picture, 1.0, 90),
    },
    "blur": {
        "blur 4": lambda picture: blur(picture, 4),
        "blur 6": lambda picture: blur(picture, 6),
        "blur 10": lambda picture: blur(picture, 10),
        "motion 31": lambda picture: motion(picture, 31),
    },
    "border": {
        "letterbox 5 %": lambda picture: letterbox(picture, 0.05, 0),
        "letterbox 12 %": lambda picture: letterbox(picture, 0.12, 0),
        "white bars 8 %": lambda picture: pillarbox(picture, 0.08, 255),
        "gray frame 4 %": lambda picture: frame(picture, 0.04, 128),
    },
    "cast": {
        "blue x 0.5": lambda picture: tint(picture, (1.0, 1.0, 0.5)),
        "red x 0.5": lambda picture: tint(picture, (0.5, 1.0, 1.0)),
        "green x 0.5": lambda picture: tint(picture, (1.0, 0.5, 1.0)),
        "sepia": sepia,
    },
}
"""What must make the check it is listed under fail; the number is the amount of harm."""

COPIES: dict[str, Harm] = {
    "JPEG q50": lambda picture: reencoded(picture, 50),
    "half size": CLEAN["half size"],
    "brighter 15 %": CLEAN["brighter 15 %"],
    "contrast x 0.8": lambda picture: fade(picture, 0.2, 128),
    "noise 6": CLEAN["noise 6"],
    "blur 2": lambda picture: blur(picture, 2),
    "crop 1 %": lambda picture: crop(picture, 0.01),
    "crop 2 %": lambda picture: crop(picture, 0.02),
    "crop 5 %": lambda picture: crop(picture, 0.05),
    "crop 10 %": lambda picture: crop(picture, 0.10),
    "flipped": CLEAN["flipped"],
}
"""What leaves a picture a near-duplicate of what it was made from."""


def labelled(sources: dict[str, Picture]) -> Iterator[Labelled]:
    """Every source in every clean and every harmed form, as JPEG and PNG in turn."""
    for number, (name, picture) in enumerate(sources.items()):
        encode = jpeg if number % 2 else png
        for harm, change in CLEAN.items():
            yield Labelled(source=name, harm=harm, fault="", data=encode(change(picture)))
        for fault, harms in HARMS.items():
            for harm, change in harms.items():
                yield Labelled(source=name, harm=harm, fault=fault, data=encode(change(picture)))


def png(picture: Picture, level: int = 1) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=level)
    return stream.getvalue()


def jpeg(picture: Picture, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def resized(picture: Picture, factor: float) -> Picture:
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def gain(picture: Picture, factor: float) -> Picture:
    return _bytes(picture * np.float32(factor))


def fade(picture: Picture, share: float, tone: int) -> Picture:
    return _bytes(picture * np.float32(1 - share) + np.float32(share * tone))


def tint(picture: Picture, factors: tuple[float, float, float]) -> Picture:
    return _bytes(np.asarray(picture * np.array(factors), np.float32))


def blur(picture: Picture, sigma: float) -> Picture:
    """Gaussian; sigma in pixels of a picture 1,024 wide."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def motion(picture: Picture, length: int) -> Picture:
    kernel = np.eye(length, dtype=np.float32) / length
    return np.asarray(cv2.filter2D(picture, -1, kernel), np.uint8)


def noise(picture: Picture, deviation: float) -> Picture:
    grain = np.random.default_rng(0).normal(0, deviation, picture.shape)
    return _bytes(picture + grain)


def crop(picture: Picture, share: float) -> Picture:
    """That share of each side's length is lost, half of it at each end, unevenly."""
    rows, columns = picture.shape[:2]
    down, across = round(rows * share), round(columns * share)
    return picture[down // 3 : rows - (down - down // 3), across // 3 : columns - 2 * across // 3]


def letterbox(picture: Picture, share: float, tone: int) -> Picture:
    """Bars on top and at the bottom, each that share of the height."""
    boxed = picture.copy()
    bar = round(len(picture) * share)
    boxed[:bar] = boxed[len(picture) - bar :] = tone
    return boxed


def pillarbox(picture: Picture, share: float, tone: int) -> Picture:
    return np.ascontiguousarray(
        letterbox(picture.transpose(1, 0, 2), share, tone).transpose(1, 0, 2)
    )


def frame(picture: Picture, share: float, tone: int) -> Picture:
    return pillarbox(letterbox(picture, share, tone), share, tone)


def reencoded(picture: Picture, quality: int) -> Picture:
    with Image.open(io.BytesIO(jpeg(picture, quality))) as image:
        return np.asarray(image, np.uint8)


def _sized(picture: Picture) -> Picture:
    factor = EDGE / max(picture.shape[:2])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LANCZOS4
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def _bytes(picture: NDArray[np.float32] | NDArray[np.float64]) -> Picture:
    return np.asarray(np.clip(np.round(picture), 0, 255), np.uint8)
