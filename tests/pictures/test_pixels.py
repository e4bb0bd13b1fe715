"""The passes over pixels: what each says, and that compiled code and OpenCV say the same."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imagewave.pictures import pixels

try:
    from imagewave.pictures import _pixels as compiled
except ImportError:  # no C compiler when it was installed, or no AVX2
    compiled = None  # type: ignore[assignment]

SIZES = [(1, 1), (1, 40), (40, 1), (2, 3), (3, 3), (17, 5), (16, 20), (31, 21), (64, 65), (97, 203)]


@pytest.fixture(params=["compiled", "plain"])
def _each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "plain":
        monkeypatch.setattr(pixels, "_pixels", None)
    elif compiled is None:
        pytest.skip("this installation has no compiled passes")


each_way = pytest.mark.usefixtures("_each_way")


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def smooth(rows: int, columns: int, seed: int) -> NDArray[np.uint8]:
    """A picture as pictures are: neighbours are alike."""
    return np.asarray(cv2.GaussianBlur(noise(rows, columns, 3, seed=seed), (0, 0), 3), np.uint8)


@each_way
@pytest.mark.parametrize("size", SIZES)
def test_half_the_size_is_the_mean_of_four_rounded(size: tuple[int, int]) -> None:
    picture = noise(*size, 3)
    half = pixels.shrunk(picture, 2)

    rows, columns = (max(side // 2, 1) for side in size)
    assert half.shape == (rows, columns, 3)
    if min(size) > 1:
        wide = picture[: 2 * rows, : 2 * columns].astype(int)
        sums = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
        assert np.array_equal(half, (sums + 2) // 4)


@each_way
@pytest.mark.parametrize("size", SIZES)
def test_luma_is_that_of_pillow_to_a_level(size: tuple[int, int]) -> None:
    picture = noise(*size, 3)
    expected = np.asarray(Image.fromarray(picture).convert("L")).astype(int)

    assert np.abs(pixels.luma(picture).astype(int) - expected).max() <= 1


@each_way
def test_tones_are_those_of_all_pixels_in_the_rows() -> None:
    gray = smooth(97, 203, 1)[:, :, 0]
    lines = gray[::2]
    found = pixels.tones(gray, 2)
    share = np.bincount(lines.ravel(), minlength=256) / lines.size
    seen = share[share > 0]

    assert found.mean == pytest.approx(lines.mean() / 255)
    assert found.deviation == pytest.approx(lines.std() / 255)
    assert found.p05 == np.quantile(lines, 0.05, method="inverted_cdf") / 255
    assert found.p95 == np.quantile(lines, 0.95, method="inverted_cdf") / 255
    assert found.entropy == pytest.approx(-(seen * np.log2(seen)).sum())


@each_way
def test_one_tone_deviates_from_nothing_and_says_nothing() -> None:
    found = pixels.tones(np.full((50, 70), 77, np.uint8), 1)
    assert found == (77 / 255, 0.0, 77 / 255, 77 / 255, 0.0)


@each_way
def test_saturation_is_that_of_the_lit_pixels() -> None:
    picture = noise(40, 50, 3)
    lightest, darkest = picture.max(axis=2).astype(float), picture.min(axis=2)
    saturations = 255 * (lightest - darkest)[lightest > 90] / lightest[lightest > 90]
    lit, level = pixels.saturation(picture, 90)

    assert lit == len(saturations)
    assert level == pytest.approx(np.quantile(saturations, 0.05, method="inverted_cdf"), abs=0.51)
    assert pixels.saturation(np.zeros((4, 4, 3), np.uint8), 90) == (0, 0)


@each_way
@pytest.mark.parametrize("size", [size for size in SIZES if min(size) > 2])
def test_squares_are_of_all_pairs_of_neighbours(size: tuple[int, int]) -> None:
    gray = noise(*size)
    wide = gray.astype(int)
    expected = []
    for down, across in ((1, 0), (0, 1), (1, 1), (1, -1)):
        for step in (1, 2):
            there = {
                (row, column): (row + step * down, column + step * across)
                for row, column in np.ndindex(*size)
            }
            expected.append(
                sum(
                    (wide[here] - wide[other]) ** 2
                    for here, other in there.items()
                    if other[0] < size[0] and 0 <= other[1] < size[1]
                )
            )
    assert list(pixels.squares(gray)) == expected


@each_way
def test_edges_are_the_four_outer_lines() -> None:
    gray = np.full((6, 9), 100, np.uint8)
    gray[0, 4], gray[-1, 3], gray[2, 0], gray[4, -1], gray[3, 3] = 90, 105, 120, 0, 255

    assert list(pixels.edges(gray)) == [10, 5, 20, 100]


@each_way
@pytest.mark.parametrize("size", SIZES)
def test_a_projection_is_the_exact_product_of_three_matrices(size: tuple[int, int]) -> None:
    gray = noise(*size)
    generator = np.random.default_rng(2)
    of_rows, of_columns = (
        generator.integers(-20_000, 20_000, (side, 8), np.int32) for side in size
    )
    expected = of_rows.T.astype(int) @ gray.astype(int) @ of_columns.astype(int)

    assert pixels.project(gray, of_rows, of_columns) == expected.ravel().tolist()


@pytest.mark.skipif(compiled is None, reason="this installation has no compiled passes")
@pytest.mark.parametrize("seed", range(20))
def test_compiled_or_not_the_figures_are_equal(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = np.random.default_rng(seed).integers(3, 300, 2)
    picture = noise(rows, columns, 3, seed=seed) if seed % 2 else smooth(rows, columns, seed)
    gray = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)

    def figures() -> list[Any]:
        return [
            pixels.shrunk(picture, 2).tolist(),
            pixels.luma(picture).tolist(),
            pixels.tones(gray, 1 + seed % 3),
            pixels.saturation(picture, 51),
            list(pixels.squares(gray)),
            list(pixels.edges(gray)),
        ]

    fast = figures()
    monkeypatch.setattr(pixels, "_pixels", None)
    assert fast == figures()


@pytest.mark.skipif(compiled is None, reason="this installation has no compiled passes")
@pytest.mark.parametrize(
    "call",
    [
        lambda of: of.halve(noise(4, 4, 3), noise(2, 1, 3), 4),
        lambda of: of.halve(noise(4, 4, 3), noise(2, 2, 3), 0),
        lambda of: of.luma(noise(4, 4, 3), noise(4, 3)),
        lambda of: of.tones(noise(4, 4), 5, 1),
        lambda of: of.tones(noise(4, 4), 4, 0),
        lambda of: of.tones(noise(0, 4), 4, 1),
        lambda of: of.saturation(noise(4, 4), 51),
        lambda of: of.squares(noise(4, 4), -1),
        lambda of: of.edges(noise(0, 4), 4),
        lambda of: of.project(noise(4, 4), np.ones((4, 8), "i4"), np.ones((3, 8), "i4")),
    ],
)
def test_sizes_that_do_not_fit_are_refused(call: Callable[[Any], object]) -> None:
    with pytest.raises(ValueError, match=r"fit|step"):
        call(compiled)
