"""An index of 64-bit hashes on disk that finds near ones exactly, among a hundred million of them.

Two hashes that differ in at most 7 bits differ in at most one bit of at least one of their four
bands of 16 bits (pigeonhole; Norouzi, Punjani and Fleet, 2012). A shard holds its hashes four
times, in the order of each band, so that the candidates for an asked hash are 17 short runs per
band. Shards are files that never change: new hashes make new shards, and small ones are merged.

    <folder>/index.json        the shards that count, and the sources whose hashes are in them
    <folder>/<id>.shard        four times: where each bucket starts, then the hashes in that order

The index is a cache: whoever deletes its folder loses nothing but time.
"""

import fcntl
import json
import mmap
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from imagewave.storage.files.protocol import Buffer
from imagewave.tasks.screening.duplicates import DuplicateIndex, Hashes, Pairs, distinct

try:
    from imagewave.tasks.screening._hamming import near
except ImportError:  # installed without a C compiler
    near = None  # type: ignore[assignment]

compiled: Final = near is not None
"""Whether the search runs as `_hamming.c`."""

MOST_BITS: Final = 7
"""The largest radius for which four bands of 16 bits miss no pair."""

_BANDS: Final = 4
_BAND_BITS: Final = 16
_BUCKETS: Final = 2**_BAND_BITS
_STARTS: Final = _BUCKETS + 1
_STARTS_BYTES: Final = -(-4 * _STARTS // mmap.PAGESIZE) * mmap.PAGESIZE
_NO_PAIRS: Final = np.empty((0, 2), np.uint64)
_UNFINISHED: Final = ".tmp-"
_STRETCH: Final = 2**22
"""About so many hashes are looked at before the pages they lie on are given back: 32 MB."""

SHARD: Final = 2**23
"""The most hashes in one shard: building it takes about 300 MB."""

_ALIKE: Final = 4
"""So many shards of about one size are merged into one."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """What index.json says: the number of hashes of each shard, and the sources taken in."""

    shards: Mapping[str, int]
    sources: frozenset[str]


class HashIndex:
    """The index in a folder. Any number of processes may use it at once.

    Every method raises OSError where the folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contents = self._read()

    def __len__(self) -> int:
        return sum(self._contents.shards.values())

    def update(self, sources: frozenset[str], read: Callable[[list[str]], Hashes]) -> None:
        """Takes in those of the sources that are new, whose hashes `read` returns.

        A source that is no longer among them was merged into another: its hashes stay.
        """
        if sources <= self._contents.sources:
            return
        with self._alone():
            self._contents = self._read()
            shards = dict(self._contents.shards)
            fresh = distinct(read(sorted(sources - self._contents.sources)))
            for name in shards:
                fresh = fresh[~self._holds(name, fresh)]
            for start in range(0, len(fresh), SHARD):
                part = fresh[start : start + SHARD]
                shards[self._write(part)] = len(part)
            while group := _alike(shards):
                merged = np.sort(np.concatenate([self._hashes(name) for name in group]))
                for name in group:
                    del shards[name]
                shards[self._write(merged)] = len(merged)
            self._contents = _Contents(shards, sources)
            content = {"shards": shards, "sources": sorted(sources)}
            self._put("index.json", [json.dumps(content).encode()])
            # What counts no more, and what a process that was killed has left.
            for file in self._folder.iterdir():
                if file.suffix == ".shard" and file.stem not in shards:
                    file.unlink()

    def query(self, asked: Hashes, radius: int) -> Pairs:
        """Every (asked, stored) pair at most `radius` bits apart, the identical included.

        `left` holds the asked hashes, `right` the stored ones; sorted by both.
        """
        asked = distinct(asked)
        while True:
            try:
                found = [self._near(name, asked, radius) for name in self._contents.shards]
                break
            except FileNotFoundError:  # merged by another process meanwhile
                self._contents = self._read()
        pairs = np.unique(np.concatenate([_NO_PAIRS, *found]), axis=0)
        left, right = pairs[:, 0], pairs[:, 1]
        return Pairs(left=left, right=right, distance=np.bitwise_count(left ^ right))

    def _near(self, name: str, asked: Hashes, radius: int) -> Hashes:
        """The near pairs in one shard, one in each row."""
        if near is None or radius > MOST_BITS:
            pairs = DuplicateIndex(self._hashes(name)).query(asked, radius)
            return np.stack([pairs.left, pairs.right], axis=1)
        found = [_NO_PAIRS]
        with self._mapped(name) as (file, count):
            stretch = min(_BUCKETS, _BUCKETS * _STRETCH // count)
            for band in range(_BANDS):
                begin = _begin(band, count)
                starts = np.frombuffer(file, np.uint32, _STARTS, begin)
                stored = np.frombuffer(file, np.uint64, count, begin + _STARTS_BYTES)
                for first in range(0, _BUCKETS, stretch):
                    last = min(_BUCKETS, first + stretch)
                    told = near(stored, starts, band, asked, first, last, radius)
                    found.append(np.frombuffer(told, np.uint64).reshape(-1, 2))
                    # Pages that were looked at count as this process's memory until given back.
                    _give_back(file, begin + _STARTS_BYTES, starts[first], starts[last])
                del starts, stored
        return np.concatenate(found)

    def _read(self) -> _Contents:
        try:
            content = json.loads((self._folder / "index.json").read_bytes())
            shards = {str(name): int(count) for name, count in content["shards"].items()}
            sources = frozenset(map(str, content["sources"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return _Contents({}, frozenset())
        # A cache that lost a part is as good as none: it is made again.
        for name, count in shards.items():
            if not name.isalnum() or _size(self._path(name)) != _begin(_BANDS, count):
                return _Contents({}, frozenset())
        return _Contents(shards, sources)

    def _write(self, hashes: Hashes) -> str:
        """Writes a shard of distinct hashes; returns its name."""

        def bands() -> Iterator[Buffer]:
            for band in range(_BANDS):
                keys = (hashes >> np.uint64(_BAND_BITS * band)).astype(np.uint16)
                starts = np.zeros(_STARTS, np.uint32)
                np.cumsum(np.bincount(keys, minlength=_BUCKETS), out=starts[1:])
                yield starts.tobytes().ljust(_STARTS_BYTES, b"\0")
                yield hashes[np.argsort(keys, kind="stable")].data

        name = secrets.token_hex(8)
        self._put(f"{name}.shard", bands())
        return name

    def _put(self, name: str, pieces: Iterable[Buffer]) -> None:
        temporary = self._folder / f"{_UNFINISHED}{name}"
        with temporary.open("wb") as stream:
            for piece in pieces:
                stream.write(piece)
        os.replace(temporary, self._folder / name)

    def _holds(self, name: str, asked: Hashes) -> NDArray[np.bool_]:
        """Which of the hashes are in a shard."""
        with self._mapped(name) as (file, count):
            # Only the pages that a search passes are read, not the whole shard.
            begin = _begin(_BANDS - 1, count) + _STARTS_BYTES
            stored = np.frombuffer(file, np.uint64, count, begin)
            place = np.minimum(np.searchsorted(stored, asked), count - 1)
            held = np.asarray(stored[place] == asked)
            del stored
        return held

    def _hashes(self, name: str) -> Hashes:
        """The hashes of a shard, sorted: they are in the order of their highest bits, too."""
        with self._mapped(name) as (file, count):
            begin = _begin(_BANDS - 1, count) + _STARTS_BYTES
            return np.frombuffer(file, np.uint64, count, begin).copy()

    @contextmanager
    def _mapped(self, name: str) -> Iterator[tuple[mmap.mmap, int]]:
        with (
            self._path(name).open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as file,
        ):
            yield file, (len(file) // _BANDS - _STARTS_BYTES) // 8

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other processes from changing the index during the block."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.shard"


def _begin(band: int, count: int) -> int:
    """Where a band begins in a shard of so many hashes; for one band too many, the shard's size."""
    return band * (_STARTS_BYTES + 8 * count)


def _give_back(file: mmap.mmap, begin: int, first: int, last: int) -> None:
    """Lets go of the whole pages that the hashes from `first` to `last` lie on."""
    start = -(-(begin + 8 * int(first)) // mmap.PAGESIZE) * mmap.PAGESIZE
    length = begin + 8 * int(last) - start
    if length >= mmap.PAGESIZE:
        file.madvise(mmap.MADV_DONTNEED, start, length // mmap.PAGESIZE * mmap.PAGESIZE)


def _alike(shards: Mapping[str, int]) -> list[str]:
    """Some shards of about one size that may be one; empty if there are not enough."""
    by_size: dict[int, list[str]] = {}
    for name, count in shards.items():
        by_size.setdefault(max(0, count.bit_length() - 10) // 2, []).append(name)
    for names in by_size.values():
        group = names[:_ALIKE]
        if len(group) == _ALIKE and sum(shards[name] for name in group) <= SHARD:
            return group
    return []


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return -1
