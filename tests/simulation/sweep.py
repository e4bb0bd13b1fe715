"""Runs many seeds and counts what came of them."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.plans import plan
from tests.simulation.simulation import Ended, run

EXACT_EVERY = 500
"""Of so many runs one is executed twice, the second time with Parquet and DuckDB."""


@dataclass(slots=True)
class Tally:
    """What came of many runs."""

    runs: int = 0
    steps: int = 0
    twice: int = 0
    billed: int = 0
    double_spends: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    remains: Counter[str] = field(default_factory=Counter)
    asked_duckdb: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)

    def add(self, ended: Ended) -> None:
        """Counts one run."""
        self.runs += 1
        self.steps += ended.steps
        self.billed += ended.billed
        self.double_spends += ended.double_spends
        self.faults += ended.faults
        self.remains += ended.remains
        self.asked_duckdb += ended.asked_duckdb
        if ended.violations:
            self.failed.append((ended.seed, str(ended.violations[0])))

    def join(self, other: "Tally") -> None:
        """Counts another's runs as well."""
        self.runs += other.runs
        self.steps += other.steps
        self.twice += other.twice
        self.billed += other.billed
        self.double_spends += other.double_spends
        self.faults += other.faults
        self.remains += other.remains
        self.asked_duckdb += other.asked_duckdb
        self.failed += other.failed


def sweep(seeds: Iterable[int], seconds: float, twice: int) -> Tally:
    """Runs these, for so many seconds at most; one of so many `twice`. Ends with what fails."""
    tally, until = Tally(), time.monotonic() + seconds
    for seed in seeds:
        if time.monotonic() > until:
            break
        ended = run(plan(seed))
        if seed % twice == 0:
            tally.twice += 1
            again = run(plan(seed), exact=True)
            if (again.digest, again.steps) != (ended.digest, ended.steps):
                tally.failed.append((seed, "two executions of one seed: they differ"))
        tally.add(ended)
        if tally.failed:
            break
    return tally
