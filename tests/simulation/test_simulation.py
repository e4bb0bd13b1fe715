"""The protocol holds in some thousand simulated runs; the auditor finds what is broken in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.mutants import MUTANTS, applied

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]


def simulate(*arguments: str) -> str:
    """What `python -m tests.simulation` says, if all is well.

    In a process of its own, where sets are in the same order each time.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.timeout(900)
def test_what_is_promised_holds_in_two_thousand_runs() -> None:
    said = simulate("--runs", "2000", "--seconds", "800", "--processes", "1")

    assert said.startswith("2000 runs")


def test_seeds_that_failed_once_hold() -> None:
    simulate("--again")


def test_a_seed_is_one_run_with_parquet_and_duckdb_as_well() -> None:
    said = simulate("--exact", "--runs", "10", "--processes", "1")

    assert "10 of them executed twice" in said


def test_a_replay_shows_the_same_steps_each_time() -> None:
    assert simulate("--replay", "7") == simulate("--replay", "7")


def test_every_mutant_still_has_its_place() -> None:
    for mutant in MUTANTS:
        with applied(mutant):
            pass


def test_the_auditor_sees_what_is_broken() -> None:
    simulate("--mutants", "--quickly")


@pytest.mark.slow
@pytest.mark.timeout(3000)  # some 4,000 runs, beside other tests
def test_the_auditor_sees_every_mutant() -> None:
    simulate("--mutants")
