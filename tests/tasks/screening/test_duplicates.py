"""Near-duplicates are found exactly, and which one is kept depends on nothing but the items."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagewave.tasks.screening import duplicates
from imagewave.tasks.screening.duplicates import DuplicateIndex, Pairs, group_duplicates

pytestmark = pytest.mark.heavy

WORD = st.integers(0, 2**64 - 1)


def lookalikes(count: int, seed: int) -> list[int]:
    """Hashes of which many differ from another in 0 to 12 bits, and the two extremes."""
    source = random.Random(seed)
    found = [0, 2**64 - 1]
    while len(found) < count:
        value = source.choice(found) if source.random() < 0.6 else source.getrandbits(64)
        for bit in source.sample(range(64), source.randrange(13)):
            value ^= 1 << bit
        found.append(value)
    return found


def told(batches: list[Pairs]) -> list[tuple[int, int, int]]:
    return [
        (min(a, b), max(a, b), distance)
        for pairs in batches
        for a, b, distance in zip(
            pairs.left.tolist(), pairs.right.tolist(), pairs.distance.tolist(), strict=True
        )
    ]


@pytest.fixture(params=["by blocks", "blindly"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few hashes are compared blindly, many by blocks: force each on the same hashes."""
    cost = 1e9 if request.param == "by blocks" else 0.0
    monkeypatch.setattr(duplicates, "_CANDIDATE_COST", cost)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("radius", [0, 1, 2, 5, 6, 7, 8, 11])
def test_every_pair_within_the_radius_is_told_once(radius: int) -> None:
    hashes = lookalikes(400, seed=radius)
    distinct = sorted(set(hashes))

    pairs = told(list(DuplicateIndex(hashes).pairs_within(radius)))

    assert sorted(pairs) == [
        (a, b, (a ^ b).bit_count())
        for a in distinct
        for b in distinct
        if a < b and (a ^ b).bit_count() <= radius
    ]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("radius", [0, 3, 6, 8, 64])
def test_a_query_tells_every_stored_hash_within_the_radius_once(radius: int) -> None:
    hashes = lookalikes(300, seed=radius)
    stored, asked = hashes[:200], hashes[150:]

    pairs = DuplicateIndex(stored).query(asked, radius)

    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == [
        (a, b)
        for a in sorted(set(asked))
        for b in sorted(set(stored))
        if (a ^ b).bit_count() <= radius
    ]
    assert np.array_equal(pairs.distance, np.bitwise_count(pairs.left ^ pairs.right))


def test_at_the_size_where_blocks_are_chosen_by_cost_nothing_is_missed() -> None:
    generator = np.random.default_rng(5)
    hashes = generator.integers(0, 2**64, 60_000, np.uint64)
    planted = []
    for place, bits in enumerate([1, 2, 3, 4, 5, 6, 7, 8] * 25):
        flips = sum(1 << int(bit) for bit in generator.choice(64, bits, replace=False))
        hashes[30_000 + place] = hashes[place] ^ np.uint64(flips)
        planted.append((int(hashes[place]), int(hashes[30_000 + place]), bits))
    index = DuplicateIndex(hashes)

    for radius in (2, 6, 8):
        pairs = told(list(index.pairs_within(radius)))
        assert {(min(a, b), max(a, b), d) for a, b, d in planted if d <= radius} <= set(pairs)
        # Chance may add a pair at radius 8, but neither a false one nor one twice.
        assert all((a ^ b).bit_count() == d <= radius for a, b, d in pairs)
        assert len(pairs) == len(set(pairs))
        found = index.query([a for a, _, _ in planted], radius)
        assert {(a, b) for a, b, d in planted if d <= radius} <= set(
            zip(found.left.tolist(), found.right.tolist(), strict=True)
        )


def test_adding_is_as_starting_with_all() -> None:
    hashes = lookalikes(200, seed=1)
    index = DuplicateIndex(hashes[:50])
    index.add(hashes[30:])
    index.add(np.array(hashes[:10], np.uint64))

    assert len(index) == len(set(hashes))
    assert sorted(told(list(index.pairs_within(6)))) == sorted(
        told(list(DuplicateIndex(hashes).pairs_within(6)))
    )


def test_an_empty_index_answers() -> None:
    assert not list(DuplicateIndex().pairs_within(6))
    assert len(DuplicateIndex().query([1, 2], 6).left) == 0
    assert len(DuplicateIndex([1]).query([], 6).left) == 0


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        list(DuplicateIndex([1, 2]).pairs_within(-1))


Item = tuple[str, int, float]


def greedy(items: list[Item], radius: int, history: list[tuple[str, int]]) -> dict[str, str]:
    """The rule as it is told, comparing everything with everything."""
    kept: list[tuple[str, int]] = []
    found = {}
    for name, value, _ in sorted(items, key=lambda item: (-item[2], item[0])):
        before = sorted(
            ((value ^ other).bit_count(), past)
            for past, other in history
            if (value ^ other).bit_count() <= radius
        )
        near = [past for past, other in kept if (value ^ other).bit_count() <= radius]
        found[name] = before[0][1] if before else near[0] if near else name
        if found[name] == name:
            kept.append((name, value))
    return found


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 160),
    radius=st.integers(0, 8),
    past=st.integers(0, 12),
    scores=st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=1, max_size=7),
)
def test_groups_follow_the_rule(
    seed: int, count: int, radius: int, past: int, scores: list[float]
) -> None:
    hashes = lookalikes(count + past + 2, seed)
    items = [(f"i{n}", value, scores[n % len(scores)]) for n, value in enumerate(hashes[:count])]
    history = [(f"h{n}", value) for n, value in enumerate(hashes[count : count + past])]

    found = group_duplicates(items, radius=radius, history=history)

    assert found == greedy(items, radius, history)
    random.Random(seed).shuffle(items)
    random.Random(seed).shuffle(history)
    assert group_duplicates(items, radius=radius, history=history) == found


def test_the_best_of_lookalikes_is_kept_and_ties_go_to_the_lesser_id() -> None:
    items = [("c", 0b1, 0.5), ("b", 0b11, 0.9), ("a", 0b0, 0.9), ("far", 2**64 - 1, 0.0)]

    assert group_duplicates(items, radius=2) == {"a": "a", "b": "a", "c": "a", "far": "far"}


def test_chains_are_not_merged() -> None:
    """The first and the last of a chain are not alike, so both are kept."""
    items = [("a", 0b0, 0.9), ("b", 0b111, 0.8), ("c", 0b111111, 0.7)]

    assert group_duplicates(items, radius=3) == {"a": "a", "b": "a", "c": "c"}


def test_what_was_kept_before_gives_way_to_nobody() -> None:
    items = [("new", 0b1, 1.0), ("other", 0b11, 0.9)]
    history = [("z", 0b0), ("y", 0b0), ("farther", 0b10)]

    assert group_duplicates(items, radius=1, history=history) == {"new": "y", "other": "farther"}


def test_an_item_is_no_duplicate_of_its_own_past() -> None:
    items = [("a", 5, 0.1), ("b", 5, 0.9)]

    assert group_duplicates(items, radius=2, history=[("a", 5)]) == {"a": "b", "b": "b"}


def test_a_wave_of_one_picture_leaves_one() -> None:
    blank = [(f"i{n:05}", 0, 0.0) for n in range(20_000)]
    assert set(group_duplicates(blank, radius=6).values()) == {"i00000"}

    source = random.Random(3)
    near = [
        (f"i{n}", 1 << source.randrange(64) | 1 << source.randrange(64), n) for n in range(5000)
    ]
    assert len(set(group_duplicates(near, radius=6).values())) == 1
