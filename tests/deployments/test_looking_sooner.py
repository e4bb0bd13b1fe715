"""Other ways to go on with a wave than the schedule: a webhook, and the command line."""

import base64
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook
from tests.chaos.bench import wait_until
from tests.deployments.site import KEY, Site, assert_delivered_once, control, release
from tests.servers import free_port

# Generous: each run is a new process, and the machine may be busy.
pytestmark = pytest.mark.timeout(900)

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


@contextmanager
def served(site: Site, store: str, port: int) -> Iterator[None]:
    """`imagewave webhook serve`, on the loopback interface."""
    command = ["-m", "imagewave", "webhook", "serve", "--store", store, "--port", str(port)]
    environment = site.environment(IMAGEWAVE_WEBHOOK_SECRET=SECRET)
    with subprocess.Popen([sys.executable, *command], env=environment) as process:
        try:
            wait_until(lambda: post(port, {}) == 401, "the webhook server", 60)
            yield
        finally:
            process.kill()


def post(port: int, headers: dict[str, str]) -> int:
    """The status that a webhook is answered with; 0 while nobody answers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/webhook", data=b"{}", headers=headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return 0


def signed(id: str) -> dict[str, str]:
    """The headers of a webhook that the provider sends now."""
    sent = datetime.now(UTC)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(id, sent, "{}"),
    }


def test_a_webhook_starts_one_look_however_often_it_comes(site: Site) -> None:
    _, store = site.wave("hooked")
    deployment = site.call("GET", "deployments/name/watch/watch")
    headers = signed("msg_7")
    with served(site, store.url, port := free_port()):
        assert post(port, headers) == 200
        assert post(port, headers) == 200
    body = {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}}
    looks = [
        run
        for run in site.call("POST", "flow_runs/filter", body)
        if run["parameters"]["store"] == store.url
    ]
    assert len(looks) == 1
    site.call("DELETE", f"flow_runs/{looks[0]['id']}")


def test_webhooks_that_come_while_watch_runs_make_one_more_look(site: Site) -> None:
    _, store = site.wave("hooked-often")
    deployment = site.call("GET", "deployments/name/watch/watch")
    mine = {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}}
    at_work = site.run_deployment("watch/watch", store=store.url)
    for state in ("PENDING", "RUNNING"):  # as a worker does, which takes the one place by it
        body = {"state": {"type": state}}
        site.call("POST", f"flow_runs/{at_work['id']}/set_state", body)

    def states() -> list[str]:
        return sorted(
            run["state_name"]
            for run in site.call("POST", "flow_runs/filter", mine)
            if run["parameters"]["store"] == store.url and run["id"] != at_work["id"]
        )

    with served(site, store.url, port := free_port()), site.worker():
        for number in range(3):
            assert post(port, signed(f"msg_often_{number}")) == 200
        # The worker has offered each of them to Prefect, which had no place for it.
        wait_until(lambda: states() == ["AwaitingConcurrencySlot"] * 3, "the queue", 120)
        done = {"state": {"type": "COMPLETED"}, "force": True}
        site.call("POST", f"flow_runs/{at_work['id']}/set_state", done)
        # One that Prefect is just offered again when a look ends may look once more itself.
        wait_until(lambda: set(states()) <= {"Completed", "Covered"}, "the looks", 480)
    assert {"Completed", "Covered"} == set(states())


def test_without_a_secret_no_webhook_is_served(site: Site) -> None:
    _, store = site.wave("unhooked")
    done = site.imagewave("webhook", "serve", "--store", store.url, check=False)
    assert done.returncode == 1
    assert "IMAGEWAVE_WEBHOOK_SECRET is not set" in done.stderr


def test_the_command_line_goes_on_without_any_deployment(site: Site) -> None:
    path, store = site.wave("by-hand")
    control(site, "faults", {"job_stuck": 1}, "PUT")
    arguments = ("--store", store.url)

    run = site.imagewave("run", str(path), "--no-wait", *arguments, GEMINI_API_KEY=KEY)
    assert "The wave waits for its provider" in run.stdout
    look = site.imagewave("watch", *arguments, GEMINI_API_KEY=KEY)
    assert look.stdout == "by-hand: waits for its jobs\n"

    release(site, store)
    look = site.imagewave("watch", "--every", "0.5", *arguments, GEMINI_API_KEY=KEY)
    assert "by-hand: goes on, 1 job ended at the provider" in look.stdout
    assert "by-hand: delivered" in look.stdout
    assert_delivered_once(site, store)

    assert site.imagewave("watch", *arguments).stdout == "No wave was left to watch.\n"
