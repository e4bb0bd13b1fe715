"""What `watch` does about a wave that can move; no worker takes up what it starts."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Cancelled, Completed, Crashed, Failed, Running
from tests.storage.builders import put

from imagewave.flows.labels import run_tags
from imagewave.flows.watch import watch
from imagewave.flows.wave import wave
from imagewave.storage.handover import Handover, hand_over
from imagewave.storage.store import Store


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
        wave="spring", wave_file="/waves/spring.toml", lane="interactive", helpers=2
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


def test_another_stores_wave_of_that_name_is_another_wave(
    client: SyncPrefectClient, store: Store, tmp_path: Path
) -> None:
    other = Store.open(str(tmp_path / "other"))
    hand_over(other, Handover(wave="spring", wave_file="/waves/spring.toml"))
    watch(store.url)
    assert watch(other.url) == {"spring": "sent on: no job is under way"}
