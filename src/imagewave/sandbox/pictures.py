"""Draws pictures that behave like photographs: cheap to make, dear to compress, all different.

A picture is composed at a quarter of its size (a palette mapped over layered value noise, soft
bodies, a light), enlarged, and grained from a noise tile that is made once. Arrays are H×W×3
uint8 in OpenCV's BGR order.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
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
    return _grain(random, picture, grain)


def encode(picture: Picture, quality: int = 90) -> bytes:
    """JPEG bytes."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def decode(data: bytes) -> Picture | None:
    """The picture in the bytes; None where there is none."""
    if not data:
        return None
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if picture is None else np.asarray(picture, np.uint8)


def _compose(random: np.random.Generator, width: int, height: int) -> Picture:
    width, height = max(width, MIN_EDGE), max(height, MIN_EDGE)
    field = _noise(random, width, height, (2, 4, 9, 20), falloff=0.55)
    # A tilted slope through the field reads as ground and sky.
    angle = random.uniform(0, 2 * np.pi)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    field += (np.cos(angle) * x + np.sin(angle) * y) * random.uniform(0.3, 0.9)
    canvas = _palette(random)[_to_bytes(field)]
    for _ in range(random.integers(3, 8)):
        _body(random, canvas)
    # A light that falls off from one point gives depth.
    cx, cy = random.uniform(-0.8, 0.8, 2)
    light = 1.18 - 0.3 * ((x - cx) ** 2 + (y - cy) ** 2)
    shade = _noise(random, width, height, (7, 16, 40), falloff=0.7) * 0.12
    lit = canvas.astype(np.float32) * (light + shade)[:, :, None]
    return np.clip(lit, 0, 255).astype(np.uint8)


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
    scaled = (field - low) * (255 / max(high - low, 1e-6))
    return scaled.astype(np.uint8)


def _palette(random: np.random.Generator) -> Picture:
    """256 colours from a shadow to a highlight by way of two related hues."""
    hue = random.uniform(0, 180)
    step = random.choice([12, 25, 60, 88]) * random.choice([-1, 1])
    stops = [
        (hue, random.uniform(90, 190), random.uniform(25, 60)),
        (hue + step * 0.4, random.uniform(80, 200), random.uniform(80, 120)),
        (hue + step, random.uniform(60, 190), random.uniform(140, 190)),
        (hue + step * 1.3, random.uniform(15, 90), random.uniform(215, 250)),
    ]
    if random.random() < 0.35:
        stops.reverse()
    hsv = np.array([[(h % 180, s, v) for h, s, v in stops]], np.uint8)
    bgr = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR).astype(np.float32)
    ramp = cv2.resize(bgr, (256, 1), interpolation=cv2.INTER_LINEAR)[0]
    return np.asarray(ramp, np.uint8)


def _body(random: np.random.Generator, canvas: Picture) -> None:
    """Lays one shaded soft-edged body onto the canvas."""
    height, width = canvas.shape[:2]
    centre = (int(random.uniform(0.1, 0.9) * width), int(random.uniform(0.15, 0.9) * height))
    edge = min(width, height)
    axes = (int(edge * random.uniform(0.06, 0.3)) + 1, int(edge * random.uniform(0.06, 0.3)) + 1)
    mask = np.zeros((height, width), np.float32)
    turn = random.uniform(0, 180)
    if random.random() < 0.7:
        cv2.ellipse(mask, centre, axes, turn, 0, 360, 1.0, -1, cv2.LINE_AA)
    else:
        box = cv2.boxPoints((centre, (axes[0] * 1.6, axes[1] * 1.6), turn)).astype(np.int32)
        cv2.fillConvexPoly(mask, box, 1.0, cv2.LINE_AA)
    soft = float(random.uniform(0.5, max(edge * 0.015, 0.6)))
    mask = cv2.GaussianBlur(mask, (0, 0), soft)
    colour = random.uniform(20, 245, 3).astype(np.float32)
    slope = np.linspace(0.65, 1.25, height, dtype=np.float32)[:, None, None]
    weight = mask[:, :, None] * random.uniform(0.6, 0.95)
    blended = canvas * (1 - weight) + np.clip(colour * slope, 0, 255) * weight
    canvas[:] = blended.astype(np.uint8)


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
    cut = cv2.GaussianBlur(cut, (0, 0), 1.0)
    tint = random.uniform(0.97, 1.03, 3).astype(np.float32)
    return np.clip(cut * tint, 0, 255).astype(np.uint8)


@cache
def _grain_tile() -> Picture:
    """Fine and middling noise around 128, wide enough to be cut at random places."""
    random = np.random.default_rng(20261120)
    fine = random.normal(0, 1, (_TILE, _TILE, 3)).astype(np.float32)
    luma = random.normal(0, 1, (_TILE, _TILE)).astype(np.float32)
    middling = cv2.GaussianBlur(luma, (0, 0), 1.2, borderType=cv2.BORDER_REFLECT) * 3
    tile = 128 + 4 * fine + (9 * luma + 11 * middling)[:, :, None]
    return np.clip(tile, 0, 255).astype(np.uint8)


def _grain(random: np.random.Generator, picture: Picture, strength: float) -> Picture:
    height, width = picture.shape[:2]
    tile = _grain_tile()
    top, left = (int(v) for v in random.integers(0, _TILE, 2))
    rolled = np.roll(tile, (-top, -left), (0, 1))
    across, down = -(-width // _TILE), -(-height // _TILE)
    if across > 1 or down > 1:
        rolled = np.tile(rolled, (down, across, 1))
    amount = 0.45 * strength
    grained = cv2.addWeighted(picture, 1, rolled[:height, :width], amount, -128 * amount)
    return np.asarray(grained, np.uint8)
