"""Shared work: who gets a shard, for how long, and what becomes of those that nobody renews."""

import json
import subprocess
import sys
import time

import pytest

from imagewave.storage.jobs import shares as module
from imagewave.storage.jobs.shares import Shares
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy

LEASE_S = 100.0

CLAIM_AND_DIE = """
import os, sys
from imagewave.storage.jobs.shares import Shares
from imagewave.storage.store import Store
shares = Shares(Store.open(sys.argv[1]), "work")
shares.look()
taken = shares.take()
print(taken.shard, flush=True)
sys.stdin.readline()
if "finish" in sys.argv:
    shares.finish(taken.shard)
os._exit(1)
"""


class Clock:
    """A clock that tests set forward; it takes the place of the module's `time`."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def monotonic(self) -> float:
        return self.moment


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time as the shares see it."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def part(store: Store) -> Shares:
    """One participant's view, as another process would have it."""
    return Shares(store, "work", lease_s=LEASE_S)


def offered(store: Store, *shards: str) -> Shares:
    mine = part(store)
    for shard in shards:
        mine.offer(shard, {"what": shard})
    mine.look()
    return mine


def test_each_shard_goes_to_one_and_is_done_for_all(store: Store) -> None:
    first = offered(store, "a", "b", "c")
    second = part(store)
    second.look()
    taken = [(who, got) for who in (first, second, first, second) if (got := who.take())]
    assert sorted(got.shard for _, got in taken) == ["a", "b", "c"]
    assert all(got.offer == {"what": got.shard} and got.claim == 1 for _, got in taken)
    second.look()
    assert second.take() is None
    assert second.left == {"a", "b", "c"}
    for who, got in taken:
        who.finish(got.shard)
    for view in (first, second, part(store)):
        view.look()
        assert view.done == {"a", "b", "c"}
        assert view.left == set()
        assert view.take() is None


def test_the_same_offer_again_changes_nothing(store: Store) -> None:
    mine = offered(store, "a")
    mine.offer("a", {"what": "else"})
    taken = mine.take()
    assert taken
    assert taken.offer == {"what": "a"}


def test_what_is_given_back_is_anybodys_at_once(store: Store) -> None:
    first = offered(store, "a")
    assert first.take()
    first.give_back("a")
    second = part(store)
    second.look()
    taken = second.take()
    assert taken
    assert taken.claim == 2
    third = part(store)
    third.look()
    assert third.take() is None


def test_a_claim_of_another_machine_lapses_unless_renewed(store: Store, clock: Clock) -> None:
    first = offered(store, "a")
    assert first.take()
    second = part(store)
    second.look()
    clock.moment += LEASE_S - 1
    first.renew()
    second.look()
    clock.moment += LEASE_S - 1
    second.look()
    assert second.take() is None, "it was renewed"
    clock.moment += 1
    second.look()
    taken = second.take()
    assert taken
    assert taken.claim == 3
    # The first one was only slow. It learns of it, works on, and does not take it back.
    first.renew()
    first.look()
    assert first.take() is None
    first.finish("a")
    second.look()
    assert second.done == {"a"}


def test_a_newcomer_grants_the_whole_lease(store: Store, clock: Clock) -> None:
    assert offered(store, "a").take()
    clock.moment += 10 * LEASE_S
    late = part(store)
    late.look()
    assert late.take() is None, "nobody's clock but its own tells it the age of a claim"
    clock.moment += LEASE_S
    late.look()
    assert late.take()


@pytest.mark.parametrize("last", ["finish", "nothing"])
def test_a_dead_process_of_this_machine_is_not_waited_for(store: Store, last: str) -> None:
    mine = offered(store, "a")
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_DIE, store.url, last],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "a\n"
        mine.look()
        assert mine.take() is None
        other.communicate("go\n")
    # Without another look: what it did since is not known yet, but not done again either.
    taken = mine.take()
    assert (taken is None) == (last == "finish")
    assert taken is None or taken.claim == 2


def test_time_without_a_look_makes_no_claim_older(store: Store, clock: Clock) -> None:
    first = offered(store, "a")
    assert first.take()
    second = part(store)
    second.look()
    clock.moment += 10 * LEASE_S
    assert second.take() is None, "it was busy elsewhere, and the holder may have renewed"


def test_claims_are_renewed_while_the_block_lasts(local_store: Store) -> None:
    mine = Shares(local_store, "work", lease_s=0.2)
    mine.offer("a", {})
    mine.look()
    with mine.renewing():
        assert mine.take()
        deadline = time.monotonic() + 30
        while not local_store.exists("shares/work/a/4.json"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        mine.finish("a")
        claims = local_store.list("shares/work")
        time.sleep(0.3)
        assert local_store.list("shares/work") == claims, "what is done is not renewed"


def test_a_claim_says_who(local_store: Store) -> None:
    mine = offered(local_store, "a")
    assert mine.take()
    claim = json.loads(local_store.read("shares/work/a/1.json"))
    assert claim["claimer"]["pid"]
    assert claim["at"]


def test_what_is_not_wanted_is_left(store: Store) -> None:
    mine = offered(store, "a", "b")
    taken = mine.take(but=frozenset("a"))
    assert taken
    assert taken.shard == "b"
    assert mine.take(but=frozenset("a")) is None
