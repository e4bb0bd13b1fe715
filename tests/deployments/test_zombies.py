"""Runs whose process is gone are found out, and let nobody wait for them for ever.

The last test is long, because the shipped automation waits for three missed heartbeats:
`make chaos` runs it.
"""

import uuid
from datetime import UTC, datetime

import pytest
from tests.chaos.bench import is_done, wait_until
from tests.deployments.site import Site, assert_delivered_once, control, kill_group


@pytest.mark.timeout(600)
@pytest.mark.parametrize("state", ["Suspended", "Paused"])
def test_a_silent_run_is_left_where_a_person_put_it(site: Site, state: str) -> None:
    (zombies,) = site.call(
        "POST", "automations/filter", {"automations": {"name": {"any_": ["imagewave: zombies"]}}}
    )
    shipped = {name: zombies[name] for name in ("name", "description", "enabled", "actions")}
    trigger = {name: value for name, value in zombies["trigger"].items() if name != "id"}

    def silence(seconds: float) -> None:
        changed = shipped | {"trigger": trigger | {"within": seconds}}
        site.call("PUT", f"automations/{zombies['id']}", changed)

    silence(10)
    try:
        runs = []
        for _ in range(2):
            run = site.run_deployment("wave/wave", wave_file="/nowhere.toml")
            site.call("POST", f"flow_runs/{run['id']}/set_state", set_to("RUNNING"))
            runs.append(run["id"])
        stopped, silent = runs
        for id in runs:
            heartbeat(site, id)
        site.call("POST", f"flow_runs/{stopped}/set_state", set_to("PAUSED", state))
        # The other one, silent as well, shows when the automation has looked.
        site.wait_for(silent, "Crashed", seconds=240)
        assert site.state(stopped) == state
    finally:
        silence(trigger["within"])
        for id in runs:
            site.call("DELETE", f"flow_runs/{id}")


def set_to(type: str, name: str = "") -> dict[str, object]:
    """What sets a run's state, whatever Prefect's rules say of it."""
    return {"state": {"type": type, "name": name or type.title()}, "force": True}


def heartbeat(site: Site, id: str) -> None:
    """Says that the run's process lives, as Prefect's engine does."""
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{id}"},
        "related": [
            {
                "prefect.resource.id": "prefect.flow.any",
                "prefect.resource.role": "flow",
                "prefect.resource.name": "wave",
            }
        ],
        "payload": {},
    }
    site.call("POST", "events", [event])


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_dead_run_is_declared_crashed_and_gives_up_its_place(site: Site) -> None:
    path, store = site.wave("zombie")
    # A deployment of its own lets one run through at a time: the dead one must not keep the place.
    site.imagewave("deploy", str(path), "--store", store.url)
    site.pause_schedules()
    control(site, "faults", {"create_slow": {"seconds": 20}}, "PUT")
    with site.worker() as worker:
        run = site.run_deployment("wave/zombie")
        wait_until(
            lambda: any("intent" in name for name in store.list("jobs")), "the claim of a job", 90
        )
        kill_group(worker)
        site.kill_server()
    site.start_server()
    assert site.state(run["id"]) == "Running", "as far as Prefect can know"

    site.wait_for(run["id"], "Crashed", seconds=240)

    with site.worker():
        assert site.watch(store).wait(120) == 0
        wait_until(lambda: len(site.runs("wave:zombie")) == 2, "a new run")
        sent_on = site.runs("wave:zombie")[-1]
        site.wait_for(sent_on["id"], "Completed", "Waiting", "Failed", seconds=240)
        if not is_done(store):
            assert site.watch(store).wait(120) == 0
            wait_until(lambda: is_done(store), "the delivery", 120)
    assert_delivered_once(site, store)
