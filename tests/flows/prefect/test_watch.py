"""What `watch` does about a wave that can move; no worker takes up what it starts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments.runner import RunnerDeployment
from prefect.flow_runs import resume_flow_run
from prefect.states import (
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Paused,
    Running,
    Scheduled,
    Suspended,
)
from tests.storage.builders import put

from imagewave.flows.prefect.labels import run_tags
from imagewave.flows.prefect.watch import NotSentOn, watch
from imagewave.flows.prefect.wave import wave
from imagewave.flows.prefect.webhook import Notify, start_watch
from imagewave.providers.protocol import Lane
from imagewave.storage.store import Store, StoreError
from imagewave.storage.waves.handover import Handover, hand_over
from imagewave.tasks.jobs.handed_over import Survey, survey

pytestmark = pytest.mark.slow


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A server with the deployment `wave/wave`."""
    cast(RunnerDeployment, wave.to_deployment(name="wave")).apply()
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a wave that was left to `watch` and has no job under way."""
    store = Store.open(str(tmp_path / "store"))
    row = {"wave": "spring", "revision": "0a1b2c3d", "file": "f", "spec": "{}", "realm": "sandbox"}
    put(store, "waves", "run-1", row)
    handover = Handover(
        wave="spring",
        wave_file="/waves/spring.toml",
        lane="interactive",
        helpers=2,
        edition="2026-12-01",
    )
    hand_over(store, handover)
    return store


def runs(client: SyncPrefectClient, store: Store) -> list[FlowRun]:
    """The runs of the wave, the newest last."""
    tags = FlowRunFilterTags(all_=run_tags(store, "spring"))
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=tags))
    return sorted(found, key=lambda run: str(run.created))


def end(client: SyncPrefectClient, run: FlowRun, state: State) -> None:
    client.set_flow_run_state(run.id, state, force=True)


def test_it_starts_one_run_and_leaves_it_alone(client: SyncPrefectClient, store: Store) -> None:
    assert watch(store.url) == {"spring": "sent on: no job is under way"}
    (run,) = runs(client, store)
    assert run.parameters == {
        "wave_file": "/waves/spring.toml",
        "store": store.url,
        "lane": "interactive",
        "wait": False,
        "helpers": 2,
        "edition": "2026-12-01",
    }
    assert watch(store.url) == {"spring": "has a run under way"}
    end(client, run, Running())
    assert watch(store.url) == {"spring": "has a run under way"}
    assert len(runs(client, store)) == 1


def test_a_deployment_of_the_wave_itself_is_preferred(
    client: SyncPrefectClient, store: Store
) -> None:
    cast(RunnerDeployment, wave.to_deployment(name="spring")).apply()
    watch(store.url)
    (run,) = runs(client, store)
    own = client.read_deployment_by_name("wave/spring")
    assert run.deployment_id == own.id
    client.delete_deployment(own.id)


@pytest.mark.parametrize("state", [Failed(), Failed(name="OverBudget"), Completed(name="Waiting")])
def test_a_run_that_moved_nothing_is_not_repeated_at_once(
    client: SyncPrefectClient, store: Store, state: State
) -> None:
    watch(store.url)
    end(client, runs(client, store)[0], state)
    assert watch(store.url)["spring"].startswith("ended without moving on; next try at")
    assert len(runs(client, store)) == 1


def test_a_crash_is_repeated_at_once_but_not_for_ever(
    client: SyncPrefectClient, store: Store
) -> None:
    for attempt in range(1, 5):
        assert watch(store.url)["spring"].startswith("sent on"), f"attempt {attempt}"
        assert len(runs(client, store)) == attempt
        end(client, runs(client, store)[-1], Crashed())
        if attempt == 4:
            break
    assert watch(store.url)["spring"].startswith("ended without moving on")


def test_what_a_person_cancelled_stays_cancelled(client: SyncPrefectClient, store: Store) -> None:
    watch(store.url)
    end(client, runs(client, store)[0], Cancelled())
    assert watch(store.url) == {"spring": "was cancelled; run it by hand to go on"}
    assert len(runs(client, store)) == 1


def suspended(client: SyncPrefectClient, store: Store) -> FlowRun:
    """A run of the wave that began, and that a person has suspended then."""
    watch(store.url)
    (run,) = runs(client, store)
    end(client, run, Running())
    end(client, run, Suspended(timeout_seconds=3600))
    return run


@pytest.mark.parametrize("state", [Suspended(timeout_seconds=60), Paused(timeout_seconds=60)])
def test_a_run_that_a_person_paused_is_left_alone(
    client: SyncPrefectClient, store: Store, state: State
) -> None:
    watch(store.url)
    (run,) = runs(client, store)
    end(client, run, Running())
    end(client, run, state)
    what = f"is {state.name.lower()} in Prefect; resume or cancel that run"  # type: ignore[union-attr]
    assert watch(store.url) == {"spring": what}
    assert len(runs(client, store)) == 1


def test_a_suspended_run_that_was_declared_crashed_is_suspended_again(
    client: SyncPrefectClient, store: Store
) -> None:
    run = suspended(client, store)
    end(client, run, Crashed(message="No heartbeat"))
    what = {"spring": "is suspended in Prefect; resume or cancel that run"}
    assert watch(store.url) == what
    assert watch(store.url) == what
    (left,) = runs(client, store)
    assert left.state_name == "Suspended"
    assert left.state
    assert left.state.state_details.pause_timeout
    resume_flow_run(left.id)
    assert runs(client, store)[0].state_name == "Resuming"
    assert watch(store.url) == {"spring": "has a run under way"}


@pytest.mark.parametrize("state", [Completed(name="Waiting"), Failed(message="never resumed")])
def test_a_suspended_run_that_ended_all_the_same_is_not_followed_by_another(
    client: SyncPrefectClient, store: Store, state: State
) -> None:
    run = suspended(client, store)
    end(client, run, state)
    assert watch(store.url) == {
        "spring": "was suspended in Prefect, and has ended since; run it by hand to go on"
    }
    assert len(runs(client, store)) == 1


def test_a_run_that_was_resumed_is_like_any_other(client: SyncPrefectClient, store: Store) -> None:
    run = suspended(client, store)
    states: list[State] = [Scheduled(name="Resuming"), Running(), Crashed()]
    for state in states:
        end(client, run, state)
    assert watch(store.url)["spring"].startswith("sent on")


def test_a_run_that_crashed_while_it_was_cancelled_stays_cancelled(
    client: SyncPrefectClient, store: Store
) -> None:
    watch(store.url)
    (run,) = runs(client, store)
    states: list[State] = [Running(), Cancelling(), Crashed()]
    for state in states:
        end(client, run, state)
    assert watch(store.url) == {"spring": "was cancelled; run it by hand to go on"}
    assert len(runs(client, store)) == 1


def test_a_wave_that_prefect_does_not_start_stops_no_other(
    client: SyncPrefectClient, store: Store
) -> None:
    cast(RunnerDeployment, wave.to_deployment(name="spring")).apply()
    hand_over(store, Handover(wave="autumn", wave_file="/waves/autumn.toml"))
    client.delete_deployment(client.read_deployment_by_name("wave/wave").id)
    with pytest.raises(NotSentOn, match="autumn: ObjectNotFound"):
        watch(store.url)
    assert len(runs(client, store)) == 1
    client.delete_deployment(client.read_deployment_by_name("wave/spring").id)


def looks(client: SyncPrefectClient, store: Store) -> dict[str, str]:
    """The state of each look at the store that was asked for, by the key it was asked with."""
    found = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["watch"])))
    return {
        run.idempotency_key.removeprefix(f"webhook-{store.id}-"): run.state_name or ""
        for run in found
        if run.parameters.get("store") == store.url and run.idempotency_key
    }


@pytest.fixture
def webhook(client: SyncPrefectClient, store: Store) -> Notify:
    """What a webhook about the store does."""
    cast(RunnerDeployment, watch.to_deployment(name="watch")).apply()
    return start_watch(store)


def test_one_look_is_made_for_all_webhooks_that_came_before_it(
    client: SyncPrefectClient, store: Store, tmp_path: Path, webhook: Notify
) -> None:
    other = Store.open(str(tmp_path / "other"))
    start_watch(other)("1")
    webhook("1")
    webhook("2")
    assert watch(store.url)
    assert looks(client, store) == {"1": "Covered", "2": "Covered"}
    assert looks(client, other) == {"1": "Scheduled"}


def test_a_webhook_that_comes_during_a_look_makes_one_more(
    client: SyncPrefectClient, store: Store, webhook: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(store: Store, open_lane: Callable[[str], Lane]) -> Survey:
        webhook("late")
        return survey(store, open_lane)

    webhook("early")
    monkeypatch.setattr("imagewave.flows.prefect.watch.survey", meanwhile)
    watch(store.url)
    assert looks(client, store) == {"early": "Covered", "late": "Scheduled"}


def test_a_look_that_fails_covers_nothing(
    client: SyncPrefectClient, store: Store, webhook: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(store: Store, open_lane: Callable[[str], Lane]) -> Survey:
        raise StoreError("The store is away.")

    webhook("1")
    monkeypatch.setattr("imagewave.flows.prefect.watch.survey", failing)
    with pytest.raises(StoreError):
        watch(store.url)
    assert looks(client, store) == {"1": "Scheduled"}


def test_another_stores_wave_of_that_name_is_another_wave(
    client: SyncPrefectClient, store: Store, tmp_path: Path
) -> None:
    other = Store.open(str(tmp_path / "other"))
    hand_over(other, Handover(wave="spring", wave_file="/waves/spring.toml"))
    watch(store.url)
    assert watch(other.url) == {"spring": "sent on: no job is under way"}
