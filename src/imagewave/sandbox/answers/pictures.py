"""Draws pictures that behave like photographs: cheap to make, dear to compress, all different.

A picture is composed at a quarter of its size (a palette over layered value noise, then ridges or
rounded things, then a light), enlarged, and grained from a noise tile that is made once. Arrays
have the shape (height, width, 3), in OpenCV's BGR order.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Picture = NDArray[np.uint8]
Canvas = NDArray[np.float32]
_TILE = 1024
_COMPOSE = 4
MIN_EDGE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that a picture depends on; `references` are encoded images, the first one leads."""

    model: str
    prompt: str
    nonce: str
    width: int
    height: int
    references: tuple[bytes, ...] = ()

    def generator(self) -> np.random.Generator:
        """The picture's own randomness."""
        content = hashlib.sha256(f"{self.model}\0{self.prompt}\0{self.nonce}".encode())
        for reference in self.references:
            content.update(hashlib.sha256(reference).digest())
        return np.random.default_rng(int.from_bytes(content.digest()[:8], "big"))


def draw(recipe: Recipe) -> Picture:
    """The picture of a recipe: the same bits every time on one machine."""
    random = recipe.generator()
    reference = next((p for p in map(decode, recipe.references) if p is not None), None)
    if reference is None:
        small = _compose(random, recipe.width // _COMPOSE, recipe.height // _COMPOSE)
        grain = 1.0
    else:
        small = _reinterpret(random, reference, recipe.width, recipe.height)
        grain = 0.55
    picture = cv2.resize(small, (recipe.width, recipe.height), interpolation=cv2.INTER_CUBIC)
    return _grain(random, as_picture(picture), grain)


def as_picture(array: ArrayLike) -> Picture:
    """The array with the type that OpenCV's own annotations lose."""
    return np.asarray(array, np.uint8)


def encode(picture: Picture, quality: int = 90) -> bytes:
    """JPEG bytes."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def decode(data: bytes) -> Picture | None:
    """The picture in the bytes; None where there is none."""
    if not data:
        return None
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if picture is None else as_picture(picture)


def _compose(random: np.random.Generator, width: int, height: int) -> Picture:
    """A scene of land or of things on a table, in float at first, rounded at the end."""
    width, height = max(width, MIN_EDGE), max(height, MIN_EDGE)
    palette = _palette(random)
    field = _noise(random, width, height, (2, 4, 9, 20), falloff=0.55)
    # A slope through the field reads as a sky that brightens towards one side.
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle = random.uniform(0, 2 * np.pi)
    field += (np.cos(angle) * x + np.sin(angle) * y) * random.uniform(0.5, 1.2)
    canvas = palette[_to_bytes(field)]
    if random.random() < 0.5:
        _land(random, canvas, palette)
    else:
        _table(random, canvas, palette)
    # A light that falls off from one point gives depth.
    cx, cy = random.uniform(-0.8, 0.8, 2)
    light = 1.15 - 0.25 * ((x - cx) ** 2 + (y - cy) ** 2)
    shade = _noise(random, width, height, (7, 16, 40), falloff=0.7) * 0.1
    return as_picture(np.clip(canvas * (light + shade)[:, :, None], 0, 255))


def _land(random: np.random.Generator, canvas: Canvas, palette: Canvas) -> None:
    """Ridges one before the other, darker as they come nearer, under a sun."""
    height, width = canvas.shape[:2]
    edge = min(width, height)
    glow = np.zeros((height, width), np.float32)
    centre = (int(random.uniform(0.1, 0.9) * width), int(random.uniform(0.1, 0.45) * height))
    cv2.circle(glow, centre, max(int(edge * random.uniform(0.03, 0.1)), 1), 1.0, -1, cv2.LINE_AA)
    halo = cv2.GaussianBlur(glow, (0, 0), edge * 0.12) * 1.5 + glow * 0.8
    canvas += (255 - canvas) * np.clip(halo, 0, 1)[:, :, None]
    rows = np.arange(height, dtype=np.float32)[:, None]
    ridges = int(random.integers(3, 6))
    for nearness in range(ridges):
        level = height * (0.42 + 0.5 * nearness / ridges + random.uniform(-0.05, 0.05))
        line = _noise(random, width, 1, (3, 7, 16, 40), falloff=0.5)[0]
        top = level + line * height * random.uniform(0.05, 0.14)
        mask = np.clip(rows - top[None, :], 0, 1)[:, :, None]
        tone = palette[int(150 * (1 - nearness / ridges)) + 20] * random.uniform(0.75, 1.15)
        rough = _noise(random, width, height, (11, 30), falloff=0.7)[:, :, None] * 16
        canvas += (np.clip(tone + rough, 0, 255) - canvas) * mask


def _table(random: np.random.Generator, canvas: Canvas, palette: Canvas) -> None:
    """Rounded things with shadows, standing on a surface."""
    height, width = canvas.shape[:2]
    edge = min(width, height)
    horizon = int(height * random.uniform(0.45, 0.65))
    depth = np.linspace(0.75, 1.2, height - horizon, dtype=np.float32)[:, None, None]
    surface = palette[int(random.integers(90, 240))] * depth
    grain = _noise(random, width, height - horizon, (5, 14, 33), falloff=0.6)[:, :, None] * 12
    canvas[horizon:] = np.clip(surface + grain, 0, 255)
    sun = random.uniform(-1, 1)
    for foot in sorted(random.uniform(0.55, 0.95, int(random.integers(3, 7)))):
        radii = edge * random.uniform(0.07, 0.2, 2)
        centre = (random.uniform(0.12, 0.88) * width, foot * height - radii[1])
        colour = random.uniform(30, 240, 3).astype(np.float32)
        _shadow(canvas, (centre[0] - sun * radii[0] * 0.7, foot * height), radii)
        _ball(canvas, centre, radii, colour, sun)


def _shadow(canvas: Canvas, centre: tuple[float, float], radii: NDArray[np.float64]) -> None:
    height, width = canvas.shape[:2]
    mask = np.zeros((height, width), np.float32)
    axes = (int(radii[0] * 1.15) + 1, int(radii[1] * 0.3) + 1)
    cv2.ellipse(mask, (int(centre[0]), int(centre[1])), axes, 0, 0, 360, 0.65, -1)
    canvas *= 1 - cv2.GaussianBlur(mask, (0, 0), float(max(radii[0] * 0.18, 0.6)))[:, :, None]


def _ball(
    canvas: Canvas,
    centre: tuple[float, float],
    radii: NDArray[np.float64],
    colour: NDArray[np.float32],
    sun: float,
) -> None:
    """A rounded body lit from above and from the sun's side, with a soft rim and a highlight."""
    height, width = canvas.shape[:2]
    x = (np.arange(width, dtype=np.float32)[None, :] - centre[0]) / radii[0]
    y = (np.arange(height, dtype=np.float32)[:, None] - centre[1]) / radii[1]
    inside = np.clip((1 - x**2 - y**2) * float(min(radii)) * 0.5, 0, 1)[:, :, None]
    bulge = np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))
    lit = np.clip(0.25 + 0.5 * bulge + 0.35 * (sun * x - y), 0.12, 1.3)
    shine = np.clip(1 - 14 * ((x - 0.4 * sun) ** 2 + (y + 0.45) ** 2), 0, 1)
    body = np.clip(colour * lit[:, :, None] + 120 * shine[:, :, None], 0, 255)
    canvas += (body - canvas) * inside


def _noise(
    random: np.random.Generator, width: int, height: int, grids: tuple[int, ...], falloff: float
) -> NDArray[np.float32]:
    """Value noise in octaves: random grids of rising fineness, enlarged and added."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for cells in grids:
        grid = random.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        weight *= falloff
    return total


def _to_bytes(field: NDArray[np.float32]) -> Picture:
    low, high = float(field.min()), float(field.max())
    return as_picture((field - low) * (255 / max(high - low, 1e-6)))


def _palette(random: np.random.Generator) -> Canvas:
    """256 colours from a shadow to a highlight by way of two related hues."""
    hue = random.uniform(0, 180)
    step = random.choice([12, 25, 60, 88]) * random.choice([-1, 1])
    stops = [
        (hue, random.uniform(90, 190), random.uniform(35, 70)),
        (hue + step * 0.4, random.uniform(80, 200), random.uniform(80, 120)),
        (hue + step, random.uniform(60, 190), random.uniform(140, 190)),
        (hue + step * 1.3, random.uniform(15, 90), random.uniform(215, 250)),
    ]
    if random.random() < 0.35:
        stops.reverse()
    hsv = np.array([[(h % 180, s, v) for h, s, v in stops]], np.uint8)
    bgr = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR).astype(np.float32)
    ramp = cv2.resize(bgr, (256, 1), interpolation=cv2.INTER_LINEAR)[0]
    return np.asarray(ramp, np.float32)


def _reinterpret(
    random: np.random.Generator, reference: Picture, width: int, height: int
) -> Picture:
    """The reference's composition and colours, cut to the wanted ratio, a shade another."""
    scale = max(width / reference.shape[1], height / reference.shape[0])
    cut_w, cut_h = (
        min(round(width / scale), reference.shape[1]),
        min(round(height / scale), reference.shape[0]),
    )
    left, top = (reference.shape[1] - cut_w) // 2, (reference.shape[0] - cut_h) // 2
    cut = reference[top : top + cut_h, left : left + cut_w]
    # Smoothed, so that the reference's own grain is not enlarged with it.
    smooth = cv2.GaussianBlur(cut, (0, 0), 1.0)
    tint = random.uniform(0.97, 1.03, 3).astype(np.float32)
    return as_picture(np.clip(smooth * tint, 0, 255))


@cache
def _grain_tile() -> Picture:
    """Fine and middling noise around 128 that wraps, twice in each direction to cut from."""
    random = np.random.default_rng(20261120)
    fine = random.normal(0, 1, (_TILE, _TILE, 3)).astype(np.float32)
    luma = random.normal(0, 1, (_TILE, _TILE)).astype(np.float32)
    middling = cv2.GaussianBlur(luma, (0, 0), 1.2, borderType=cv2.BORDER_REFLECT) * 3
    tile = np.clip(128 + 4 * fine + (9 * luma + 11 * middling)[:, :, None], 0, 255)
    return np.tile(as_picture(tile), (2, 2, 1))


def _grain(random: np.random.Generator, picture: Picture, strength: float) -> Picture:
    height, width = picture.shape[:2]
    tile = _grain_tile()
    down, across = -(-height // len(tile)), -(-width // len(tile))
    if down > 1 or across > 1:
        tile = np.tile(tile, (down, across, 1))
    top = int(random.integers(0, tile.shape[0] - height + 1))
    left = int(random.integers(0, tile.shape[1] - width + 1))
    cut = tile[top : top + height, left : left + width]
    amount = 0.45 * strength
    grained = cv2.addWeighted(picture, 1, cut, amount, -128 * amount)
    return as_picture(grained)
