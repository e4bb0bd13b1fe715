"""`python -m tests.simulation`: runs seeds for some time, or one again, and says what came out."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

from tests.simulation.mutants import MUTANTS, Mutant, applied
from tests.simulation.plans import plan
from tests.simulation.seeds import SEEDS
from tests.simulation.simulation import run
from tests.simulation.sweep import EXACT_EVERY, Tally, sweep

MUTANT_RUNS, QUICK_RUNS = 6000, 60
"""Within so many runs each mutant is caught; those that are marked as quick, within so many."""


def catch(mutants: Iterable[Mutant], runs: int) -> Iterator[tuple[str, int | None, str]]:
    """For each mutant its name, in which run it was caught (None: in none), and by what."""
    for mutant in mutants:
        with applied(mutant):
            for number in range(runs):
                ended = run(plan(number))
                if ended.violations:
                    yield mutant.name, number + 1, ended.violations[0].rule
                    break
            else:
                yield mutant.name, None, ""


def main() -> int:
    """The command; 1 where a property did not hold, or a mutant was not caught."""
    asked = _arguments()
    if asked.replay is not None:
        return _replay(asked.replay, asked.mutant)
    if asked.mutants:
        return _mutate(quickly=asked.quickly)
    if asked.again:
        began = time.monotonic()
        tally = sweep(SEEDS, asked.seconds, EXACT_EVERY)
        return _say(tally, "the seeds that failed once", time.monotonic() - began)
    return _sweep(asked)


def _sweep(asked: argparse.Namespace) -> int:
    began = time.monotonic()
    last = sys.maxsize if asked.runs is None else asked.seed + asked.runs
    twice = 1 if asked.exact else EXACT_EVERY
    shares = [
        (range(asked.seed + number, last, asked.processes), asked.seconds, twice)
        for number in range(asked.processes)
    ]
    if asked.processes == 1:
        tally = sweep(*shares[0])
    else:
        tally = Tally()
        with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
            for each in pool.starmap(sweep, shares):
                tally.join(each)
    return _say(tally, f"seed {asked.seed}", time.monotonic() - began)


def _say(tally: Tally, whence: str, seconds: float) -> int:
    print(f"{tally.runs} runs from {whence}, {tally.steps} steps, in {seconds:.0f} s:")
    print(f"  {tally.runs / seconds * 3600:,.0f} interleavings an hour")
    print(f"  {tally.twice} of them executed twice, the second time with Parquet and DuckDB")
    print(f"  {tally.faults.total()} faults injected:")
    for fault, number in sorted(tally.faults.items(), key=lambda item: -item[1]):
        print(f"    {number:>8} {fault}")
    print(f"  {tally.billed} pictures billed")
    print(f"  {tally.double_spends} billed twice, in {tally.remains.total()} documented remains:")
    for remain, number in sorted(tally.remains.items()):
        print(f"    {number:>8} {remain}")
    for sql, number in tally.asked_duckdb.items():
        print(f"  slow: {number} times DuckDB was asked, tests/simulation/facts.py lacks: {sql}")
    for seed, what in tally.failed:
        print(f"FAILED seed {seed}: {what}")
        print(f"  again, step by step: python -m tests.simulation --replay {seed}")
    if not tally.failed:
        print("  0 double spends besides, 0 lost pictures, no other property broken")
    return 1 if tally.failed else 0


def _mutate(*, quickly: bool) -> int:
    chosen = [mutant for mutant in MUTANTS if mutant.quick or not quickly]
    missed = 0
    for name, number, rule in catch(chosen, QUICK_RUNS if quickly else MUTANT_RUNS):
        missed += number is None
        print(f"{name:<55} {number or 'NOT CAUGHT':>6}  {rule}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} mutants caught")
    return 1 if missed else 0


def _replay(seed: int, name: str | None) -> int:
    chosen = {mutant.name: mutant for mutant in MUTANTS}
    with applied(chosen[name]) if name else nullcontext():
        ended = run(plan(seed), log=True)
    print(plan(seed))
    sys.stdout.writelines(ended.log)
    for violation in ended.violations:
        print(f"VIOLATION {violation}")
    return 1 if ended.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--runs", type=int, help="at most so many runs")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=int, metavar="SEED", help="one run, every effect shown")
    parser.add_argument("--mutants", action="store_true", help="has each mutant be caught")
    parser.add_argument("--quickly", action="store_true", help="only those soon caught")
    parser.add_argument("--again", action="store_true", help="the seeds that failed once")
    parser.add_argument("--exact", action="store_true", help="each run twice, with Parquet and SQL")
    parser.add_argument("--mutant", metavar="NAME", help="for --replay: with this fault put in")
    return parser.parse_args()


if __name__ == "__main__":
    # Sets of words are in another order in every process unless that is fixed.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
