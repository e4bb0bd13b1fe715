"""One process of the ledger's races: holds and settles money until the budget is used up.

Run as `python ledger_racer.py STORE_URL LIMIT SEED`: says "ready", starts when its standard input
is closed, and says how many holds it was granted.
"""

import random
import sys
from decimal import Decimal

from imagewave.storage.ledger import Budget, BudgetExceeded, Ledger
from imagewave.storage.store import Store


def main(url: str, limit: str, seed: str) -> None:
    ledger = Ledger(Store.open(url))
    budget = Budget(month_usd=Decimal(limit))
    choices = random.Random(seed)
    open_jobs: list[tuple[str, Decimal]] = []
    granted = 0
    print("ready", flush=True)
    sys.stdin.read()
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
    print(granted)


if __name__ == "__main__":
    main(*sys.argv[1:])
