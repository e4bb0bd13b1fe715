"""The job protocol, one job at a time: claims, takeovers, adoption, quarantine, overlap."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import orjson
import pytest
from tests.chaos.bench import SETTINGS, assert_money, wait_until
from tests.chaos.rounds import Bench, settling

from imagewave.flows.run import Run
from imagewave.providers.protocol import Lane, Rejected
from imagewave.providers.registry import open_lane
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.jobs.folder import Accepted, Claimer, Intent, JobFolder, Settled
from imagewave.storage.money.ledger import Budget, Ledger
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import record
from imagewave.tasks.collecting.collect import collect
from imagewave.tasks.jobs.plain import PlainHands
from imagewave.tasks.jobs.settling import harvest
from imagewave.tasks.jobs.shard import shard
from imagewave.tasks.jobs.submit import AdoptionTimes, Overlap, Quarantined, resolve, submit

pytestmark = pytest.mark.heavy

SHORT = AdoptionTimes(lease_s=1.0, fresh_s=0.3, list_lag_s=0.3)
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


@pytest.fixture
def run(bench: Bench) -> Iterator[Run]:
    with bench.run() as run:
        yield run


def plan(bench: Bench, run: Run, *texts: str, number: int = 1) -> JobFolder:
    """A job for these drafts, planned and not submitted."""
    round = run.round(Kind.DRAFT, number)
    (job_id,) = shard(
        run.store, round, record(run.store, round, bench.asks(texts)), run.lanes.for_model, 1
    )
    return JobFolder(run.store, job_id)


def send(folder: JobFolder, lane: Lane, adoption: AdoptionTimes = SHORT) -> Accepted | Settled:
    return submit(folder.store, folder.job_id, lane, budget=Budget(), adoption=adoption)


def claim_elsewhere(folder: JobFolder) -> Intent:
    """A claim by a process of another machine, of which nothing more is known."""
    intent = folder.claim(label="other", lane="gemini-batch", held_usd="0", after=[])
    assert intent is not None
    elsewhere = replace(intent, claimer=Claimer(machine="another", pid=1, started=0.0))
    folder.store.write(f"jobs/{folder.job_id}/intent.json", orjson.dumps(asdict(elsewhere)))
    return elsewhere


def create_at_provider(folder: JobFolder, lane: Lane, token: str) -> str:
    handle = lane.prepare(folder.requests(), lambda sha256: b"", "input")
    return lane.create(handle, folder.plan().model, token)


def test_takes_over_a_claim_of_which_nothing_came(bench: Bench, run: Run) -> None:
    folder = plan(bench, run, *TEXTS)
    claim_elsewhere(folder)

    accepted = send(folder, run.lane)

    assert isinstance(accepted, Accepted)
    assert [intent.generation for intent in folder.intents()] == [1, 2]
    assert accepted.token == folder.intents()[1].token
    assert len(bench.provider_jobs()) == 1


def test_adopts_what_the_lost_claimer_had_created(bench: Bench, run: Run) -> None:
    folder = plan(bench, run, *TEXTS)
    intent = claim_elsewhere(folder)
    provider_job = create_at_provider(folder, run.lane, intent.token)

    accepted = send(folder, run.lane)

    assert isinstance(accepted, Accepted)
    assert (accepted.provider_job, accepted.adopted) == (provider_job, True)
    assert len(bench.provider_jobs()) == 1


def test_two_jobs_with_one_token_wait_for_a_person(bench: Bench, run: Run) -> None:
    folder = plan(bench, run, *TEXTS)
    bench.arm(job_stuck=2)
    intent = claim_elsewhere(folder)
    first, second = (create_at_provider(folder, run.lane, intent.token) for _ in range(2))

    for _ in range(2):
        with pytest.raises(Quarantined, match=first):
            send(folder, run.lane)

    run.lane.cancel(first)
    accepted = send(folder, run.lane)
    assert isinstance(accepted, Accepted)
    assert accepted.provider_job == second
    assert len(bench.provider_jobs()) == 2


def test_two_jobs_that_have_both_ended_need_no_person(bench: Bench, run: Run) -> None:
    folder = plan(bench, run, *TEXTS)
    intent = claim_elsewhere(folder)
    names = [create_at_provider(folder, run.lane, intent.token) for _ in range(2)]
    wait_until(lambda: all(run.lane.poll(name).state.done for name in names), "both jobs")

    with pytest.raises(Quarantined):
        send(folder, run.lane)
    accepted = send(folder, run.lane)
    assert isinstance(accepted, Accepted)
    ledger = Ledger(run.store)
    ledger.hold(folder.job_id, "faults", ledger.state().held, Budget())
    status = run.lane.poll(accepted.provider_job)
    collect(run.store, folder.job_id, run.lane, status, run.pool)

    assert harvest(run, PlainHands(run)) == []
    assert bench.statuses() == {"image": 4}
    assert_money(bench.store, bench.billed())


class Slow:
    """A lane that is frozen for a while before it uploads, or before it creates."""

    def __init__(self, lane: Lane, upload: float = 0, create: float = 0) -> None:
        self._lane = lane
        self._upload = upload
        self._create = create

    def prepare(
        self, requests: Iterable[Request], read_image: Callable[[str], bytes], display_name: str
    ) -> str:
        time.sleep(self._upload)
        return self._lane.prepare(requests, read_image, display_name)

    def create(self, handle: str, model: str, token: str) -> str:
        time.sleep(self._create)
        return self._lane.create(handle, model, token)

    def __getattr__(self, name: str) -> object:
        return getattr(self._lane, name)


def test_a_claimer_that_was_held_for_dead_does_not_create(bench: Bench, run: Run) -> None:
    folder = plan(bench, run, *TEXTS)
    slow = Slow(open_lane("gemini-batch", bench.store), upload=4.0)
    came_of_it: list[Accepted | Settled] = []
    frozen = threading.Thread(
        target=lambda: came_of_it.append(send(folder, slow))  # type: ignore[arg-type]
    )
    frozen.start()
    wait_until(lambda: bool(folder.intents()), "the slow claim")

    accepted = send(folder, run.lane)
    frozen.join()

    assert came_of_it == [accepted]
    assert len(bench.provider_jobs()) == 1


def test_a_claimer_that_creates_too_late_cancels_its_own_job(bench: Bench, run: Run) -> None:
    """The residual window of docs/reliability.md: frozen between its check and the call."""
    folder = plan(bench, run, *TEXTS)
    bench.arm(job_stuck=2)
    frozen = Slow(open_lane("gemini-batch", bench.store), create=4.0)
    raised: list[Quarantined] = []

    def create_late() -> None:
        try:
            send(folder, frozen)  # type: ignore[arg-type]
        except Quarantined as quarantined:
            raised.append(quarantined)

    late = threading.Thread(target=create_late)
    late.start()
    wait_until(lambda: bool(folder.intents()), "the claim")
    accepted = send(folder, run.lane)
    late.join()

    assert isinstance(accepted, Accepted)
    assert len(raised) == 1
    states = {job["name"]: job["metadata"]["state"] for job in bench.provider_jobs()}
    assert states.pop(accepted.provider_job) == "BATCH_STATE_PENDING"
    assert list(states.values()) == ["BATCH_STATE_CANCELLED"]
    assert send(folder, run.lane) == accepted


def test_an_upload_that_takes_long_renews_the_claim(bench: Bench, run: Run) -> None:
    folder = plan(bench, run, *TEXTS)
    slow = Slow(run.lane, upload=0.6)

    accepted = send(folder, slow)  # type: ignore[arg-type]

    assert isinstance(accepted, Accepted)
    assert accepted.token == folder.intents()[1].token
    assert len(bench.provider_jobs()) == 1


def test_a_clean_no_gives_back_claim_and_money(bench: Bench, run: Run) -> None:
    folder = plan(bench, run, *TEXTS)
    bench.arm(create_429=1)

    with pytest.raises(Rejected):
        send(folder, run.lane)

    assert folder.standing(folder.intents()) == []
    assert Ledger(run.store).open_holds() == []
    assert isinstance(send(folder, run.lane), Accepted)
    # The number of a claim is never used twice, so nobody mistakes one for another.
    assert [intent.generation for intent in folder.intents()] == [1, 2]


def test_a_job_waits_for_one_that_has_its_requests_and_is_not_sent_then(
    bench: Bench, run: Run
) -> None:
    first = plan(bench, run, *TEXTS)
    second = plan(bench, run, *TEXTS, "a blue boat", number=2)
    accepted = send(first, run.lane)
    assert isinstance(accepted, Accepted)

    with pytest.raises(Overlap) as overlap:
        send(second, run.lane)
    assert overlap.value.other == first.job_id
    assert [hold.job_id for hold in Ledger(run.store).open_holds()] == [first.job_id]

    wait_until(lambda: run.lane.poll(accepted.provider_job).state.done, "the first job")
    status = run.lane.poll(accepted.provider_job)
    collect(run.store, first.job_id, run.lane, status, run.pool)
    settled = send(second, run.lane)

    assert isinstance(settled, Settled)
    assert settled.state == "superseded"
    assert len(bench.provider_jobs()) == 1
    assert Ledger(run.store).open_holds() == []


def test_resolving_a_dead_claim_frees_its_money_and_creates_nothing(bench: Bench, run: Run) -> None:
    folder = plan(bench, run, *TEXTS)
    claim_elsewhere(folder)
    ledger = Ledger(run.store)
    ledger.hold(folder.job_id, "faults", ledger.state().held, Budget())

    assert resolve(run.store, folder.job_id, run.lane, adoption=SHORT) is None

    assert ledger.open_holds() == []
    assert folder.standing(folder.intents()) != []  # of the lost one nobody can speak for it
    assert bench.provider_jobs() == []
    assert isinstance(send(folder, run.lane), Accepted)


def test_a_claimer_is_told_from_another_process_with_its_number() -> None:
    me = Claimer.this_process()

    assert not me.known_dead()
    assert replace(me, started=me.started - 1).known_dead()
    assert replace(me, pid=2**22 + 1).known_dead()
    assert not replace(me, machine="another", pid=2**22 + 1).known_dead()


def test_a_claimer_that_was_killed_is_dead_before_anybody_has_taken_notice() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        started = float(
            Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()[19]
        )
        claimer = replace(Claimer.this_process(), pid=process.pid, started=started)
        assert not claimer.known_dead()
        process.kill()
        # Not waited for, it stays a zombie that still has its number and its start.
        wait_until(claimer.known_dead, "the death of the claimer")
