"""A job that was given up, and ends after its wave was delivered: the next run takes it in."""

import pytest
from tests.chaos.bench import Bench, assets, check_exactly_once, write_wave

from imagewave.storage.money.ledger import Ledger
from imagewave.storage.store import Store

pytestmark = pytest.mark.slow


def test_the_next_run_of_a_delivered_wave_harvests(bench: Bench) -> None:
    folder = bench.folder()
    tables = {
        "wait": "age_limit_hours = 0.001",
        "draft": 'fallback_model = "gemini-nano-banana-2.1"',
    }
    wave, store = write_wave(folder, name="given-up", tables=tables), str(folder / "store")
    start = len(bench.billed())
    bench.arm(job_stuck=1, cancel_ignored=1)

    delivered = bench.run(wave, store)

    assert delivered.code == 0, delivered.err
    opened = Store.open(store)
    before = assets(opened)
    assert len(before) == 2
    (hold,) = Ledger(opened).open_holds()
    assert f"Job {hold.job_id} was given up" in delivered.out

    (stuck,) = (
        job for job in bench.control("jobs") if job["metadata"]["state"] == "BATCH_STATE_PENDING"
    )
    bench.control(f"jobs/{stuck['name'].partition('/')[2]}:release", method="POST")
    for _ in range(3):
        later = bench.run(wave, store)
        assert later.code == 0, later.err
        if "was given up" not in later.out:
            break

    assert check_exactly_once(opened, bench.billed(start)) == 1.0
    assert assets(opened) == before
