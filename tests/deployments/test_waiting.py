"""Waiting costs nothing, and whatever is killed, the wave goes on and pays once."""

import json
import urllib.request
from typing import Any

from tests.chaos.bench import assets, check_exactly_once, is_done, wait_until
from tests.deployments.site import Site, children_of, kill_group

from imagewave.storage.analytics import query
from imagewave.storage.jobs import JobFolder
from imagewave.storage.store import Store


def control(site: Site, path: str, body: object = None, method: str = "GET") -> Any:
    """One of the sandbox's own endpoints."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{site.sandbox.url}/sandbox/{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        text = response.read()
    if path == "ledger":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text or b"null")


def billed(site: Site, store: Store) -> list[dict[str, Any]]:
    """What the sandbox billed for the requests of this store."""
    wanted = {row["request_id"] for row in query(store, "SELECT request_id FROM raw_submissions")}
    return [line for line in control(site, "ledger") if line["key"] in wanted]


def release(site: Site, store: Store) -> None:
    """Lets the provider get on with the store's one job, and waits for its end."""
    (job_id,) = {path.split("/")[1] for path in store.list("jobs")}
    accepted = JobFolder(store, job_id).accepted()
    assert accepted is not None
    provider_id = accepted.provider_job.removeprefix("batches/")
    control(site, f"jobs/{provider_id}:release", {}, "POST")
    wait_until(
        lambda: any(
            job["name"] == accepted.provider_job and "SUCCEEDED" in job["metadata"]["state"]
            for job in control(site, "jobs")
        ),
        "the provider's job",
    )


def assert_delivered_once(site: Site, store: Store) -> None:
    """The wave is delivered, and paid for once."""
    assert is_done(store)
    assert len(assets(store)) == 1
    assert check_exactly_once(store, billed(site, store)) == 1.0


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


def test_worker_and_server_killed_while_the_provider_answers(site: Site) -> None:
    """The worst moment: the provider has accepted, and nobody has heard it."""
    path, store = site.wave("killed")
    control(site, "faults", {"create_slow": {"seconds": 20}}, "PUT")
    with site.worker() as worker:
        run = site.run_deployment("wave/wave", wave_file=str(path), store=store.url)
        wait_until(
            lambda: any("intent" in name for name in store.list("jobs")), "the claim of a job", 90
        )
        kill_group(worker)
        site.kill_server()
    site.start_server()
    assert site.state(run["id"]) == "Running", "as far as Prefect can know"
    with site.worker():
        # The zombie automation is proven elsewhere; here its verdict is given by hand.
        site.call(
            "POST",
            f"flow_runs/{run['id']}/set_state",
            {"state": {"type": "CRASHED", "name": "Crashed"}, "force": True},
        )
        assert site.watch(store).wait(120) == 0
        _, sent_on = site.runs("wave:killed")
        site.wait_for(sent_on["id"], "Completed", "Waiting", "Failed")
        if not is_done(store):
            assert site.watch(store).wait(120) == 0
            wait_until(lambda: is_done(store), "the delivery", 90)
    assert_delivered_once(site, store)
