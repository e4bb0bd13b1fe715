"""The default thresholds catch known harm in real photographs and leave the photographs alone."""

from collections import defaultdict

import pytest
from tests.tasks.screening import labelled

from imagewave.storage.waves.wave import Screen
from imagewave.tasks.screening.checks import check
from imagewave.tasks.screening.duplicates import DuplicateIndex
from imagewave.tasks.screening.metrics import measure

pytestmark = pytest.mark.slow

HARD = {
    "cell": "blur",  # through a microscope, out of focus
    "retina": "cast",  # lit through the pupil, all of it orange
}
"""Photographs that do have the fault, unharmed."""

FLOOR = {
    "dark": 1.0,
    "bright": 1.0,
    "contrast": 0.9,
    "blur": 0.85,
    "border": 0.9,
    "cast": 0.65,
}
"""The least recall over all harms of a kind; motion blur and half-strength tints are the misses."""


def failed(data: bytes) -> set[str]:
    found = measure(data, max_pixels=10_000_000)
    return {verdict.check for verdict in check(found, Screen()) if not verdict.passed}


@pytest.fixture(scope="module")
def sources() -> dict[str, labelled.Picture]:
    return {**labelled.photographs(), **labelled.product_shots(), **labelled.drawn(4)}


def test_good_pictures_pass(sources: dict[str, labelled.Picture]) -> None:
    for number, (name, picture) in enumerate(sources.items()):
        for harm, change in labelled.CLEAN.items():
            encode = labelled.jpeg if number % 2 else labelled.png
            assert failed(encode(change(picture))) <= {HARD.get(name)}, (name, harm)


def test_harmed_pictures_fail_the_check_of_that_name(
    sources: dict[str, labelled.Picture],
) -> None:
    caught: dict[str, list[bool]] = defaultdict(list)
    for picture in sources.values():
        for fault, harms in labelled.HARMS.items():
            for change in harms.values():
                caught[fault].append(fault in failed(labelled.jpeg(change(picture))))

    recall = {fault: sum(hits) / len(hits) for fault, hits in caught.items()}
    assert {fault: share for fault, share in recall.items() if share < FLOOR[fault]} == {}


def test_copies_are_near_duplicates_and_strangers_are_not(
    sources: dict[str, labelled.Picture],
) -> None:
    radius = Screen().duplicate_distance

    def hash_of(picture: labelled.Picture) -> int:
        found = measure(labelled.jpeg(picture), max_pixels=10_000_000).phash
        assert found is not None
        return found

    originals = {name: hash_of(picture) for name, picture in sources.items()}
    strangers = [value for name, value in originals.items() if name != "motorcycle_right"]
    assert not list(DuplicateIndex(strangers).pairs_within(radius))

    for copy in ("JPEG q50", "half size", "contrast x 0.8", "noise 6", "blur 2"):
        near = [
            (originals[name] ^ hash_of(labelled.COPIES[copy](picture))).bit_count() <= radius
            for name, picture in sources.items()
        ]
        assert sum(near) >= 0.9 * len(near), copy
