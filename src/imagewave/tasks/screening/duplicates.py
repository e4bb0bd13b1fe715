"""Near-duplicates: 64-bit hashes within a Hamming radius of each other, exactly, at a million.

Pigeonhole search (Norouzi, Punjani and Fleet, 2012, in its exact-match form): cut the 64 bits into
m blocks; two hashes that differ in at most r bits agree on at least m - r whole blocks. So for each
choice of m - r blocks, hashes that agree on them are candidates, and no pair is missed. Bits are
moved so that the chosen blocks come first and the hashes are sorted as numbers: candidates are then
neighbours, numpy's SIMD sort takes milliseconds per million, and no index has to be kept: the only
state is one sorted array of 8 bytes per distinct hash.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_BITS: Final = 64
_MOST_BLOCKS: Final = 12
_BLOCK_OF_WORK: Final = 2**20
"""Candidates compared at once: bounds memory to a few tens of MB."""

_LEADERS: Final = 64
_WORTHWHILE: Final = 4
"""Groups larger than this on average are cleared by their best first."""

# Nanoseconds per hash sorted and per candidate compared: their ratio matters, and only to speed.
_SORT_COST: Final = 16.0
_CANDIDATE_COST: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Hashes that lie close: `left[i]` and `right[i]` differ in `distance[i]` bits."""

    left: Hashes
    right: Hashes
    distance: NDArray[np.uint8]


class DuplicateIndex:
    """A set of 64-bit hashes that finds all that lie within a radius; identical ones count once."""

    def __init__(self, hashes: Iterable[int] | Hashes = ()) -> None:
        self._hashes = distinct(_array(hashes))

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, hashes: Iterable[int] | Hashes) -> None:
        """Add hashes; those already there change nothing."""
        self._hashes = distinct(np.concatenate([self._hashes, _array(hashes)]))

    def pairs_within(self, radius: int) -> Iterator[Pairs]:
        """Every pair of distinct stored hashes at most `radius` bits apart, once, in batches."""
        count = len(self._hashes)
        for blocks in _keys(radius, count * (count - 1) / 2, count):
            yield from _neighbours(self._hashes, blocks, radius)

    def query(self, hashes: Iterable[int] | Hashes, radius: int) -> Pairs:
        """Every (asked, stored) pair at most `radius` bits apart, the identical included.

        `left` holds the asked hashes, `right` the stored ones; sorted by both.
        """
        asked = distinct(_array(hashes))
        found = [
            pairs
            for blocks in _keys(radius, len(asked) * len(self._hashes), len(self._hashes))
            for pairs in _matches(asked, self._hashes, blocks, radius)
        ]
        left = np.concatenate([np.empty(0, np.uint64), *(pairs.left for pairs in found)])
        right = np.concatenate([np.empty(0, np.uint64), *(pairs.right for pairs in found)])
        distance = np.concatenate([np.empty(0, np.uint8), *(pairs.distance for pairs in found)])
        order = np.lexsort((right, left))
        return Pairs(left=left[order], right=right[order], distance=distance[order])


def group_duplicates(
    items: Sequence[tuple[str, int, float]],
    *,
    radius: int,
    history: Iterable[tuple[str, int]] = (),
) -> dict[str, str]:
    """Which item each item (id, hash, score) gives way to; the kept ones map to themselves.

    Items are taken by score, highest first, then by id, so the order they come in does not matter.
    An item is kept unless it lies within the radius of a better kept one, or of a hash in `history`
    (id, hash), which was kept before and gives way to nobody; it then maps to that id. So no two
    kept items are near-duplicates, and every dropped one is near the one it maps to (chains of
    lookalikes are not merged into one group). History under the id of an item is the item itself
    and is left out.
    """
    ranked = sorted(items, key=lambda item: (-item[2], item[0]))
    first: dict[int, str] = {}
    for name, value, _ in ranked:
        first.setdefault(value, name)
    keeper = _kept_before(first, history, {name for name, _, _ in items}, radius)
    order = {value: place for place, value in enumerate(first)}

    def settle(pairs: Iterable[Pairs]) -> None:
        for better, worse in _by_rank(pairs, order):
            if better not in keeper:
                keeper.setdefault(worse, first[better])

    undecided = [value for value in first if value not in keeper]
    while undecided:
        # Where lookalikes are many, pairs are too many to hold: let the best clear the field first.
        leaders, rest = undecided[:_LEADERS], undecided[_LEADERS:]
        settle([DuplicateIndex(undecided).query(leaders, radius)])
        undecided = [value for value in rest if value not in keeper]
        if len(rest) - len(undecided) < _WORTHWHILE * len(leaders):
            break
    settle(DuplicateIndex(undecided).pairs_within(radius))
    return {name: keeper.get(value, first[value]) for name, value, _ in items}


def _by_rank(pairs: Iterable[Pairs], order: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Each pair of distinct hashes as (better, worse), those of the best first."""
    edges = [
        (min(a, b), max(a, b))
        for batch in pairs
        for a, b in zip(
            [order[value] for value in batch.left.tolist()],
            [order[value] for value in batch.right.tolist()],
            strict=True,
        )
        if a != b
    ]
    values = list(order)
    for better, worse in sorted(edges):
        yield values[better], values[worse]


def _kept_before(
    values: Iterable[int], history: Iterable[tuple[str, int]], own: set[str], radius: int
) -> dict[int, str]:
    """For each hash near history, the nearest entry's id; the least id where two are as near."""
    names: dict[int, str] = {}
    for name, value in history:
        if name not in own:
            names[value] = min(name, names.get(value, name))
    near = DuplicateIndex(names).query(values, radius)
    best: dict[int, tuple[int, str]] = {}
    for asked, stored, distance in zip(
        near.left.tolist(), near.right.tolist(), near.distance.tolist(), strict=True
    ):
        candidate = (distance, names[stored])
        best[asked] = min(candidate, best.get(asked, candidate))
    return {value: name for value, (_, name) in best.items()}


def distinct(hashes: Hashes) -> Hashes:
    """Sorted, each once; several times as fast as `np.unique`, which hashes."""
    ordered = np.sort(hashes)
    keep = np.ones(len(ordered), np.bool_)
    keep[1:] = ordered[1:] != ordered[:-1]
    return np.asarray(ordered[keep], np.uint64)


def _array(hashes: Iterable[int] | Hashes) -> Hashes:
    if isinstance(hashes, np.ndarray):
        return hashes.astype(np.uint64, copy=False)
    return np.fromiter(hashes, np.uint64)


@dataclass(frozen=True, slots=True)
class _Move:
    """A run of bits, (value >> source) & mask, that goes to `target`."""

    source: np.uint64
    mask: np.uint64
    target: np.uint64


@dataclass(frozen=True, slots=True)
class _Key:
    """One choice of blocks: how to bring them to the top, and which bits the top is."""

    chosen: tuple[int, ...]
    masks: tuple[np.uint64, ...]
    moves: tuple[_Move, ...]
    top: np.uint64

    def apply(self, hashes: Hashes) -> Hashes:
        """The hashes with the chosen blocks' bits first; distances stay what they are."""
        moved = np.zeros_like(hashes)
        for move in self.moves:
            moved |= ((hashes >> move.source) & move.mask) << move.target
        return moved

    def undo(self, moved: Hashes) -> Hashes:
        """The hashes that `apply` was given."""
        hashes = np.zeros_like(moved)
        for move in self.moves:
            hashes |= ((moved >> move.target) & move.mask) << move.source
        return hashes

    def is_first_for(self, difference: Hashes) -> NDArray[np.bool_]:
        """Whether this is the first key that brings such a pair together, so it is told once."""
        first = np.ones(len(difference), np.bool_)
        for block, mask in enumerate(self.masks[: self.chosen[-1] + 1] if self.chosen else ()):
            first &= ((difference & mask) == 0) == (block in self.chosen)
        return first


def _keys(radius: int, pairs: float, sorted_each: int) -> Iterator[_Key]:
    """The cheapest set of keys that misses no pair; a key of no bits compares everything.

    pairs: how many pairs there are at all. sorted_each: how many hashes each key sorts.
    """
    if radius < 0:
        raise ValueError(f"a Hamming radius is not negative: {radius}")
    best, blocks = pairs * _CANDIDATE_COST, radius
    for count in range(radius + 1, _MOST_BLOCKS + 1):
        agreeing = 2.0 ** (_BITS * (count - radius) / count)
        cost = comb(count, radius) * (sorted_each * _SORT_COST + pairs / agreeing * _CANDIDATE_COST)
        if cost < best:
            best, blocks = cost, count
    if blocks == radius:
        yield _Key((), (), (_Move(np.uint64(0), ~np.uint64(0), np.uint64(0)),), np.uint64(0))
        return
    bounds = [_BITS * block // blocks for block in range(blocks + 1)]
    masks = tuple(np.uint64((1 << high) - (1 << low)) for low, high in pairwise(bounds))
    for chosen in combinations(range(blocks), blocks - radius):
        bits = sum(bounds[block + 1] - bounds[block] for block in chosen)
        top = np.uint64((1 << _BITS) - (1 << (_BITS - bits)))
        yield _Key(chosen, masks, _moves(bounds, chosen), top)


def _moves(bounds: Sequence[int], chosen: tuple[int, ...]) -> tuple[_Move, ...]:
    """Fill the word from the lowest bit up: first the other blocks, then the chosen ones."""
    others = [block for block in range(len(bounds) - 1) if block not in chosen]
    runs: list[list[int]] = []
    for block in (*others, *chosen):
        if runs and runs[-1][1] == bounds[block]:
            runs[-1][1] = bounds[block + 1]
        else:
            runs.append([bounds[block], bounds[block + 1]])
    moves = []
    target = 0
    for low, high in runs:
        moves.append(_Move(np.uint64(low), np.uint64((1 << (high - low)) - 1), np.uint64(target)))
        target += high - low
    return tuple(moves)


def _neighbours(hashes: Hashes, key: _Key, radius: int) -> Iterator[Pairs]:
    """The close pairs among distinct hashes that this key is the first to bring together."""
    moved = np.sort(key.apply(hashes))
    top = moved & key.top
    # Hashes of one bucket are neighbours: compare each with the next, the one after, and so on,
    # until no bucket reaches that far.
    active = np.arange(len(moved))
    step = 1
    while True:
        active = active[: np.searchsorted(active, len(moved) - step)]
        active = active[top[active] == top[active + step]]
        if not len(active):
            return
        yield from _close(key, moved[active], moved[active + step], radius)
        step += 1


def _matches(asked: Hashes, stored: Hashes, key: _Key, radius: int) -> Iterator[Pairs]:
    """The close (asked, stored) pairs that this key is the first to bring together."""
    moved = np.sort(key.apply(stored))
    wanted = key.apply(asked)
    start = np.searchsorted(moved, wanted & key.top, side="left")
    count = np.searchsorted(moved, wanted | ~key.top, side="right") - start
    batch = np.cumsum(count) // _BLOCK_OF_WORK
    for part in np.split(np.arange(len(asked)), np.flatnonzero(np.diff(batch)) + 1):
        each = count[part]
        left = np.repeat(wanted[part], each)
        first_of_each = np.cumsum(each) - each
        position = np.arange(len(left)) + np.repeat(start[part] - first_of_each, each)
        yield from _close(key, left, moved[position], radius)


def _close(key: _Key, left: Hashes, right: Hashes, radius: int) -> Iterator[Pairs]:
    """Those candidates, given with their bits moved, that are within the radius."""
    distance = np.bitwise_count(left ^ right)
    near = np.flatnonzero(distance <= radius)
    if not len(near):
        return
    left, right, distance = key.undo(left[near]), key.undo(right[near]), distance[near]
    first = key.is_first_for(left ^ right)
    yield Pairs(left=left[first], right=right[first], distance=distance[first])
