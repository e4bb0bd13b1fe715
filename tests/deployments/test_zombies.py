"""Runs whose process is gone are found out, and let nobody wait for them for ever.

Long, because the shipped automation waits for three missed heartbeats: `make chaos` runs it.
"""

import pytest
from tests.chaos.bench import is_done, wait_until
from tests.deployments.site import Site, assert_delivered_once, control, kill_group


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
