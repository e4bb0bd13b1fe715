"""Ids of briefs, and the names of the folders that are made from them."""

import pytest

from imagewave.storage.waves.briefs import folders, id_problem, same_folder, slug


@pytest.mark.parametrize("id", ["a", "SKU-00001", "Катя", "春の庭", "a b", "../x", "0" * 200, "~"])
def test_ids_are_kept_as_they_are(id: str) -> None:
    assert id_problem(id) is None


@pytest.mark.parametrize("id", ["", "  ", "x" * 201])
def test_ids_that_are_none(id: str) -> None:
    problem = id_problem(id)
    assert problem is not None
    assert len("".join(problem)) < 300


def test_a_long_id_is_shown_cut() -> None:
    message, fix = id_problem("x" * 300) or ("", "")
    assert "300 characters" in message
    assert "x" * 41 not in message
    assert f"{'x' * 48!r}" in fix


@pytest.mark.parametrize(
    ("id", "folder"),
    [
        ("a", "a"),
        ("sku-12.3_b", "sku-12.3_b"),
        ("0" * 64, "0" * 64),
        ("SKU-00001", "sku-00001"),
        ("Катя", "katia"),
        ("Müller & Söhne", "muller-sohne"),
        ("posts/spring", "posts-spring"),
        ("../../etc/passwd", "etc-passwd"),
        ("a..b", "a-b"),
        ("春", "chun"),
    ],
)
def test_a_folder_is_named_as_the_id_or_as_it_sounds(id: str, folder: str) -> None:
    assert folders([id]) == {id: folder}


def test_every_id_has_a_folder_of_its_own_whatever_the_order() -> None:
    ids = ["sku-1", "SKU-1", "Sku 1", "\N{TULIP}", "!!", "\u6625", "\u693f", "w" * 90, "w" * 99]
    found = folders(ids)
    assert found["sku-1"] == "sku-1"
    assert len(set(found.values())) == len(ids)
    assert all(len(name) <= 64 and name.isascii() and "/" not in name for name in found.values())
    assert found["\N{TULIP}"].startswith("brief-")
    assert folders(reversed(ids)) == found
    assert same_folder(ids) == [
        ["sku-1", "SKU-1", "Sku 1"],
        ["\u6625", "\u693f"],
        ["w" * 90, "w" * 99],
    ]


def test_slugs_are_ascii_words() -> None:
    assert slug("A red bicycle, in Rain!") == "a-red-bicycle-in-rain"
    assert slug("Tulpen für Ostern") == "tulpen-fur-ostern"
    assert slug("!!") == ""
    assert len(slug("w " * 200)) <= 48
