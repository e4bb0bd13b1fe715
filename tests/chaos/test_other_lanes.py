"""The first promise by other lanes than Gemini's batches: kills, lost answers, early ends."""

import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.bench import Bench, Finished, check_exactly_once, is_done, write_wave

from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store

# Whole waves by each lane: minutes, so not in `make test`.
pytestmark = pytest.mark.slow

CHAINS = {
    "submit": [
        "submit.after_claim",
        "submit.after_hold",
        "submit.after_upload",
        "submit.after_create",
        "submit.after_accept",
    ],
    "collect": [
        "collect.chunk",
        "collect.midway",
        "collect.between_facts",
        "collect.before_settle",
        "submit.after_create:2",
    ],
}
OPENAI = {
    "wave": 'lane = "openai-batch"',
    "draft": 'model = "gpt-image-2"',
    "judge": 'model = "gpt-5.6-luna"',
    "final": 'model = "gpt-image-2"',
}


CLAUDE = {"judge": 'model = "claude-haiku-5-5"'}
JUDGE_KILLED = (
    "submit.after_upload:2",
    "submit.after_create",
    "collect.midway",
    "submit.after_create:2",
)


def run(bench: Bench, wave: Path, store: str, kill_at: str = "") -> Finished:
    keys: dict[str, Any] = bench.sandbox.environment()
    return bench.run(wave, store, kill_at=kill_at, **keys)


def wave_of(folder: Path, tables: dict[str, str]) -> Path:
    return write_wave(folder, tables=tables)


@pytest.mark.parametrize("chain", CHAINS)
def test_killed_over_and_over_openai_bills_everything_once(chain: str, bench: Bench) -> None:
    folder = bench.folder()
    wave, store = wave_of(folder, OPENAI), str(folder / "store")
    start = len(bench.billed())
    for point in CHAINS[chain]:
        died = run(bench, wave, store, point)
        assert died.code == -signal.SIGKILL, f"{point} was never reached: {died.err}"
    finished = run(bench, wave, store)
    assert finished.code == 0, finished.err
    assert is_done(Store.open(store))
    assert check_exactly_once(Store.open(store), bench.billed(start)) == 1.0


def test_a_lost_answer_at_openai_is_adopted_however_late_the_list_is(bench: Bench) -> None:
    folder = bench.folder()
    wave, store = wave_of(folder, OPENAI), str(folder / "store")
    start = len(bench.billed())
    bench.arm(create_dropped=2, list_lag={"times": 2, "seconds": 0.3}, download_dropped=3)
    finished = run(bench, wave, store)
    assert finished.code == 0, finished.err
    assert check_exactly_once(Store.open(store), bench.billed(start)) == 1.0


def test_killed_over_and_over_claude_bills_every_judgement_once(bench: Bench) -> None:
    folder = bench.folder()
    wave, store = wave_of(folder, CLAUDE), str(folder / "store")
    start = len(bench.billed())
    for point in JUDGE_KILLED:
        died = run(bench, wave, store, point)
        assert died.code == -signal.SIGKILL, f"{point} was never reached: {died.err}"
    finished = run(bench, wave, store)
    assert finished.code == 0, finished.err
    assert check_exactly_once(Store.open(store), bench.billed(start)) == 1.0


@pytest.mark.parametrize("fault", ["create_dropped", "create_unheard"])
def test_claude_is_asked_again_only_for_what_it_does_not_have(bench: Bench, fault: str) -> None:
    folder = bench.folder()
    wave, store = wave_of(folder, CLAUDE), str(folder / "store")
    start = len(bench.billed())
    # The first of the two is the drafts' at Google.
    bench.arm(**{fault: 2}, list_lag={"times": 2, "seconds": 0.3})
    finished = run(bench, wave, store)
    assert finished.code == 0, finished.err
    assert check_exactly_once(Store.open(store), bench.billed(start)) == 1.0


def test_single_calls_that_a_kill_may_have_billed_are_in_the_facts(bench: Bench) -> None:
    folder = bench.folder()
    wave, store = wave_of(folder, {"wave": 'lane = "interactive"'}), str(folder / "store")
    start = len(bench.billed())
    for point in ("call.after_claim:2", "call.before_answer:2", "collect.midway"):
        died = bench.run(wave, store, kill_at=point)
        assert died.code == -signal.SIGKILL, f"{point} was never reached: {died.err}"
    finished = bench.run(wave, store)
    assert finished.code == 0, finished.err

    opened = Store.open(store)
    attempts = query(opened, "SELECT status, reason, cost_usd FROM attempts")
    lost = [row for row in attempts if row["reason"] == "CALL_UNANSWERED"]
    assert lost
    assert all(row["cost_usd"] > 0 for row in lost)
    # No call without its row: what was billed to nobody is among the rows that say so.
    billed = bench.billed(start)
    assert len(attempts) - len(lost) <= len(billed) <= len(attempts)
    assert sum(row["cost_usd"] for row in attempts) >= sum(Decimal(line["usd"]) for line in billed)
