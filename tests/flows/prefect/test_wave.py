"""The states in which a run of a wave ends, and what each leaves for `watch`."""

from typing import Any

import pytest
from tests.flows.conftest import Bench

from imagewave.storage.money.ledger import BudgetExceeded
from imagewave.storage.store import Store
from imagewave.storage.waves.handover import handed_over, waves_left

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]

WAVE = """
[wave]
name = "garden"
[draft]
max_rounds = 1
[screen]
min_blur = 0
min_entropy = 0
[judge]
enabled = false
[final]
carry = "accept"
[[brief]]
text = "a walled garden"
"""


def run(bench: Bench, wave: str, **options: Any) -> Any:
    return bench.run_on_prefect(wave, return_state=True, **options)


def test_a_run_that_does_not_wait_ends_in_waiting_and_leaves_the_wave(bench: Bench) -> None:
    bench.configure(running_s=3600)
    state = run(bench, WAVE, wait=False)
    assert state.is_completed()
    assert state.name == "Waiting"
    assert "With the provider: 1 job, " in state.message
    left = handed_over(Store.open(bench.store_url), "garden")
    assert left
    assert left.wave_file == str(bench.folder / "wave.toml")


def test_a_run_whose_calls_only_it_makes_does_not_leave_them(bench: Bench) -> None:
    state = run(bench, WAVE.replace("[wave]\n", '[wave]\nlane = "interactive"\n'), wait=False)
    assert state.name == "Completed"
    made = [line["key"] for line in bench.billed()]
    assert len(made) == len(set(made)) > 0


def test_a_delivered_wave_is_left_to_nobody(bench: Bench) -> None:
    bench.configure(pending_s=0, running_s=0)
    states = [run(bench, WAVE, wait=False)]
    while states[-1].name == "Waiting" and len(states) < 20:
        states.append(run(bench, WAVE, wait=False))
    assert states[-1].name == "Completed"
    assert waves_left(Store.open(bench.store_url)) == []


def test_a_budget_stop_has_a_state_of_its_own(bench: Bench) -> None:
    state = run(bench, WAVE + "[budget]\nwave_usd = 0.000001\n")
    assert state.is_failed()
    assert state.name == "OverBudget"
    with pytest.raises(BudgetExceeded):
        bench.run_on_prefect(WAVE + "[budget]\nwave_usd = 0.000001\n")


def test_a_run_that_somebody_waits_for_is_left_to_nobody(bench: Bench) -> None:
    run(bench, WAVE + "[budget]\nwave_usd = 0.000001\n")
    assert waves_left(Store.open(bench.store_url)) == []
