"""Ctrl-C and SIGTERM: the command ends at once, says what is in flight, and goes on later."""

import signal
from typing import Any

import pytest
from tests.chaos.bench import Bench, check_exactly_once, wait_until, write_wave

from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store

pytestmark = pytest.mark.slow

# The promise is 5 s; on a machine that does other work as well, a test must not hang on it.
PATIENCE_S = 10

PHASES: dict[str, dict[str, Any]] = {
    "submitting": {"create_slow": {"seconds": 20.0}},
    "polling": {"job_stuck": 1},
    "downloading": {"download_stalled": {"times": 1, "fraction": 0.5, "seconds": 30.0}},
    "screening": {},
}


def reached(phase: str, bench: Bench, store: Store) -> bool:
    """Whether the wave is in that phase, as far as one can see from outside."""
    if phase == "submitting":
        return bool(query(store, "SELECT 1 FROM raw_jobs WHERE event = 'claimed'"))
    if phase == "polling":
        return bool(query(store, "SELECT 1 FROM raw_jobs WHERE event = 'accepted'"))
    if phase == "downloading":
        return "download_stalled" not in bench.control("faults")
    return bool(query(store, "SELECT 1 FROM raw_results"))


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("submitting", signal.SIGINT),
        ("downloading", signal.SIGTERM),
        pytest.param("polling", signal.SIGTERM, marks=pytest.mark.chaos),
        pytest.param("screening", signal.SIGINT, marks=pytest.mark.chaos),
        pytest.param("submitting", signal.SIGTERM, marks=pytest.mark.chaos),
        pytest.param("polling", signal.SIGINT, marks=pytest.mark.chaos),
        pytest.param("downloading", signal.SIGINT, marks=pytest.mark.chaos),
        pytest.param("screening", signal.SIGTERM, marks=pytest.mark.chaos),
    ],
)
def test_stops_at_once_and_goes_on_later(phase: str, number: signal.Signals, bench: Bench) -> None:
    folder = bench.folder()
    wave, store = write_wave(folder), Store.open(str(folder / "store"))
    start = len(bench.billed())
    bench.arm(**PHASES[phase])

    with bench.start(wave, store.url) as process:
        wait_until(lambda: reached(phase, bench, store), phase)
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "Run the same command again" in err
    if phase in ("polling", "downloading"):
        (job,) = query(store, "SELECT provider_job, requests FROM jobs")
        assert f"{job['provider_job']}: {job['requests']} requests" in err
    if phase == "submitting":
        assert "may have" in err

    bench.disarm()
    for job in bench.control("jobs"):
        if job["metadata"]["state"] == "BATCH_STATE_PENDING":
            bench.control(f"jobs/{job['name'].partition('/')[2]}:release", method="POST")
    finished = bench.run(wave, store.url)
    assert finished.code == 0, finished.err
    assert check_exactly_once(store, bench.billed(start)) == 1.0
