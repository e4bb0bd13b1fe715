"""The loop over jobs: what goes wrong with one job costs that job only."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.bench import SETTINGS, assert_money, check_exactly_once
from tests.chaos.rounds import LITE, Bench, settling

from imagewave.flows.run import Run
from imagewave.flows.settle import Waiting
from imagewave.providers.protocol import Lane, Rejected, Unavailable
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.requests import FailureClass, Kind
from imagewave.storage.rounds.rounds import record
from imagewave.tasks.jobs.attempt import finish
from imagewave.tasks.jobs.plain import PlainHands
from imagewave.tasks.jobs.settling import harvest
from imagewave.tasks.jobs.shard import shard

pytestmark = pytest.mark.heavy

TEXTS = ("a red tulip", "a green bench", "a blue boat")


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


class Sick:
    """A lane that answers as it should, but for one verb about one job."""

    def __init__(self, lane: Lane, verb: str, instead: Callable[..., Any]) -> None:
        self._lane = lane
        self._verb = verb
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        usual = getattr(self._lane, name)
        if name != self._verb:
            return usual
        return lambda *arguments: self._instead(usual, *arguments)


class SickRun:
    """A run one of whose jobs goes by a sick lane."""

    def __init__(self, run: Run, job_id: str, verb: str, instead: Callable[..., Any]) -> None:
        self._run = run
        self._job_id = job_id
        self._lane = Sick(run.lane_of(job_id), verb, instead)

    def lane_of(self, job_id: str) -> Any:
        return self._lane if job_id == self._job_id else self._run.lane_of(job_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


def jobs_of(bench: Bench, run: Run) -> list[str]:
    """Three jobs of one draft each."""
    found = []
    for number, text in enumerate(TEXTS, 1):
        round = run.round(Kind.DRAFT, number)
        asks = record(run.store, round, bench.asks([text]))
        found += shard(run.store, round, asks, run.lanes.for_model, 1)
    return found


def unavailable(usual: Callable[..., Any], *arguments: Any) -> Any:
    raise Unavailable("Nobody answers.")


def rejected(usual: Callable[..., Any], *arguments: Any) -> Any:
    raise Rejected("No.", "Ask otherwise.", FailureClass.INVALID)


def settled(run: Run, jobs: list[str]) -> list[bool]:
    return [JobFolder(run.store, job_id).settled() is not None for job_id in jobs]


@pytest.mark.parametrize("verb", ["prepare", "poll", "results"])
def test_a_job_whose_provider_does_not_answer_keeps_no_other_waiting(
    verb: str, bench: Bench
) -> None:
    with bench.run(patient=False, wait="missing_hours = 2") as run:
        first, second, third = jobs = jobs_of(bench, run)
        sick = SickRun(run, first, verb, unavailable)
        for _ in range(20):
            with pytest.raises(Waiting) as waiting:
                finish(sick, PlainHands(sick), jobs)
            if settled(run, [second, third]) == [True, True]:
                break
        assert waiting.value.jobs == (first,)

        while not all(settled(run, jobs)):
            with suppress(Waiting):
                finish(run, PlainHands(run), jobs)
    assert check_exactly_once(bench.store, bench.billed()) == 1.0


def test_a_job_that_is_refused_is_told_of_when_all_others_are_over(bench: Bench) -> None:
    with bench.run() as run:
        first, *_ = jobs = jobs_of(bench, run)
        sick = SickRun(run, first, "create", rejected)

        with pytest.raises(Rejected, match="No"):
            finish(sick, PlainHands(sick), jobs)

        assert settled(run, jobs) == [False, True, True]


def test_a_cancel_that_comes_too_late_is_no_error(bench: Bench) -> None:
    bench.arm(job_stuck=1)

    def too_late(usual: Callable[..., Any], name: str) -> None:
        bench.control(f"jobs/{name.partition('/')[2]}:release", method="POST")
        while not lane.poll(name).state.done:
            pass
        raise Rejected("It has ended.", "", FailureClass.INVALID)

    other = 'fallback_model = "gemini-nano-banana-2.1"'
    with bench.run(wait="age_limit_hours = 0.0001", draft=other) as run:
        round = run.round(Kind.DRAFT, 1)
        jobs = shard(
            run.store, round, record(run.store, round, bench.asks(TEXTS)), run.lanes.for_model, 1
        )
        lane = run.lane_of(jobs[0])
        sick = SickRun(run, jobs[0], "cancel", too_late)

        finish(sick, PlainHands(sick), jobs)

    assert bench.statuses() == {"image": 3}
    assert {row["model"] for row in bench.sql("SELECT model FROM attempts")} == {LITE}


def test_a_harvest_that_fails_is_a_finding_and_is_tried_again(bench: Bench) -> None:
    with pytest.raises(Waiting):
        bench.settle(*TEXTS, patient=False)
    with bench.run(draft="probe = 3") as run:  # another revision: nobody waits for the old job
        (hold,) = Ledger(run.store).open_holds()
        while not run.lane_of(hold.job_id).poll(_name(run, hold.job_id)).state.done:
            pass
        for verb, instead in (("poll", unavailable), ("results", unavailable)):
            sick = SickRun(run, hold.job_id, verb, instead)
            assert harvest(sick, PlainHands(sick)) == [hold.job_id]
        assert bench.findings() == {"not taken in yet": 1}

        assert harvest(run, PlainHands(run)) == []
    assert bench.statuses() == {"image": 3}
    assert_money(bench.store, bench.billed())


def _name(run: Run, job_id: str) -> str:
    accepted = JobFolder(run.store, job_id).accepted()
    assert accepted is not None
    return accepted.provider_job


def test_a_provider_that_is_full_is_waited_for_with_the_input_in_its_hands(bench: Bench) -> None:
    """Nothing of this wave is in flight: another one has the quota."""
    bench.arm(create_429=6)
    uploads = len(_uploads(bench))

    bench.settle(*TEXTS)

    assert check_exactly_once(bench.store, bench.billed()) == 1.0
    assert len(_uploads(bench)) - uploads == 1


def test_a_run_that_does_not_wait_leaves_a_full_provider_to_watch(bench: Bench) -> None:
    bench.arm(create_429={"times": 1, "retry_after": 90})

    with pytest.raises(Waiting):
        bench.settle(*TEXTS, patient=False)

    assert Ledger(bench.store).open_holds() == []
    with pytest.raises(Waiting):
        bench.settle(*TEXTS, patient=False)
    assert len(bench.provider_jobs()) == 1


def test_a_provider_that_stays_full_is_told_of_when_patience_is_over(bench: Bench) -> None:
    bench.arm(create_429=1000)

    with pytest.raises(Rejected, match="quota"):
        bench.settle(*TEXTS, wait="age_limit_hours = 0.0005")


def _uploads(bench: Bench) -> list[Any]:
    from google import genai

    client = genai.Client(api_key="sandbox", http_options={"base_url": bench.sandbox.url})
    return [file for file in client.files.list() if file.source == "UPLOADED"]


def test_a_job_that_expired_does_not_use_up_a_lines_only_retry(bench: Bench) -> None:
    bench.arm(job_expired=1)

    bench.settle("[[sandbox:no_image x1]] a red tulip")

    rows = bench.sql("SELECT status, reason FROM attempts ORDER BY attempt")
    assert [f"{row['status']} {row['reason']}".strip() for row in rows] == [
        "missing JOB_EXPIRED",
        "failed NO_IMAGE",
        "image",
    ]


def test_a_young_job_that_neither_get_nor_list_knows_is_not_gone(bench: Bench) -> None:
    bench.arm(get_404=1, list_lag={"seconds": 30})

    bench.settle(*TEXTS, wait="missing_hours = 1")

    assert bench.statuses() == {"image": 3}
    assert check_exactly_once(bench.store, bench.billed()) == 1.0
