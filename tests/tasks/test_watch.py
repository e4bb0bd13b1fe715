"""Which of the handed-over waves can move, and why."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from tests.storage.builders import put

from imagewave.errors import ImagewaveError
from imagewave.storage import facts, job_events
from imagewave.storage.handover import Handover, hand_over, handed_over, take_back
from imagewave.storage.jobs import JobFolder, Plan, Settled, now
from imagewave.storage.requests import Kind, Request
from imagewave.storage.store import Store
from imagewave.tasks.providers.protocol import JobState, JobStatus, Lane, Unavailable
from imagewave.tasks.watch import Survey, survey

REVISION = "0a1b2c3d"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


class Provider:
    """The part of a lane that `survey` may use: it can be looked at and through, nothing else."""

    def __init__(self, states: Mapping[str, JobState | None]) -> None:
        self.states = states
        self.polled: list[str] = []

    def poll(self, name: str) -> JobStatus:
        self.polled.append(name)
        state = self.states[name]
        if state is None:
            raise Unavailable("no answer")
        return JobStatus(name=name, state=state)

    def find(self, token: str) -> list[str]:
        return []


def look(store: Store, **states: JobState | None) -> Survey:
    provider = Provider(states)
    found = survey(store, lambda name: provider)  # type: ignore[arg-type, return-value]
    assert sorted(provider.polled) == sorted(set(provider.polled)), "a job was polled twice"
    return found


def start(store: Store, wave: str, *, left_to_watch: bool = True) -> None:
    """A wave that was run, and left to `watch`."""
    row = {"wave": wave, "revision": REVISION, "file": "f", "spec": "{}", "realm": "sandbox"}
    put(store, "waves", f"{wave}-run", row)
    if left_to_watch:
        hand_over(store, Handover(wave=wave, wave_file=f"/waves/{wave}.toml"))


def plan(store: Store, wave: str, job_id: str) -> JobFolder:
    """A job that no provider was asked for yet."""
    folder = JobFolder(store, job_id)
    request = Request(kind=Kind.DRAFT, model="gemini-3.1-flash-lite-image", prompt=job_id)
    planned = Plan(
        wave=wave,
        revision=REVISION,
        kind=Kind.DRAFT,
        round=1,
        attempt=1,
        lane="gemini-batch",
        model=request.model,
        requests=1,
        estimate_usd="0.02",
    )
    folder.write_plan(planned, [request])
    row = {"job_id": job_id, "request_id": request.id, "attempt": 1}
    facts.append(store, "submissions", job_id, [row])
    return folder


def accept(store: Store, wave: str, job_id: str) -> JobFolder:
    """A job that the provider has, by the same name."""
    folder = plan(store, wave, job_id)
    intent = folder.claim(label=wave, lane="gemini-batch", held_usd="0.02", after=[])
    assert intent is not None
    job_events.claimed(folder, intent)
    job_events.accepted(folder, folder.accept(intent.token, job_id, adopted=False))
    return folder


def settle(folder: JobFolder) -> None:
    settled = Settled(
        state="succeeded", message="", counts={}, captured_usd=str(Decimal(0)), at=now()
    )
    job_events.settled(folder, settled)
    folder.settle(settled)


def test_a_wave_whose_jobs_run_waits(store: Store) -> None:
    start(store, "spring")
    accept(store, "spring", "j1")
    found = look(store, j1=JobState.RUNNING)
    assert found.due == ()
    assert found.waiting == ("spring",)
    assert found.open_jobs == 1


@pytest.mark.parametrize("state", [state for state in JobState if state.done])
def test_a_job_that_ended_in_any_way_moves_its_wave(store: Store, state: JobState) -> None:
    start(store, "spring")
    accept(store, "spring", "j1")
    accept(store, "spring", "j2")
    (due,) = look(store, j1=state, j2=JobState.PENDING).due
    assert due.handover.wave_file == "/waves/spring.toml"
    assert due.reasons == ("1 job ended at the provider",)


def test_the_moment_changes_with_each_job_that_ends_and_with_nothing_else(store: Store) -> None:
    start(store, "spring")
    job = accept(store, "spring", "j1")
    accept(store, "spring", "j2")

    def moment(j2: JobState) -> str:
        states = {"j2": j2} if job.settled() else {"j1": JobState.SUCCEEDED, "j2": j2}
        (due,) = look(store, **states).due
        return due.moment

    first = moment(JobState.PENDING)
    assert moment(JobState.RUNNING) == first
    both = moment(JobState.FAILED)
    assert both != first
    # Collected, it has still ended.
    settle(job)
    assert moment(JobState.FAILED) == both


def test_a_wave_that_nobody_left_to_watch_is_left_alone(store: Store) -> None:
    start(store, "mine", left_to_watch=False)
    accept(store, "mine", "j1")
    found = look(store)
    assert found.due == ()
    assert found.waiting == ()


def test_a_job_that_was_planned_and_never_sent_moves_its_wave(store: Store) -> None:
    start(store, "spring")
    accept(store, "spring", "j1")
    plan(store, "spring", "j2")
    (due,) = look(store, j1=JobState.PENDING).due
    assert due.reasons == ("1 job not sent yet",)


def test_an_unsent_job_may_wait_for_another_waves_job(store: Store) -> None:
    start(store, "spring")
    start(store, "other", left_to_watch=False)
    theirs = accept(store, "other", "theirs")
    plan(store, "spring", "j1")
    (before,) = look(store, theirs=JobState.PENDING).due
    settle(theirs)
    (after,) = look(store).due
    assert before.moment != after.moment


def test_a_claim_whose_claimer_died_moves_its_wave(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(store, "spring")
    folder = plan(store, "spring", "j1")
    intent = folder.claim(label="spring", lane="gemini-batch", held_usd="0.02", after=[])
    assert intent is not None
    job_events.claimed(folder, intent)
    assert look(store).due == (), "the claimer lives: it is this very process"

    monkeypatch.setattr("imagewave.storage.jobs.Claimer.known_dead", lambda self: True)
    (due,) = look(store).due
    assert due.reasons == ("1 job of unknown fate",)


def test_a_wave_that_stopped_between_jobs_is_due(store: Store) -> None:
    start(store, "spring")
    settle(accept(store, "spring", "j1"))
    (due,) = look(store).due
    assert due.reasons == ("no job is under way",)


def test_a_provider_that_is_silent_is_named_and_asked_once(store: Store) -> None:
    start(store, "spring")
    accept(store, "spring", "j1")
    accept(store, "spring", "j2")
    found = look(store, j1=None, j2=None)
    assert found.due == ()
    assert found.trouble == ("gemini-batch: no answer",)


def test_a_lane_without_a_key_here_does_not_stop_the_others(store: Store) -> None:
    start(store, "spring")
    accept(store, "spring", "j1")

    def no_key(name: str) -> Lane:
        raise ImagewaveError(f"{name} needs a key.")

    assert survey(store, no_key).trouble == ("gemini-batch: gemini-batch needs a key.",)


def test_a_wave_that_somebody_else_delivered_is_no_longer_watched(store: Store) -> None:
    start(store, "spring")
    facts.append(store, "assets", f"spring-{REVISION}", [])
    found = look(store)
    assert (found.due, found.waiting) == ((), ())
    assert handed_over(store) == []


def test_a_job_that_a_delivered_wave_gave_up_is_looked_after_to_its_end(store: Store) -> None:
    start(store, "spring")
    job = accept(store, "spring", "j1")
    facts.append(store, "assets", f"spring-{REVISION}", [])
    found = look(store, j1=JobState.RUNNING)
    assert (found.due, found.waiting) == ((), ("spring",))
    (due,) = look(store, j1=JobState.SUCCEEDED).due
    assert due.reasons == ("1 job ended at the provider",)
    settle(job)
    assert look(store).waiting == ()
    assert handed_over(store) == []


def test_handing_over_again_says_how_to_run_it_now(store: Store) -> None:
    hand_over(store, Handover(wave="spring", wave_file="/old.toml"))
    newest = Handover(wave="spring", wave_file="/new.toml", lane="interactive")
    hand_over(store, newest)
    assert handed_over(store) == [newest]
    take_back(store, "spring")
    take_back(store, "spring")
    assert handed_over(store) == []


def test_lanes_are_only_opened_for_jobs_that_are_watched(store: Store) -> None:
    start(store, "mine", left_to_watch=False)
    accept(store, "mine", "j1")

    def no_key(name: str) -> Lane:
        raise AssertionError(f"{name} needs a key")

    assert survey(store, no_key).open_jobs == 1
