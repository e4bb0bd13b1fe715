"""Which of the handed-over waves can move, and why."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from tests.servers import environment
from tests.storage.builders import put

from imagewave.errors import ImagewaveError
from imagewave.providers.lanes import Lanes
from imagewave.providers.protocol import JobState, JobStatus, Lane, Rejected, Unavailable
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.facts import facts
from imagewave.storage.jobs import events as job_events
from imagewave.storage.jobs.folder import JobFolder, Plan, Settled, now
from imagewave.storage.realms import Realm
from imagewave.storage.requests import FailureClass, Kind, Request
from imagewave.storage.rounds import reruns
from imagewave.storage.store import Store
from imagewave.storage.waves.handover import Handover, hand_over, handed_over, take_back, waves_left
from imagewave.tasks.jobs.handed_over import Survey, survey, take_in
from imagewave.tasks.screening.pool import Pool

pytestmark = pytest.mark.heavy

REVISION = "0a1b2c3d"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


class Provider:
    """The part of a lane that `survey` may use: it can be looked at and through, nothing else.

    What a job's state is may be an error, that asking for it raises. A `silent` one answers to
    nothing.
    """

    name = "gemini-batch"

    def __init__(self, states: Mapping[str, JobState | Exception], *, silent: bool = False) -> None:
        self.states = states
        self.silent = silent
        self.polled: list[str] = []

    def check_access(self) -> None:
        if self.silent:
            raise Unavailable("no answer")

    def poll(self, name: str) -> JobStatus:
        self.polled.append(name)
        state = self.states[name]
        if self.silent:
            raise Unavailable("no answer")
        if isinstance(state, Exception):
            raise state
        return JobStatus(name=name, state=state)

    def find(self, token: str) -> list[str]:
        return []

    def listed(self) -> Iterator[tuple[str, str]]:
        if self.silent:
            raise Unavailable("no answer")
        return iter(())


def look(store: Store, **states: JobState | Exception) -> Survey:
    return look_through(Provider(states), store)


def look_through(provider: Provider, store: Store) -> Survey:
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


def test_a_sandbox_is_not_asked_for_jobs_of_real_providers(store: Store, tmp_path: Path) -> None:
    store.mark_realm(Realm.LIVE)
    start(store, "spring")
    accept(store, "spring", "j1")
    with EmbeddedSandbox(tmp_path / "sandbox") as sandbox, environment(**sandbox.environment()):
        found = survey(store, Lanes(store).named)
    assert (found.due, found.waiting) == ((), ("spring",)), "nobody takes the job for lost"
    (trouble,) = found.trouble
    assert "is of the realm 'live'" in trouble


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

    monkeypatch.setattr("imagewave.storage.jobs.folder.Claimer.known_dead", lambda self: True)
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
    states = {"j1": JobState.RUNNING, "j2": JobState.RUNNING}
    found = look_through(Provider(states, silent=True), store)
    assert found.due == ()
    assert found.waiting == ("spring",)
    assert found.trouble == ("gemini-batch: no answer",)


@pytest.mark.parametrize("error", [Unavailable("503 for this one"), KeyError("state")])
def test_a_sick_job_costs_itself_only(store: Store, error: Exception) -> None:
    start(store, "spring")
    start(store, "summer")
    accept(store, "spring", "j1")
    accept(store, "summer", "j2")
    accept(store, "summer", "j3")
    found = look(store, j1=error, j2=error, j3=JobState.SUCCEEDED)
    assert [due.handover.wave for due in found.due] == ["summer"]
    assert found.waiting == ("spring",)
    assert [line.partition(" (")[0] for line in found.trouble] == [
        "spring: job j1",
        "summer: job j2",
    ]


class AttendedProvider(Provider):
    """A lane whose jobs go on only in a process of ours: `survey` ends too soon for that."""

    def poll(self, name: str) -> JobStatus:
        raise AssertionError("whoever polls takes the job up")

    def look(self, name: str) -> JobStatus:
        status = Provider.poll(self, name)
        return replace(status, succeeded=2, failed=1)

    def close(self) -> None:
        raise AssertionError("nothing was begun")


def test_calls_that_nobody_makes_move_their_wave(store: Store) -> None:
    start(store, "spring")
    start(store, "summer")
    accept(store, "spring", "left")
    accept(store, "summer", "at-work")
    states = {"left": JobState.PENDING, "at-work": JobState.RUNNING}
    found = survey(store, lambda name: AttendedProvider(states))  # type: ignore[arg-type, return-value]
    (due,) = found.due
    assert (due.handover.wave, due.reasons) == ("spring", ("1 job left half done",))
    assert found.waiting == ("summer",)


def test_a_job_that_the_provider_does_not_know_moves_its_wave(store: Store) -> None:
    start(store, "spring")
    accept(store, "spring", "j1")
    gone = Rejected("404: no such batch", "", FailureClass.INVALID)
    (due,) = look(store, j1=gone).due
    assert due.reasons == ("1 job of unknown fate",)


# Each record that a look reads, and what of it is unreadable where that is damaged.
RECORDS = {
    "waiting/spring.json": "handed over",
    "jobs/claimed/intent.json": "claimed",
    "reruns/spring-0a1b2c3d-1.json": "rerun",
}


def records(store: Store) -> None:
    """The wave `spring` with each of these records, and `summer`, of which a job has ended."""
    start(store, "spring")
    folder = plan(store, "spring", "claimed")
    intent = folder.claim(label="spring", lane="gemini-batch", held_usd="0.02", after=[])
    assert intent is not None
    job_events.claimed(folder, intent)
    assert reruns.record(store, "spring", REVISION) is not None
    start(store, "summer")
    accept(store, "summer", "j1")


@pytest.mark.parametrize("path", RECORDS)
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"null", b"\xff"])
def test_an_unreadable_record_costs_its_own_wave_only(
    store: Store, path: str, damage: bytes
) -> None:
    records(store)
    assert store.exists(path)
    store.write(path, damage)
    if "reruns" in path:  # read only where nothing else says that the wave goes on
        settle(JobFolder(store, "claimed"))
    found = look(store, j1=JobState.SUCCEEDED)
    assert [due.handover.wave for due in found.due] == ["summer"]
    assert found.waiting == ()
    (said,) = found.trouble
    assert said.startswith("spring: ")
    assert path in said


def test_a_job_whose_plan_is_damaged_is_said_and_stops_nobody(store: Store) -> None:
    records(store)
    store.write("jobs/claimed/plan.json", b"{")
    plan(store, "spring", "unsent")
    store.write("jobs/unsent/plan.json", b"{")
    found = look(store, j1=JobState.SUCCEEDED)
    assert [due.handover.wave for due in found.due] == ["summer"]
    assert "jobs/unsent/plan.json cannot be read" in found.trouble[0]


@pytest.mark.parametrize("path", [*RECORDS, "jobs/claimed/plan.json"])
def test_a_record_of_a_newer_version_is_read(store: Store, path: str) -> None:
    records(store)
    content = orjson.loads(store.read(path)) | {"since_0.2": {"more": True}}
    store.write(path, orjson.dumps(content))
    if "reruns" in path:
        settle(JobFolder(store, "claimed"))
    found = look(store, j1=JobState.SUCCEEDED)
    assert found.trouble == ()
    assert "summer" in [due.handover.wave for due in found.due]


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
    assert waves_left(store) == []


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
    assert waves_left(store) == []


def test_handing_over_again_says_how_to_run_it_now(store: Store) -> None:
    hand_over(store, Handover(wave="spring", wave_file="/old.toml"))
    newest = Handover(wave="spring", wave_file="/new.toml", lane="interactive")
    hand_over(store, newest)
    assert waves_left(store) == ["spring"]
    assert handed_over(store, "spring") == newest
    take_back(store, "spring")
    take_back(store, "spring")
    assert waves_left(store) == []


def test_jobs_of_a_wave_that_nobody_left_to_watch_are_not_asked_for(store: Store) -> None:
    start(store, "mine", left_to_watch=False)
    accept(store, "mine", "j1")
    provider = Provider({"j1": JobState.RUNNING})
    assert look_through(provider, store).open_jobs == 1
    assert provider.polled == []


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, Rejected("404", "", FailureClass.INVALID)])
def test_a_job_that_such_a_wave_gave_up_is_a_leftover_when_it_has_ended(
    store: Store, state: JobState | Exception
) -> None:
    start(store, "mine", left_to_watch=False)
    folder = accept(store, "mine", "j1")
    folder.abandon("too old")
    assert look(store, j1=JobState.RUNNING).leftovers == ()
    (left,) = look(store, j1=state).leftovers
    assert (left.wave, left.job_id) == ("mine", "j1")
    settle(folder)
    assert look(store).leftovers == ()


def test_what_keeps_a_leftover_from_being_taken_in_is_said(store: Store) -> None:
    start(store, "mine", left_to_watch=False)
    accept(store, "mine", "j1").abandon("too old")
    found = look(store, j1=JobState.SUCCEEDED)
    (left,) = found.leftovers
    left.lane.states["j1"] = Unavailable("no answer")  # type: ignore[attr-defined]
    with Pool(max_pixels=1) as pool:
        assert take_in(store, found.leftovers, pool) == ["mine: job j1: no answer"]
    assert look(store, j1=JobState.SUCCEEDED).leftovers
