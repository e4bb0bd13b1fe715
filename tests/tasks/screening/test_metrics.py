"""Each figure is what its formula says, from any size and format."""

import cv2
import numpy as np
import pytest
from tests.tasks.screening import labelled

from imagewave.tasks.screening import metrics
from imagewave.tasks.screening.metrics import Metrics, measure

LIMIT = 10_000_000


def of(picture: labelled.Picture) -> Metrics:
    found = measure(labelled.png(picture), max_pixels=LIMIT)
    assert found.error == ""
    return found


def halves(left: int, right: int) -> labelled.Picture:
    picture = np.full((200, 200, 3), left, np.uint8)
    picture[:, 100:] = right
    return picture


def test_tones_of_a_picture_of_two_tones() -> None:
    found = of(halves(0, 255))

    assert found.brightness == pytest.approx(0.5)
    assert found.contrast == pytest.approx(0.5)
    assert found.entropy == pytest.approx(1.0)
    assert (found.p05, found.p95) == (0.0, 1.0)


def test_one_tone_has_no_contrast_no_entropy_and_is_all_border() -> None:
    found = of(halves(70, 70))

    assert found.brightness == pytest.approx(70 / 255)
    assert (found.contrast, found.entropy, found.blur, found.border) == (0.0, 0.0, 0.0, 1.0)


def test_luma_weighs_colours_as_rec_601() -> None:
    for colour, weight in (((255, 0, 0), 0.299), ((0, 255, 0), 0.587), ((0, 0, 255), 0.114)):
        picture = np.full((50, 50, 3), colour, np.uint8)
        assert of(picture).brightness == pytest.approx(weight, abs=0.003)


def test_blur_falls_with_blur_and_not_with_contrast() -> None:
    sharp = labelled.photographs()["coffee"]
    values = [of(labelled.blur(sharp, sigma)).blur for sigma in (0.5, 1, 2, 4, 8)]

    assert values == sorted(values, reverse=True)
    faint = of(labelled.fade(sharp, 0.6, 128)).blur
    assert faint == pytest.approx(of(sharp).blur, rel=0.15)


@pytest.mark.parametrize("kernel", [np.eye(31), np.eye(31)[::-1], "across", "down"])
def test_motion_in_any_direction_is_blur(kernel: object) -> None:
    weights = np.zeros((31, 31))
    if isinstance(kernel, np.ndarray):
        weights = kernel
    elif kernel == "across":
        weights[15] = 1
    else:
        weights[:, 15] = 1
    sharp = labelled.photographs()["coffee"]
    moved = cv2.filter2D(sharp, -1, weights / 31)

    assert of(np.asarray(moved, np.uint8)).blur < 0.4 * of(sharp).blur


@pytest.mark.parametrize(
    ("box", "share"),
    [
        (lambda picture: labelled.letterbox(picture, 0.1, 0), 0.2),
        (lambda picture: labelled.pillarbox(picture, 0.1, 255), 0.2),
        (lambda picture: labelled.frame(picture, 0.05, 90), 1 - 0.9 * 0.9),
    ],
    ids=["letterbox", "pillarbox", "frame"],
)
def test_border_is_the_share_of_bars(box: labelled.Harm, share: float) -> None:
    boxed = box(labelled.photographs()["astronaut"])

    for data in (labelled.png(boxed), labelled.jpeg(boxed)):
        assert measure(data, max_pixels=LIMIT).border == pytest.approx(share, abs=0.015)


def test_a_bar_on_one_side_counts() -> None:
    picture = labelled.photographs()["astronaut"].copy()
    picture[:, -200:] = 255
    assert of(picture).border == pytest.approx(200 / 1024, abs=0.01)


def test_a_plain_backdrop_is_no_border() -> None:
    for shot in labelled.product_shots().values():
        assert of(shot).border == 0.0


def test_cast_is_the_saturation_that_nothing_is_without() -> None:
    scene = labelled.photographs()["motorcycle_left"]

    assert of(scene).cast < 0.1
    assert of(labelled.tint(scene, (1.0, 0.6, 0.3))).cast > 0.4
    assert of(labelled.photographs()["camera"]).cast == 0.0


def test_cast_is_not_told_in_the_dark() -> None:
    assert of(labelled.gain(labelled.sepia(labelled.photographs()["coffee"]), 0.1)).cast == 0.0


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 2), (3, 700), (31, 33)])
def test_no_size_is_too_odd(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)

    for data in (labelled.png(noise), labelled.jpeg(noise)):
        found = measure(data, max_pixels=LIMIT)
        assert (found.error, found.height, found.width) == ("", *size)
        assert found.phash is not None


def test_jpeg_and_png_of_one_picture_measure_alike() -> None:
    for name in ("astronaut", "coffee", "moon", "rocket"):
        picture = labelled.photographs()[name]
        png = of(picture)
        jpeg = measure(labelled.jpeg(picture, 95), max_pixels=LIMIT)

        assert (png.format, jpeg.format) == ("png", "jpeg")
        assert jpeg.brightness == pytest.approx(png.brightness, abs=0.01)
        assert jpeg.contrast == pytest.approx(png.contrast, abs=0.01)
        assert jpeg.entropy == pytest.approx(png.entropy, abs=0.15)
        assert jpeg.blur == pytest.approx(png.blur, rel=0.15)
        assert jpeg.cast == pytest.approx(png.cast, abs=0.05)


def test_what_is_wrong_is_said_and_the_format_still_known() -> None:
    found = measure(labelled.jpeg(halves(0, 255))[:200], max_pixels=LIMIT)

    assert found.format == "jpeg"
    assert found.error.startswith("damaged jpeg")
    assert found.undecodable
    assert (found.width, found.phash) == (0, None)


def stripes(*bands: tuple[int, int], across: bool = False) -> labelled.Picture:
    """Plain bands, each of so many lines and of that tone."""
    lines = np.repeat([tone for _, tone in bands], [lines for lines, _ in bands])
    picture = np.repeat(lines[:, None], 120, axis=1).astype(np.uint8)
    return np.repeat((picture.T if across else picture)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(
    "bands",
    [
        [(60, 20), (60, 220)],
        [(10, 220), (110, 20)],
        [(40, 0), (40, 255), (40, 0)],
        [(60, 100), (60, 120)],
    ],
)
def test_a_picture_of_nothing_but_bands_is_measured(
    bands: list[tuple[int, int]], across: bool
) -> None:
    """A flag, or a picture of which one half was drawn."""
    found = of(stripes(*bands, across=across))

    assert 0 <= found.border <= 1
    assert found.phash is not None
    if len(bands) == 2 and abs(bands[0][1] - bands[1][1]) > 24:
        assert found.border == 1.0


def test_no_picture_of_stripes_is_too_odd_to_measure() -> None:
    random = np.random.default_rng(7)
    for _ in range(300):
        bands = [
            (int(random.integers(1, 60)), int(random.integers(0, 256)))
            for _ in range(random.integers(1, 7))
        ]
        found = of(stripes(*bands, across=bool(random.integers(2))))
        assert 0 <= found.border <= 1


@pytest.mark.parametrize("name", ["border_share", "sharpness", "colour_cast", "phash"])
@pytest.mark.parametrize("fault", [ZeroDivisionError("half of nothing"), MemoryError()])
def test_a_fault_in_measuring_is_that_pictures_result_and_no_damage(
    name: str, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> float:
        raise fault

    monkeypatch.setattr(metrics, name, fail)

    found = measure(labelled.png(halves(0, 255)), max_pixels=LIMIT)

    assert not found.undecodable
    assert (found.width, found.height, found.format) == (200, 200, "png")
    assert found.error.startswith(f"it could not be measured: {type(fault).__name__}")
    assert (found.phash, found.border) == (None, 0.0)
