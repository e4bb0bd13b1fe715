"""A wave that may have helpers, where none comes: it does everything itself.

What helpers do is in tests/deployments/test_many_machines.py.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import cast

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.settings import PREFECT_API_URL
from tests.chaos.bench import check_exactly_once
from tests.flows.conftest import Bench

from imagewave.flows.prefect.share import share
from imagewave.storage.store import Store

pytestmark = pytest.mark.slow

# Three jobs of drafts: 250, 250 and 100 requests.
WAVE = """
[wave]
name = "crowd"
[draft]
max_rounds = 1
max_oversample = 1
probe = 100
[screen]
aspect_tolerance = 1
min_brightness = 0
max_brightness = 1
min_contrast = 0
min_blur = 0
min_entropy = 0
max_border = 1
max_cast = 1
duplicate_distance = 0
[judge]
enabled = false
[final]
carry = "accept"
""" + "".join(
    f'[[brief]]\nid = "b{number}"\ntext = "picture number {number}"\nwant = 100\n'
    for number in range(6)
)


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A client of the tests' server."""
    with get_client(sync_client=True) as client:
        yield client


def helpers_of(client: SyncPrefectClient, wave: str) -> list[FlowRun]:
    """All runs that were asked to help the wave."""
    tags = FlowRunFilterTags(all_=[f"helps:{wave}"])
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=tags))


def slow_downloads(bench: Bench) -> None:
    """Has tiny pictures come so slowly that the third job has ended before the first is here."""
    bench.configure(tiny=64)
    stalled = {"download_stalled": {"times": 3, "seconds": 3}}
    httpx.put(f"{bench.sandbox.url}/sandbox/faults", json=stalled).raise_for_status()


def jobs_done(bench: Bench) -> list[int]:
    """The claims by which the draft jobs were done."""
    return [row["claim"] for row in bench.sql("SELECT claim FROM raw_shares")]


def test_without_a_deployment_nobody_helps_and_nothing_is_missing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    slow_downloads(bench)
    assert bench.run_on_prefect(WAVE, helpers=2)
    assert "There is no deployment share/share" in caplog.text
    assert jobs_done(bench) == [1, 1, 1]
    (row,) = bench.sql("SELECT count(*) AS n, count(DISTINCT request_id) AS d FROM attempts")
    assert row == {"n": 600, "d": 600}


def test_helpers_that_never_began_are_dismissed(bench: Bench, client: SyncPrefectClient) -> None:
    cast(RunnerDeployment, share.to_deployment(name="share")).apply()
    slow_downloads(bench)
    assert bench.run_on_prefect(WAVE.replace("crowd", "lonely"), helpers=2)
    assert jobs_done(bench) == [1, 1, 1]
    (helper,) = helpers_of(client, "lonely")
    assert helper.state
    assert helper.state.is_cancelled()
    work = str(helper.parameters["work"])
    # One that a worker took up all the same finds nothing to do.
    assert share(bench.store_url, work, 1_000_000) == 0
    assert len(Store.open(bench.store_url).list(f"shares/{work}")) >= 9


def test_what_a_killed_run_had_claimed_the_next_one_does(bench: Bench) -> None:
    bench.configure(tiny=64)
    wave = bench.write(WAVE)
    code = (
        "import sys; from imagewave.flows.prefect.wave import wave; wave(*sys.argv[1:], helpers=2)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(wave), bench.store_url],
        env={
            **os.environ,
            "IMAGEWAVE_KILL_AT": "collect.midway",
            "PREFECT_API_URL": PREFECT_API_URL.value() or "",
        },
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert jobs_done(bench) == []
    assert bench.run_on_prefect(WAVE, helpers=2)
    claims = jobs_done(bench)
    assert len(claims) == 3
    assert max(claims) == 2, "it was claimed by the dead run, and then by this one"
    assert check_exactly_once(Store.open(bench.store_url), bench.billed()) == 1.0


def test_alone_it_leaves_no_claims(bench: Bench) -> None:
    bench.configure(tiny=64)
    assert bench.run_on_prefect(WAVE)
    assert Store.open(bench.store_url).list("shares") == []
    assert jobs_done(bench) == []
