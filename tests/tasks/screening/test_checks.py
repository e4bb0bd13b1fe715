"""Each check holds one value against one threshold, and says what it saw."""

from dataclasses import replace
from typing import Any

import pytest

from imagewave.storage.waves.wave import Screen
from imagewave.tasks.screening.checks import Verdict, check
from imagewave.tasks.screening.metrics import Metrics

GOOD = Metrics(
    width=1344,
    height=768,
    format="jpeg",
    brightness=0.5,
    p05=0.1,
    p95=0.9,
    contrast=0.2,
    blur=1.0,
    entropy=7.0,
    border=0.0,
    cast=0.1,
    phash=7,
)


def verdicts(metrics: Metrics, limits: Screen | None = None) -> dict[str, Verdict]:
    found = check(
        metrics,
        limits or Screen(),
        expected_ratio="16:9",
        expected_pixels=(1344, 768),
        declared_mime="image/jpeg",
    )
    return {verdict.check: verdict for verdict in found}


def test_a_good_image_passes_every_check_in_a_fixed_order() -> None:
    found = verdicts(GOOD)

    assert list(found) == [
        *("decodes", "format", "size", "aspect", "dark", "bright"),
        *("contrast", "blur", "entropy", "border", "cast"),
    ]
    assert all(verdict.passed for verdict in found.values())


def test_what_was_not_asked_for_is_not_checked() -> None:
    names = [verdict.check for verdict in check(GOOD, Screen())]
    assert not {"format", "size", "aspect"} & set(names)


def test_an_undecodable_image_fails_that_one_check_with_the_reason() -> None:
    broken = Metrics(format="png", error="damaged png: its end is missing", undecodable=True)

    assert check(broken, Screen(), expected_ratio="1:1", declared_mime="image/jpeg") == [
        Verdict(check="decodes", value=0.0, threshold=1.0, passed=False, detail=broken.error)
    ]


def test_an_image_that_could_not_be_measured_is_not_rejected_for_it() -> None:
    """It was paid for, and nothing is known against it; its size is, and is checked."""
    found = verdicts(Metrics(width=1344, height=768, format="jpeg", error="no figures"))

    assert list(found) == ["decodes", "measured", "format", "size", "aspect"]
    assert all(verdict.passed for verdict in found.values())
    assert (found["measured"].value, found["measured"].detail) == (0.0, "no figures")


def test_an_image_that_took_its_decoder_down_is_rejected() -> None:
    found = verdicts(Metrics(format="png", error="the decoder crashed (exit code -11)"))

    assert [name for name, verdict in found.items() if not verdict.passed] == ["measured"]
    assert found["measured"].detail == "the decoder crashed (exit code -11)"


@pytest.mark.parametrize(
    ("name", "field", "threshold", "worse"),
    [
        ("dark", "p95", "min_brightness", -1),
        ("bright", "p05", "max_brightness", 1),
        ("contrast", "contrast", "min_contrast", -1),
        ("blur", "blur", "min_blur", -1),
        ("entropy", "entropy", "min_entropy", -1),
        ("border", "border", "max_border", 1),
        ("cast", "cast", "max_cast", 1),
    ],
)
def test_a_value_on_the_threshold_passes_and_one_beyond_fails(
    name: str, field: str, threshold: str, worse: int
) -> None:
    limit = 0.25
    set_limit: dict[str, Any] = {threshold: limit}
    limits = Screen(**set_limit)

    def verdict(value: float) -> Verdict:
        set_value: dict[str, Any] = {field: value}
        return verdicts(replace(GOOD, **set_value), limits)[name]

    at, beyond = verdict(limit), verdict(limit + worse * 0.001)

    assert (at.value, at.threshold, at.passed) == (limit, limit, True)
    assert (beyond.value, beyond.passed) == (limit + worse * 0.001, False)


def test_aspect_is_as_strict_on_wide_as_on_tall() -> None:
    for width, height in ((1344, 700), (1230, 768)):
        verdict = verdicts(replace(GOOD, width=width, height=height))["aspect"]
        assert not verdict.passed
        assert verdict.detail == f"{width}x{height}, expected 16:9"
    exact = check(replace(GOOD, width=1600, height=900), Screen(), expected_ratio="16:9")
    assert next(v for v in exact if v.check == "aspect").value == pytest.approx(0.0)


def test_size_asks_for_pixels_whatever_their_shape() -> None:
    def size(width: int, height: int) -> Verdict:
        return verdicts(replace(GOOD, width=width, height=height))["size"]

    assert size(768, 1344).passed
    assert size(2688, 1536).passed
    assert size(1300, 750).passed
    half = size(672, 384)
    assert not half.passed
    assert half.value == pytest.approx(0.5)
    assert half.detail == "672x384, expected 1344x768"


@pytest.mark.parametrize("declared", ["image/jpeg", "image/jpg", "IMAGE/JPEG; q=1"])
def test_the_ways_to_say_jpeg(declared: str) -> None:
    verdict = check(GOOD, Screen(), declared_mime=declared)[1]
    assert (verdict.check, verdict.value, verdict.detail) == ("format", 1.0, "")


def test_a_wrong_label_is_told_but_costs_no_image() -> None:
    verdict = check(GOOD, Screen(), declared_mime="image/png")[1]
    assert (verdict.value, verdict.detail) == (0.0, "declared image/png, is image/jpeg")
    assert verdict.passed
