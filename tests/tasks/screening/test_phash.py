"""The hash is ImageHash's, to within four bits."""

import io

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image
from tests.tasks.screening import labelled

from imagewave.storage.images import phash_text, read_phash
from imagewave.tasks.screening.metrics import measure
from imagewave.tasks.screening.phash import phash

pytestmark = pytest.mark.heavy


@pytest.mark.slow
def test_it_is_within_four_bits_of_imagehash_on_photographs_of_every_shape() -> None:
    distances = []
    for picture in labelled.photographs().values():
        for size in ((1024, 1024), (1344, 768), (768, 1344), (2048, 1536), (600, 400), (90, 90)):
            shaped = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
            for data in (labelled.png(shaped), labelled.jpeg(shaped)):
                ours = measure(data, max_pixels=10_000_000).phash
                assert ours is not None
                with Image.open(io.BytesIO(data)) as image:
                    theirs = read_phash(str(imagehash.phash(image)))
                distances.append((ours ^ theirs).bit_count())

    assert max(distances) <= 4
    assert distances.count(0) > 0.75 * len(distances)


def test_its_text_is_imagehash_s_text() -> None:
    picture = labelled.photographs()["chelsea"]
    gray = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)

    text = phash_text(phash(gray))

    assert text == str(imagehash.phash(Image.fromarray(picture)))
    assert phash_text(1) == "0000000000000001"
    assert read_phash(phash_text(2**64 - 1)) == 2**64 - 1


def test_different_photographs_are_far_apart() -> None:
    hashes = {
        name: phash(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8))
        for name, picture in labelled.photographs().items()
        if name != "motorcycle_right"  # the other eye of a stereo pair
    }
    pairs = [(a ^ b).bit_count() for a in hashes.values() for b in hashes.values() if a != b]
    assert min(pairs) > 12
