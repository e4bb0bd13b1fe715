"""Metrics to verdicts: each check has a name, a value, the threshold it met, and an answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imagewave.storage.waves.wave import Screen
from imagewave.tasks.screening.metrics import Metrics

SIZE_TOLERANCE: Final = 0.05
"""Providers' real sizes differ by a few per cent from the documented ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One check of one image; `threshold` is the limit that `value` was held against."""

    check: str
    value: float
    threshold: float
    passed: bool
    detail: str = ""


def check(
    metrics: Metrics,
    thresholds: Screen,
    *,
    expected_ratio: str | None = None,
    expected_pixels: tuple[int, int] | None = None,
    declared_mime: str | None = None,
) -> list[Verdict]:
    """All checks that apply, in a fixed order; an undecodable image has only the first.

    expected_ratio: "16:9". expected_pixels: (width, height) that the request asked for.
    declared_mime: what the provider called the bytes. What is None is not checked.
    """
    if metrics.undecodable:
        return [_at_least("decodes", 0.0, 1.0, metrics.error)]
    verdicts = [_at_least("decodes", 1.0, 1.0)]
    if metrics.error:
        verdicts.append(_measured(metrics))
        if not metrics.width:
            return verdicts
    if declared_mime is not None:
        verdicts.append(_format(metrics, declared_mime))
    if expected_pixels is not None:
        verdicts.append(_size(metrics, *expected_pixels))
    if expected_ratio is not None:
        verdicts.append(_aspect(metrics, expected_ratio, thresholds.aspect_tolerance))
    if not metrics.error:
        verdicts.extend(_look(metrics, thresholds))
    return verdicts


def _measured(metrics: Metrics) -> Verdict:
    """Tells an image that has no figures (value 0). It passes if it was decoded: nothing is known
    against it, and to reject it would be to pay for another. What took its decoder down, or kept it
    for ever, would do so again to whoever looks at it."""
    return _at_least("measured", 0.0, 0.0 if metrics.width else 1.0, metrics.error)


def _look(metrics: Metrics, limits: Screen) -> Iterator[Verdict]:
    # Dark is a picture whose brightest parts are dark, so a night scene with lights passes; bright
    # likewise, by its darkest parts, so a product on white passes.
    yield _at_least("dark", metrics.p95, limits.min_brightness)
    yield _at_most("bright", metrics.p05, limits.max_brightness)
    yield _at_least("contrast", metrics.contrast, limits.min_contrast)
    yield _at_least("blur", metrics.blur, limits.min_blur)
    yield _at_least("entropy", metrics.entropy, limits.min_entropy)
    yield _at_most("border", metrics.border, limits.max_border)
    yield _at_most("cast", metrics.cast, limits.max_cast)


def _at_least(name: str, value: float, limit: float, detail: str = "") -> Verdict:
    return Verdict(check=name, value=value, threshold=limit, passed=value >= limit, detail=detail)


def _at_most(name: str, value: float, limit: float, detail: str = "") -> Verdict:
    return Verdict(check=name, value=value, threshold=limit, passed=value <= limit, detail=detail)


def _format(metrics: Metrics, declared_mime: str) -> Verdict:
    """Tells a mislabelled image (value 0) but passes it: it is stored by what its bytes are."""
    actual = f"image/{metrics.format}"
    declared = declared_mime.partition(";")[0].strip().lower().replace("image/jpg", "image/jpeg")
    detail = "" if declared == actual else f"declared {declared}, is {actual}"
    return _at_least("format", float(declared == actual), 0.0, detail)


def _size(metrics: Metrics, width: int, height: int) -> Verdict:
    """Area against the area asked for, as a length: a wrong shape is the aspect check's matter."""
    scale = (metrics.width * metrics.height / (width * height)) ** 0.5
    detail = f"{metrics.width}x{metrics.height}, expected {width}x{height}"
    return _at_least("size", scale, 1.0 - SIZE_TOLERANCE, detail)


def _aspect(metrics: Metrics, ratio: str, tolerance: float) -> Verdict:
    """How far the shape is off, as a factor minus one, the same for too wide and too tall."""
    across, _, down = ratio.partition(":")
    off = metrics.width / metrics.height / (float(across) / float(down))
    detail = f"{metrics.width}x{metrics.height}, expected {ratio}"
    return _at_most("aspect", max(off, 1.0 / off) - 1.0, tolerance, detail)
