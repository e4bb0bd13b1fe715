"""A wave that is killed without warning, over and over, ends as if nothing had happened.

The kills of a chain fall one after the other into one wave: each run goes on where the last one
died and dies at the next point. At the end, the bill and the store must be those of a wave that
was never disturbed.
"""

import random
import signal
from pathlib import Path

import pytest
from tests.chaos.bench import Bench, assets, check_exactly_once, outcome, write_wave

from imagewave.killpoints import POINTS
from imagewave.storage.store import Store

pytestmark = pytest.mark.slow

# Each chain follows the wave's course, so that every point of it is still ahead.
CHAINS = {
    "submit": [
        "submit.before_claim",
        "submit.after_claim",
        "submit.after_hold",
        "submit.after_upload",
        "submit.after_create",
        "submit.after_accept",
        "collect.downloading",
    ],
    "collect": [
        "wait.polling",
        "collect.chunk",
        "collect.midway",
        "collect.before_facts",
        "collect.between_facts",
        "collect.before_capture",
        "collect.before_settle",
    ],
    "decide": [
        "settle.before_outcome",
        "screen.before_facts",
        "submit.after_create:2",
        "judge.before_facts",
        "final.planned",
        "deliver.before",
        "deliver.midway",
    ],
}

RANDOM_KILLS = 100


def test_every_point_is_killed_at() -> None:
    """A point that no chain names would be one that nothing proves."""
    assert {point.partition(":")[0] for chain in CHAINS.values() for point in chain} == set(POINTS)


@pytest.fixture(scope="module")
def undisturbed(shared_bench: Bench) -> tuple[dict[str, str], set[tuple[str, ...]]]:
    """What is delivered and decided where nothing goes wrong."""
    folder = shared_bench.folder()
    finished = shared_bench.run(write_wave(folder), str(folder / "store"))
    assert finished.code == 0, finished.err
    store = Store.open(str(folder / "store"))
    return assets(store), outcome(store)


@pytest.mark.parametrize("chain", CHAINS)
def test_killed_at_each_point(
    chain: str, bench: Bench, undisturbed: tuple[dict[str, str], set[tuple[str, ...]]]
) -> None:
    folder = bench.folder()
    wave, store = write_wave(folder), str(folder / "store")
    start = len(bench.billed())
    for point in CHAINS[chain]:
        died = bench.run(wave, store, kill_at=point)
        assert died.code == -signal.SIGKILL, f"{point} was never reached: {died.err}"
    finished = bench.run(wave, store)
    assert finished.code == 0, finished.err
    assert check_exactly_once(Store.open(store), bench.billed(start)) == 1.0
    assert (assets(Store.open(store)), outcome(Store.open(store))) == undisturbed


@pytest.mark.slow
def test_killed_while_drafts_are_replaced(bench: Bench) -> None:
    """All finals of one brief are refused: two drafts are used up, then a third, then a fourth."""
    briefs = {"boat": "A boat [[sandbox:block_safety@reference]]", "barn": "A red barn"}
    outcomes = []
    for chain in (
        [],
        [
            "final.planned:2",
            "submit.after_create",
            "final.planned:3",
            "submit.after_create",
            "collect.midway",
            "final.planned:4",
            "submit.after_accept",
            "deliver.before",
        ],
    ):
        folder = bench.folder()
        wave, store = write_wave(folder, briefs=briefs), str(folder / "store")
        start = len(bench.billed())
        for point in chain:
            died = bench.run(wave, store, kill_at=point)
            assert died.code == -signal.SIGKILL, f"{point} was never reached: {died.err}"
        finished = bench.run(wave, store)
        assert finished.code == 0, finished.err
        opened = Store.open(store)
        assert check_exactly_once(opened, bench.billed(start)) == 1.0
        outcomes.append((assets(opened), outcome(opened)))

    assert outcomes[0] == outcomes[1]
    tried = {(brief, tier) for brief, request_id, _, tier, *_ in outcomes[0][1]}
    assert tried == {("boat", "draft"), ("boat", "final"), ("barn", "draft"), ("barn", "final")}
    assert sum(row[0] == "boat" and row[3] == "final" for row in outcomes[0][1]) == 4


@pytest.mark.chaos
def test_random_kills(
    bench: Bench, undisturbed: tuple[dict[str, str], set[tuple[str, ...]]], tmp_path: Path
) -> None:
    """Kills at random points and moments, as many to a wave as it takes to finish."""
    choose = random.Random(20261120)
    kills = waves = 0
    while kills < RANDOM_KILLS:
        folder = bench.folder()
        wave, store = write_wave(folder), str(folder / "store")
        waves += 1
        trail: list[str] = []
        start = len(bench.billed())
        for _ in range(choose.randint(4, 12)):
            point, moment = f"{choose.choice(POINTS)}:{choose.randint(1, 3)}", None
            if choose.random() < 0.5:
                point, moment = "", choose.uniform(0.5, 10)
            died = bench.run(wave, store, kill_at=point, kill_after=moment)
            assert died.code in (0, -signal.SIGKILL), f"{trail}: {died.err}"
            trail.append(point or f"{moment:.1f} s")
            if died.code == 0:
                break
            kills += 1
        finished = bench.run(wave, store)
        print(f"{kills} kills, {waves} waves: {' '.join(trail)}")
        assert finished.code == 0, f"{trail}: {finished.err}"
        assert check_exactly_once(Store.open(store), bench.billed(start)) == 1.0, trail
        assert (assets(Store.open(store)), outcome(Store.open(store))) == undisturbed, trail
