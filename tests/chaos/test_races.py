"""Two processes at once: they share the work or wait for each other, and never both create."""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.chaos.bench import BRIEFS, Bench, assets, check_exactly_once, write_wave
from tests.servers import environment, make_bucket, s3_environment, start_moto

from imagewave.storage.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server that this and child processes talk to."""
    with start_moto() as endpoint, environment(**s3_environment(endpoint)):
        yield endpoint


def test_the_same_wave_twice_at_once_on_disk(bench: Bench) -> None:
    store = str(bench.folder() / "store")
    run_twice(bench, store)


def test_the_same_wave_twice_at_once_on_s3(bench: Bench, s3: str) -> None:
    assert "AWS_ENDPOINT_URL" in os.environ
    run_twice(bench, f"s3://{make_bucket(s3)}/team")


def run_twice(bench: Bench, store: str) -> None:
    wave = write_wave(bench.folder(), name="twice")
    start = len(bench.billed())

    with bench.start(wave, store) as first, bench.start(wave, store) as second:
        for process in (first, second):
            _, err = process.communicate(timeout=240)
            assert process.returncode == 0, err

    opened = Store.open(store)
    assert check_exactly_once(opened, bench.billed(start)) == 1.0
    assert sorted(assets(opened)) == [
        "assets/twice/harbour/harbour-1.jpg",
        "assets/twice/tulips/tulips-1.jpg",
    ]


def test_two_waves_that_share_requests_pay_for_each_once(bench: Bench) -> None:
    """The second wave has one brief more, so its jobs are others that overlap the first's."""
    store = str(bench.folder() / "store")
    more = {**BRIEFS, "meadow": "a meadow in June, seen from the ground"}
    one = write_wave(bench.folder(), name="one")
    two = write_wave(bench.folder(), name="two", briefs=more)
    start = len(bench.billed())

    with bench.start(one, store) as first, bench.start(two, store) as second:
        for process in (first, second):
            _, err = process.communicate(timeout=240)
            assert process.returncode == 0, err

    billed = bench.billed(start)
    assert set(Counter(line["key"] for line in billed).values()) == {1}
    opened = Store.open(store)
    assert check_exactly_once(opened, billed) == 1.0
    assert len(assets(opened)) == 5


def test_two_stores_with_one_key_leave_each_other_s_jobs_alone(bench: Bench) -> None:
    """The same wave makes the same jobs in both, and the provider lists those of both."""
    wave = write_wave(bench.folder(), name="shared")
    for _ in range(2):
        store = str(bench.folder() / "store")
        start = len(bench.billed())
        finished = bench.run(wave, store)
        assert finished.code == 0, finished.err
        assert check_exactly_once(Store.open(store), bench.billed(start)) == 1.0
