"""The index on disk finds every near pair, in whatever pieces its hashes came."""

import multiprocessing
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from tests.tasks.screening.test_duplicates import lookalikes

from imagewave.tasks.screening import _hamming, hash_index
from imagewave.tasks.screening.duplicates import Hashes
from imagewave.tasks.screening.hash_index import HashIndex


def array(hashes: Iterable[int]) -> Hashes:
    return np.fromiter(hashes, np.uint64)


def pairs(index: HashIndex, asked: list[int], radius: int) -> list[tuple[int, int, int]]:
    found = index.query(array(asked), radius)
    return list(
        zip(found.left.tolist(), found.right.tolist(), found.distance.tolist(), strict=True)
    )


def filled(folder: Path, sources: dict[str, list[int]]) -> HashIndex:
    index = HashIndex(folder)
    index.update(
        frozenset(sources),
        lambda names: array(hash for name in names for hash in sources[name]),
    )
    return index


@pytest.fixture(params=["compiled", "numpy"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the part in C, and as installed without a compiler."""
    if request.param == "numpy":
        monkeypatch.setattr(hash_index, "near", None)
    else:
        assert vars(hash_index)["near"] is not None, "the part in C was not built"


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("radius", [0, 1, 6, 7, 8])
def test_every_pair_within_the_radius_is_found_once(tmp_path: Path, radius: int) -> None:
    stored, asked = lookalikes(600, seed=radius), lookalikes(600, seed=radius)[::3]
    asked += [random.Random(radius).getrandbits(64) for _ in range(50)]
    index = filled(tmp_path, {"a": stored[:100], "b": stored[50:400], "c": stored[400:]})
    assert pairs(index, asked, radius) == [
        (a, b, (a ^ b).bit_count())
        for a in sorted(set(asked))
        for b in sorted(set(stored))
        if (a ^ b).bit_count() <= radius
    ]


def test_only_new_sources_are_read(tmp_path: Path) -> None:
    filled(tmp_path, {"a": [1], "b": [2]})
    read: list[list[str]] = []

    def new(names: list[str]) -> Hashes:
        read.append(names)
        return array([1, 2, 3])

    # As after a merge: a and b are in "merged" now, with one more.
    index = HashIndex(tmp_path)
    for _ in range(2):
        index.update(frozenset({"merged"}), new)
    assert read == [["merged"]]
    assert len(index) == 3
    assert pairs(HashIndex(tmp_path), [3], 0) == [(3, 3, 0)]


def test_many_small_shards_become_few(tmp_path: Path) -> None:
    hashes = [random.Random(1).getrandbits(64) + number for number in range(64)]
    sources: dict[str, list[int]] = {}
    for number, hash in enumerate(hashes):
        sources[str(number)] = [hash]
        filled(tmp_path, sources)
    assert len(HashIndex(tmp_path)) == 64
    assert len(list(tmp_path.glob("*.shard"))) < 8
    assert {stored for _, stored, _ in pairs(HashIndex(tmp_path), hashes, 0)} == set(hashes)


@pytest.mark.parametrize("damage", ["cut", "removed", "nonsense"])
def test_an_index_that_is_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    filled(tmp_path, {"a": [1, 2, 3]})
    [shard] = tmp_path.glob("*.shard")
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "removed":
        shard.unlink()
    else:
        (tmp_path / "index.json").write_text("[]")
    index = filled(tmp_path, {"a": [1, 2, 3]})
    assert pairs(index, [2], 0) == [(2, 2, 0)]


def test_buckets_that_do_not_fit_are_refused() -> None:
    stored, starts = np.zeros(4, np.uint64), np.zeros(2**16 + 1, np.uint32)
    starts[-1] = 5
    with pytest.raises(ValueError, match="do not fit"):
        _hamming.near(stored, starts, 0, stored, 0, 2**16, 6)
    with pytest.raises(ValueError, match="do not fit"):
        _hamming.near(stored, starts[:-1], 0, stored, 0, 2**16, 6)


def _add(folder: Path, number: int) -> None:
    filled(folder, {f"{number}-{other}": [100 * number + other] for other in range(10)})


def test_processes_that_add_at_once_keep_the_index_whole(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(_add, [(tmp_path, number) for number in range(8)])
    every = {
        f"{number}-{other}": [100 * number + other] for number in range(8) for other in range(10)
    }
    hashes = [hash for [hash] in every.values()]
    index = filled(tmp_path, every)
    assert [stored for _, stored, _ in pairs(index, hashes, 0)] == sorted(hashes)
