"""One process of the ledger's races: holds and settles money until the budget is used up.

Run as `python ledger_racer.py STORE_URL LIMIT SEED`: says "ready", starts when its standard input
is closed, and says how many holds it was granted. With `owners` behind, it takes the holds of a few
jobs, gives some back, and says as JSON which it has owned and which it has given back.
"""

import json
import random
import sys
from decimal import Decimal

from imagewave.storage.money.ledger import Budget, BudgetExceeded, Ledger
from imagewave.storage.store import Store

ROUNDS = 25


def spend(ledger: Ledger, budget: Budget, seed: str, choices: random.Random) -> int:
    """Holds, captures and gives back until nothing more is granted; returns how often it was."""
    open_jobs: list[tuple[str, Decimal]] = []
    granted = 0
    while True:
        job_id, amount = f"{seed}-{granted}", Decimal(choices.randint(2, 9)) / 100
        try:
            ledger.hold(job_id, f"wave-{seed}", amount, budget)
        except BudgetExceeded:
            if not open_jobs:
                break
            job_id, amount = open_jobs.pop()
            ledger.capture(job_id, amount - Decimal("0.01"))
            continue
        granted += 1
        open_jobs.append((job_id, amount))
        if choices.random() < 0.5:
            job_id, amount = open_jobs.pop(0)
            if choices.random() < 0.3:
                ledger.release(job_id)
            else:
                ledger.capture(job_id, amount)
    return granted


def take_turns(ledger: Ledger, budget: Budget, choices: random.Random) -> dict[str, list[int]]:
    """Owns jobs that others want, too, and gives back what it still owns of them."""
    owned, given_back = [], []
    for _ in range(ROUNDS):
        job_id = f"job-{choices.randint(1, 3)}"
        hold = ledger.take(job_id) if choices.random() < 0.3 else None
        if hold is None:
            hold = ledger.own(job_id, "spring", Decimal("0.10"), budget)
        assert hold is not None, "nothing is ever captured here"
        owned.append(hold.owner)
        if choices.random() < 0.7 and ledger.release(job_id, hold.owner):
            given_back.append(hold.owner)
    return {"owned": owned, "given back": given_back}


def main(url: str, limit: str, seed: str, how: str = "") -> None:
    """Races."""
    ledger = Ledger(Store.open(url))
    budget = Budget(month_usd=Decimal(limit))
    choices = random.Random(seed)
    print("ready", flush=True)
    sys.stdin.read()
    if how == "owners":
        print(json.dumps(take_turns(ledger, budget, choices)))
    else:
        print(spend(ledger, budget, seed, choices))


if __name__ == "__main__":
    main(*sys.argv[1:])
