"""Jobs that several processes collect together: who does what, and what becomes of trouble."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from imagewave.providers.protocol import JobState, JobStatus, Unavailable
from imagewave.storage.facts.analytics import query
from imagewave.storage.jobs.folder import JobFolder, Plan
from imagewave.storage.jobs.shares import Shares
from imagewave.storage.requests import Kind
from imagewave.storage.store import Store
from imagewave.tasks.collecting.sharing import AT_ONCE, Sharing, help_out, worker_name

JOBS = [f"job{number}" for number in range(5)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with five jobs that the provider has ended, on offer."""
    store = Store.open(str(tmp_path / "store"))
    offers = Sharing(store, Shares(store, "work"), lambda job_id, status: Future())
    for job_id in JOBS:
        plan = Plan(
            wave="spring",
            revision="0a1b2c3d",
            kind=Kind.DRAFT,
            round=1,
            attempt=1,
            lane="gemini-batch",
            model="gemini-3.1-flash-lite-image",
            requests=1,
            estimate_usd="0.01",
        )
        JobFolder(store, job_id).write_plan(plan, [])
        offers.offer(job_id, JobStatus(name=f"batches/{job_id}", state=JobState.SUCCEEDED))
    return store


def part(store: Store, collect: Callable[[str, JobStatus], object]) -> Sharing:
    """One process's part."""
    shares = Shares(store, "work")
    shares.look()
    threads = ThreadPoolExecutor(AT_ONCE)
    return Sharing(store, shares, lambda *job: threads.submit(collect, *job))


def test_one_does_it_all_if_nobody_else_comes(store: Store) -> None:
    seen: list[tuple[str, JobStatus]] = []
    assert help_out(part(store, lambda *job: seen.append(job))) == len(JOBS)
    assert sorted(job_id for job_id, _ in seen) == JOBS
    assert {status for _, status in seen} == {
        JobStatus(name=f"batches/{job_id}", state=JobState.SUCCEEDED) for job_id in JOBS
    }
    rows = query(store, "SELECT wave, job_id, worker, claim FROM raw_shares ORDER BY job_id")
    assert rows == [
        {"wave": "spring", "job_id": job_id, "worker": worker_name(), "claim": 1} for job_id in JOBS
    ]
    assert help_out(part(store, lambda *job: seen.append(job))) == 0


def test_it_takes_few_at_once_and_hears_of_what_others_did(store: Store) -> None:
    running: dict[str, Future[None]] = {}

    def start(job_id: str, status: JobStatus) -> "Future[None]":
        return running.setdefault(job_id, Future())

    slow = Sharing(store, Shares(store, "work"), start)
    assert slow.step().done == frozenset()
    assert len(running) == slow.at_work == AT_ONCE
    quick = part(store, lambda job_id, status: None)
    others = set(JOBS) - running.keys()
    while others:
        others -= quick.step().done
    assert quick.finished == len(JOBS) - AT_ONCE
    for future in running.values():
        future.set_result(None)
    assert slow.step().done == set(JOBS), "its own and the other's"
    assert slow.left == set()
    assert slow.step().done == frozenset(), "all of it is news but once"


def test_what_one_cannot_get_the_others_can(store: Store) -> None:
    def refused(job_id: str, status: JobStatus) -> None:
        if job_id == "job3":
            raise Unavailable("The provider does not deliver here.")

    assert help_out(part(store, refused)) == len(JOBS) - 1
    assert help_out(part(store, lambda job_id, status: None)) == 1
    claims = query(store, "SELECT claim FROM raw_shares WHERE job_id = 'job3'")
    assert claims == [{"claim": 2}]


def test_any_other_trouble_ends_it(store: Store) -> None:
    def broken(job_id: str, status: JobStatus) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        help_out(part(store, broken))
