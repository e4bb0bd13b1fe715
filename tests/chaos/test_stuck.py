"""Jobs that hang: the alarm, the move to another model, and what they bring after all."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.chaos.bench import (
    SETTINGS,
    assert_images_kept,
    assert_money,
    assert_no_fact_twice,
    wait_until,
)
from tests.chaos.rounds import LITE, Bench, settling

from imagewave import clock
from imagewave.flows.settle import harvest
from imagewave.flows.wave import make
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.requests import Kind
from imagewave.storage.rounds.rounds import record

pytestmark = pytest.mark.heavy

OTHER = "gemini-nano-banana-2.1"
SOON = "age_limit_hours = 0.0003"  # a second
FALLBACK = f'fallback_model = "{OTHER}"'
TEXTS = ("a red tulip", "a green bench")


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSandbox]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=SETTINGS) as sandbox:
        yield sandbox


@pytest.fixture
def bench(
    shared_sandbox: EmbeddedSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    with settling(shared_sandbox, tmp_path, monkeypatch) as bench:
        yield bench


def state(bench: Bench, name: str) -> str:
    (job,) = (job for job in bench.provider_jobs() if job["name"] == name)
    return str(job["metadata"]["state"]).removeprefix("BATCH_STATE_")


def release(bench: Bench, name: str) -> None:
    bench.control(f"jobs/{name.partition('/')[2]}:release", method="POST")


def test_a_stuck_job_moves_to_the_fallback_model(bench: Bench) -> None:
    bench.arm(job_stuck=1)

    with bench.run(wait=SOON, draft=FALLBACK) as run:
        round = run.round(Kind.DRAFT, 1)
        asks, found = make(run, round, record(run.store, round, bench.asks(TEXTS)), "draft")
        again = make(run, round, record(run.store, round, bench.asks(TEXTS)), "draft")

    assert {ask.request.model for ask in asks} == {OTHER}
    assert [found[ask.request.id].status for ask in asks] == ["image", "image"]
    assert again == (asks, found)
    old, new = sorted(bench.provider_jobs(), key=lambda job: str(job["metadata"]["createTime"]))
    late = bench.sql("SELECT key FROM findings WHERE kind = 'late job'")
    assert {"key": old["name"]} in late  # on a busy machine, the other may be late as well
    assert state(bench, old["name"]) == "CANCELLED"
    assert state(bench, new["name"]) == "SUCCEEDED"
    # The cancelled job cost nothing; the other model's pictures are billed once.
    assert len(bench.billed()) == 2
    assert_money(bench.store, bench.billed())


def test_what_a_given_up_job_brings_after_all_is_harvested(bench: Bench) -> None:
    bench.arm(job_stuck=1, cancel_ignored=1)

    with bench.run(wait=SOON, draft=FALLBACK) as run:
        round = run.round(Kind.DRAFT, 1)
        asks, found = make(run, round, record(run.store, round, bench.asks(TEXTS)), "draft")
        (old,) = harvest(run)
        (held,) = Ledger(bench.store).open_holds()
        assert held.job_id == old  # the provider may still bill it
        (job,) = bench.sql("SELECT provider_job FROM jobs WHERE job_id = ?", old)
        release(bench, job["provider_job"])
        wait_until(lambda: state(bench, job["provider_job"]) == "SUCCEEDED", "the old job")

        assert harvest(run) == []

        # Paid for, so kept: but what was decided in the meantime is not decided again.
        assert make(run, round, record(run.store, round, bench.asks(TEXTS)), "d") == (asks, found)
    assert {row["model"] for row in bench.sql("SELECT model FROM attempts")} == {LITE, OTHER}
    assert len(bench.billed()) == 4
    assert_images_kept(bench.store, bench.billed())
    assert_money(bench.store, bench.billed())


def test_without_another_model_a_late_job_is_an_alarm_and_is_waited_for(bench: Bench) -> None:
    bench.arm(job_stuck=1)

    def free() -> None:
        wait_until(lambda: bench.findings()["late job"] == 1, "the alarm")
        (job,) = bench.provider_jobs()
        release(bench, job["name"])

    helper = threading.Thread(target=free)
    helper.start()
    outcome = bench.settle(*TEXTS, wait=SOON)
    helper.join()

    assert {answer.status for answer in outcome.answers.values()} == {"image"}
    assert len(bench.provider_jobs()) == 1
    assert_money(bench.store, bench.billed())


def test_jobs_of_a_wave_file_that_was_changed_are_harvested(bench: Bench) -> None:
    from imagewave.flows.settle import Waiting

    with pytest.raises(Waiting):
        bench.settle(*TEXTS, patient=False)
    (job,) = bench.provider_jobs()
    wait_until(lambda: state(bench, job["name"]) == "SUCCEEDED", "the job")

    # Another revision asks for something else; the old one's pictures were paid for.
    with bench.run(draft="probe = 3") as run:
        assert harvest(run) == []

    assert bench.statuses() == {"image": 2}
    assert_images_kept(bench.store, bench.billed())
    assert_money(bench.store, bench.billed())


class Jumping:
    """A clock whose every reading is hours off the one before, forth and back."""

    def __init__(self) -> None:
        self.readings = 0

    def now(self) -> datetime:
        self.readings += 1
        return datetime.now(UTC) + timedelta(hours=(7 * self.readings) % 41 - 20)

    def steady(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@pytest.fixture
def jumping() -> Iterator[Jumping]:
    jumping = Jumping()
    before = clock.use(jumping)
    try:
        yield jumping
    finally:
        clock.use(before)


def test_clocks_that_jump_change_nothing_in_what_is_paid_or_kept(
    bench: Bench, jumping: Jumping
) -> None:
    bench.arm(create_dropped=1, job_failed=1)

    outcome = bench.settle(*TEXTS)

    assert jumping.readings > 10
    assert {answer.status for answer in outcome.answers.values()} == {"image"}
    assert len(bench.provider_jobs()) == 2  # the one that failed, and its successor
    assert_no_fact_twice(bench.store)
    assert_money(bench.store, bench.billed())
