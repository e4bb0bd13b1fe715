"""Work that several processes share: shards are offered in the store, claimed, renewed and done.

    shares/<work>/<shard>/offer.json     what there is to do
    shares/<work>/<shard>/1.json, 2.json and on: claims; the newest holds the shard
    shares/<work>/<shard>/2.freed.json   that claim was given back
    shares/<work>/<shard>/done.json      who did it

Each is written once, by put-if-absent, and one listing tells everything. A holder renews by
claiming on top of its own claim. A claim that nobody has renewed for a lease is anybody's, as is at
once that of a process which this machine knows to be dead. No clocks are compared: everybody
measures for how long it has itself seen no newer claim.

A lease is no lock: a process that was frozen may still work on what another has taken over. So only
work that does no harm when it is done twice may be shared.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import orjson

from imagewave.storage.files.protocol import StoreError
from imagewave.storage.jobs.folder import Claimer, Signature
from imagewave.storage.records import read_record
from imagewave.storage.store import Store

LEASE_S = 60.0
"""Seconds without a newer claim after which a shard may be taken over."""

_RENEWALS = 4
"""Renewals in the time of a lease: some may fail."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A shard that is this process's to do: what was offered, and the number of its claim."""

    shard: str
    offer: Mapping[str, object]
    claim: int


@dataclass(slots=True)
class _Seen:
    """A shard as it was listed last; `since` is when its newest claim was first seen."""

    newest: int = 0
    since: float = 0.0
    offered: bool = False
    freed: bool = False
    done: bool = False


class Shares:
    """One process's part in a piece of work that others share.

    `lease_s` must be the same for all of them. Any number of threads may use it.
    """

    def __init__(self, store: Store, work: str, *, lease_s: float = LEASE_S) -> None:
        self._store = store
        self._root = f"shares/{work}"
        self._lease_s = lease_s
        self._lock = threading.Lock()  # of what follows
        self._writing = threading.Lock()  # so that no renewal follows a shard's end
        self._seen: dict[str, _Seen] = {}
        self._held: dict[str, int] = {}
        self._holders: dict[tuple[str, int], Claimer] = {}
        self._looked_at = 0.0

    def offer(self, shard: str, content: Mapping[str, object]) -> None:
        """Says what there is to do, unless that stands already."""
        self._store.put_if_absent(f"{self._root}/{shard}/offer.json", orjson.dumps(content))

    def look(self) -> None:
        """Takes note of what everybody has written: one listing."""
        found: dict[str, set[str]] = {}
        for path in self._store.list(self._root):
            shard, _, name = path.removeprefix(f"{self._root}/").partition("/")
            found.setdefault(shard, set()).add(name.removesuffix(".json"))
        moment = time.monotonic()
        with self._lock:
            self._looked_at = moment
            for shard, names in found.items():
                seen = self._seen.setdefault(shard, _Seen())
                newest = max((int(name) for name in names if name.isdigit()), default=0)
                if newest > seen.newest:
                    seen.newest, seen.since = newest, moment
                seen.offered = "offer" in names
                seen.freed = f"{seen.newest}.freed" in names
                seen.done = seen.done or "done" in names

    @property
    def done(self) -> set[str]:
        """The shards that were done when `look` was last called, by whomever."""
        with self._lock:
            return {shard for shard, seen in self._seen.items() if seen.done}

    @property
    def left(self) -> set[str]:
        """The shards that were offered and not done then, claimed or not."""
        with self._lock:
            return {s for s, seen in self._seen.items() if seen.offered and not seen.done}

    def free(self, *, but: frozenset[str] = frozenset()) -> list[str]:
        """The shards that may be claimed, as far as is known: those first that nobody has begun."""
        with self._lock:
            waiting = {
                shard: seen
                for shard, seen in self._seen.items()
                if seen.offered and not seen.done and shard not in self._held and shard not in but
            }
            fresh = [shard for shard, seen in waiting.items() if not seen.newest or seen.freed]
        if fresh:
            return fresh
        return [shard for shard, seen in waiting.items() if self._lapsed(shard, seen)]

    def take(self, *, but: frozenset[str] = frozenset()) -> Taken | None:
        """Claims a shard; None if none is free. `but` are shards that are not wanted."""
        free = self.free(but=but)
        random.shuffle(free)  # participants that all began with the first would get in their way
        for shard in free:
            with self._lock:
                number = self._seen[shard].newest + 1
            if self._claim(shard, number):
                with self._lock:
                    self._held[shard] = number
                offer = read_record(
                    self._store, f"{self._root}/{shard}/offer.json", dict[str, object]
                )
                return Taken(shard=shard, offer=offer, claim=number)
        return None

    def finish(self, shard: str) -> None:
        """Says that the shard is done. All that it gave must be durable before."""
        with self._writing:
            self._store.put_if_absent(f"{self._root}/{shard}/done.json", self._signature())
            with self._lock:
                self._held.pop(shard, None)
                self._seen[shard].done = True

    def give_back(self, shard: str) -> None:
        """Leaves the shard, undone, to whoever takes it."""
        with self._writing:
            with self._lock:
                number = self._held.pop(shard, None)
            if number is not None:
                path = f"{self._root}/{shard}/{number}.freed.json"
                self._store.put_if_absent(path, self._signature())

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renews the claims of this process for as long as the block lasts."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(self._lease_s / _RENEWALS):
                try:
                    self.renew()
                except StoreError as error:  # the lease outlasts a few
                    _LOG.warning("A claim could not be renewed: %s", error)
                except Exception:  # noqa: BLE001 - a defect may not end renewals unseen
                    _LOG.exception("A claim could not be renewed")

        thread = threading.Thread(target=renew, daemon=True, name="shares")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def renew(self) -> None:
        """Claims once more what this process holds; forgets what another has taken over."""
        with self._lock:
            held = list(self._held)
        for shard in held:
            with self._writing:
                with self._lock:
                    number = self._held.get(shard)
                if number is None:
                    continue
                renewed = self._claim(shard, number + 1)
                with self._lock:
                    if renewed:
                        self._held[shard] = number + 1
                    else:
                        del self._held[shard]

    def _claim(self, shard: str, number: int) -> bool:
        """Writes the claim of that number; True if nobody was faster."""
        path = f"{self._root}/{shard}/{number}.json"
        return self._store.put_if_absent(path, self._signature())

    def _signature(self) -> bytes:
        return orjson.dumps(asdict(Signature.of_this_process()))

    def _lapsed(self, shard: str, seen: _Seen) -> bool:
        # Ages end with the last look: while one does not look, others may have renewed.
        young = self._looked_at - seen.since < self._lease_s
        if young and not self._holder(shard, seen.newest).known_dead():
            return False
        # Whoever is done with everything ends, so a dead holder may have finished since.
        return not self._store.exists(f"{self._root}/{shard}/done.json")

    def _holder(self, shard: str, number: int) -> Claimer:
        if (shard, number) not in self._holders:
            claim = read_record(self._store, f"{self._root}/{shard}/{number}.json", Signature)
            self._holders[shard, number] = claim.claimer
        return self._holders[shard, number]
