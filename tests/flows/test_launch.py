"""Who runs a wave that is asked for here."""

import asyncio

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from tests.flows.conftest import Bench

import imagewave as iw
from imagewave.flows import launch as launching
from imagewave.flows.launch import launch
from imagewave.flows.prefect.labels import run_tags
from imagewave.storage.money.ledger import BudgetExceeded
from imagewave.storage.store import Store
from imagewave.storage.waves.handover import handed_over

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("prefect_server")]

WAVE = """
[wave]
name = "launched"
[draft]
max_rounds = 1
[screen]
min_blur = 0
min_entropy = 0
[judge]
enabled = false
[final]
carry = "accept"
[[brief]]
text = "a paper boat"
"""


def flow_runs(bench: Bench) -> list[str | None]:
    """The states of the wave's runs on the server."""
    tags = FlowRunFilterTags(all_=run_tags(Store.open(bench.store_url), "launched"))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=tags))
    return [run.state_name for run in found]


@pytest.fixture
def alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The bench where nobody names a server; the tests have Prefect's at hand."""
    monkeypatch.setattr(launching, "named_server", lambda: "")
    return bench


def test_a_server_that_is_named_has_a_run_of_the_wave(bench: Bench) -> None:
    assert launch(str(bench.write(WAVE)), bench.store_url) == "reports/launched.html"
    assert flow_runs(bench) == ["Completed"]


def test_a_notebook_has_its_run_on_the_server_too(bench: Bench) -> None:
    path = bench.write(WAVE)

    async def notebook() -> iw.Result:  # an event loop runs in the thread that calls
        return iw.run(path, store=bench.store_url)

    assert asyncio.run(notebook()).delivered
    assert flow_runs(bench) == ["Completed"]


def test_without_a_server_the_wave_runs_all_the_same(alone: Bench) -> None:
    assert launch(str(alone.write(WAVE)), alone.store_url) == "reports/launched.html"
    assert flow_runs(alone) == []
    assert alone.sql("SELECT accepted FROM funnel") == [{"accepted": 1}]


def test_without_a_server_a_wave_that_waits_is_left_to_watch(alone: Bench) -> None:
    alone.configure(running_s=3600)
    assert launch(str(alone.write(WAVE)), alone.store_url, wait=False) == ""
    assert handed_over(Store.open(alone.store_url), "launched") is not None


def test_without_a_server_a_budget_that_is_used_up_is_a_finding(alone: Bench) -> None:
    path = alone.write(WAVE + "[budget]\nwave_usd = 0.000001\n")
    with pytest.raises(BudgetExceeded):
        launch(str(path), alone.store_url)
    assert alone.sql("SELECT kind FROM findings") == [{"kind": "over budget"}]
