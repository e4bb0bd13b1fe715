"""Judges pictures by their pixels, so that a planted defect earns a low score."""

from dataclasses import dataclass

import cv2
import numpy as np

from imagewave.sandbox.answers.pictures import Picture, as_picture, decode

_EDGE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """A score between 0 (worthless) and 1, and what spoils the picture most."""

    score: float
    reason: str


def judge(images: tuple[bytes, ...]) -> Opinion:
    """The opinion on the last picture, which is the one asked about; earlier ones are context."""
    picture = decode(images[-1])
    if picture is None:
        return Opinion(score=0.0, reason="The image cannot be read.")
    # Where several marks are equally bad, the first names the cause of the others.
    marks = {
        "The image is too dark to make anything out.": _ramp(_brightness(picture), 14, 48),
        "The image is washed out, close to white.": _ramp(255 - _brightness(picture), 26, 60),
        "The image is almost empty: one flat colour.": _ramp(_contrast(picture), 4, 22),
        "The image is blurred; no detail is sharp.": _ramp(_sharpness(picture), 6, 40),
        "The subject is boxed in by a uniform border.": 1 - _ramp(_border(picture), 0.02, 0.08),
    }
    reason, worst = min(marks.items(), key=lambda mark: mark[1])
    # The liveliest pictures still differ a little: range and colour make the rest of the score.
    merit = 0.72 + 0.14 * _ramp(_contrast(picture), 20, 60) + 0.1 * _ramp(_colour(picture), 8, 45)
    if worst >= 0.5:
        reason = "The image fits the brief; composition and detail hold up."
    return Opinion(score=float(merit * worst), reason=reason)


def _ramp(value: float, low: float, high: float) -> float:
    """0 at or below `low`, 1 at or above `high`, straight in between."""
    return float(np.clip((value - low) / (high - low), 0, 1))


def _small_gray(picture: Picture) -> Picture:
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    scale = _EDGE / max(gray.shape)
    if scale >= 1:
        return as_picture(gray)
    shrunk = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return as_picture(shrunk)


def _brightness(picture: Picture) -> float:
    return float(_small_gray(picture).mean())


def _contrast(picture: Picture) -> float:
    return float(_small_gray(picture).std())


def _colour(picture: Picture) -> float:
    return float(picture.reshape(-1, 3)[::17].astype(np.float32).std(axis=1).mean())


def _sharpness(picture: Picture) -> float:
    return float(cv2.Laplacian(_small_gray(picture), cv2.CV_32F).var())


def _border(picture: Picture) -> float:
    """The widest run of uniform rows or columns at an edge, as a share of the picture."""
    gray = _small_gray(picture).astype(np.float32)
    widest = 0.0
    for lines in (gray, gray[::-1], gray.T, gray.T[::-1]):
        flat = lines.std(axis=1) < 3
        run = int(np.argmin(flat)) if not flat.all() else 0
        widest = max(widest, run / len(flat))
    return widest
