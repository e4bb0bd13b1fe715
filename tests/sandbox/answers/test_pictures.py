"""Pictures: the same for the same recipe, clearly different for others, heavy like photographs."""

import io
from itertools import combinations

import imagehash
import pytest
from PIL import Image

from imagewave.sandbox.answers.damage import near_duplicate, pad_jpeg, spoil_bytes
from imagewave.sandbox.answers.pictures import Picture, Recipe, decode, draw, encode
from imagewave.sandbox.core.defects import Defect


def _draw(prompt: str, **changes: object) -> Picture:
    fields = {"model": "m", "prompt": prompt, "nonce": "", "width": 512, "height": 288}
    return draw(Recipe(**{**fields, **changes}))  # type: ignore[arg-type]


def _distance(one: Picture, other: Picture) -> int:
    one_hash, other_hash = (
        imagehash.phash(Image.open(io.BytesIO(encode(picture)))) for picture in (one, other)
    )
    return int(one_hash - other_hash)


def test_a_recipe_gives_the_same_bytes_every_time() -> None:
    assert encode(_draw("a pear")) == encode(_draw("a pear"))


@pytest.mark.parametrize("change", [{"model": "n"}, {"nonce": "7"}, {"references": (b"x",)}])
def test_any_change_of_the_recipe_changes_the_picture(change: dict[str, object]) -> None:
    assert _distance(_draw("a pear"), _draw("a pear", **change)) > 6


def test_prompts_give_clearly_different_pictures() -> None:
    pictures = [_draw(f"prompt {i}", width=172, height=96) for i in range(40)]
    assert min(_distance(a, b) for a, b in combinations(pictures, 2)) > 6


def test_a_picture_compresses_like_a_photograph() -> None:
    sizes = [len(encode(_draw(f"p{i}", width=1024, height=1024))) for i in range(4)]
    assert all(200_000 < size < 450_000 for size in sizes), sizes


def test_a_reference_shapes_the_picture_at_any_size() -> None:
    draft = _draw("a pear")
    final = _draw("a pear", model="pro", width=1024, height=576, references=(encode(draft),))
    assert final.shape == (576, 1024, 3)
    assert _distance(draft, final) <= 6
    assert _distance(_draw("another"), final) > 6


def test_near_duplicates_look_alike_and_differ_in_bytes() -> None:
    picture = _draw("a pear")
    twin = near_duplicate(picture)
    assert twin != encode(picture)
    decoded = decode(twin)
    assert decoded is not None
    assert _distance(picture, decoded) <= 4


def test_padding_makes_a_long_file_of_the_same_picture() -> None:
    data = encode(_draw("a pear"))
    padded = pad_jpeg(data, 3_000_000)
    assert len(padded) >= 3_000_000
    assert Image.open(io.BytesIO(padded)).tobytes() == Image.open(io.BytesIO(data)).tobytes()


def test_a_bomb_is_small_and_unfolds_to_half_a_gigapixel() -> None:
    data = spoil_bytes(b"", Defect.BOMB)
    assert len(data) < 200_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))
