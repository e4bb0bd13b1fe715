"""Waiting costs nothing, and whatever is killed, the wave goes on and pays once."""

import pytest
from tests.chaos.bench import is_done, wait_until
from tests.deployments.site import (
    KEY,
    Site,
    assert_delivered_once,
    children_of,
    control,
    files_that_hold,
    kill_group,
    release,
)

# Generous: each run is a new process, and the machine may be busy.
pytestmark = pytest.mark.timeout(900)


def test_a_waiting_wave_has_no_process_and_watch_sends_it_on(site: Site) -> None:
    path, store = site.wave("patient")
    control(site, "faults", {"job_stuck": 1}, "PUT")
    with site.worker() as worker:
        run = site.run_deployment("wave/wave", wave_file=str(path), store=store.url)
        assert site.wait_for(run["id"], "Waiting", "Failed", "Crashed") == "Waiting"
        wait_until(lambda: not children_of(worker), "the run's process to end")
        assert not is_done(store)

        look = site.run_deployment("watch/watch", store=store.url)
        assert site.wait_for(look["id"], "Completed", "Failed") == "Completed"
        assert len(site.runs("wave:patient")) == 1, "nothing had moved"

        release(site, store)
        look = site.run_deployment("watch/watch", store=store.url)
        assert site.wait_for(look["id"], "Completed", "Failed") == "Completed"
        sent_on = site.runs("wave:patient")[-1]
        assert site.wait_for(sent_on["id"], "Completed", "Failed", "Waiting") == "Completed"
    assert len(site.runs("wave:patient")) == 2
    assert_delivered_once(site, store)
    # The key was in the worker's environment, and in nothing that anybody wrote.
    assert files_that_hold(KEY, store.local_path(""), site.home, site.logs) == []


def test_two_watches_at_once_start_one_run(site: Site) -> None:
    path, store = site.wave("watched-twice")
    control(site, "faults", {"job_stuck": 1}, "PUT")
    with site.worker():
        run = site.run_deployment("wave/wave", wave_file=str(path), store=store.url)
        assert site.wait_for(run["id"], "Waiting", "Failed", "Crashed") == "Waiting"
        release(site, store)
        for watch in [site.watch(store), site.watch(store)]:
            assert watch.wait(120) == 0
        first, sent_on = site.runs("wave:watched-twice")
        assert first["id"] == run["id"]
        assert site.wait_for(sent_on["id"], "Completed", "Failed", "Waiting") == "Completed"
    assert_delivered_once(site, store)


@pytest.mark.parametrize(
    "victims",
    [
        "worker and server",
        pytest.param("worker", marks=pytest.mark.chaos),
        pytest.param("server", marks=pytest.mark.chaos),
    ],
)
def test_killed_while_the_provider_answers(site: Site, victims: str) -> None:
    """The worst moment: the provider has accepted, and nobody has heard it."""
    path, store = site.wave("killed-" + victims.replace(" ", "-"))
    tag = f"wave:{path.stem}"
    control(site, "faults", {"create_slow": {"seconds": 20}}, "PUT")
    with site.worker() as worker:
        run = site.run_deployment("wave/wave", wave_file=str(path), store=store.url)
        wait_until(
            lambda: any("intent" in name for name in store.list("jobs")), "the claim of a job", 90
        )
        if "worker" in victims:
            kill_group(worker)
        if "server" in victims:
            site.kill_server()
            site.start_server()
        if "worker" in victims:
            assert site.state(run["id"]) == "Running", "as far as Prefect can know"
            # The zombie automation says so after 90 s: test_zombies.py waits for it.
            crashed = {"state": {"type": "CRASHED", "name": "Crashed"}, "force": True}
            site.call("POST", f"flow_runs/{run['id']}/set_state", crashed)
        else:
            site.wait_for(run["id"], "Completed", "Waiting", "Failed", "Crashed", seconds=180)
    with site.worker():
        for _ in range(3):
            if is_done(store):
                break
            assert site.watch(store).wait(120) == 0
            sent_on = site.runs(tag)[-1]
            site.wait_for(sent_on["id"], "Completed", "Waiting", "Failed", seconds=120)
    assert_delivered_once(site, store)
