"""What one deployed run shows in Prefect's UI, what it costs the server, and what it keeps secret.

The key comes from a Secret block: the worker's environment has none.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from tests.deployments.site import Site, files_that_hold

from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store

# Generous: each run is a new process, and the machine may be busy.
pytestmark = pytest.mark.timeout(900)

SECRET = "marker-of-the-secret-block-93c7"

SAVE_KEY = """
import sys
from prefect.blocks.system import Secret
Secret(value=sys.argv[1]).save("gemini-api-key", overwrite=True)
"""

FULL_WAVE = """
[wave]
name = "full_wave"
[wait]
poll_seconds = [0.1, 0.3]
list_lag_seconds = 0.5
[draft]
probe = 2
max_rounds = 1
[screen]
min_blur = 0
min_entropy = 0
duplicate_distance = 0
[judge]
min_score = 0.0
min_brief_fit = 0.0
[final]
carry = "reference"
size = "1K"
[[brief]]
id = "harbour"
text = "a fishing harbour in the morning, boats at the quay"
"""


@dataclass(frozen=True)
class Ran:
    """A run that is over."""

    site: Site
    store: Store
    flow_run: dict[str, Any]

    def artifacts(self) -> dict[str, dict[str, Any]]:
        """The run's artifacts by key."""
        body = {"artifacts": {"flow_run_id": {"any_": [self.flow_run["id"]]}}}
        found = self.site.call("POST", "artifacts/filter", body)
        return {artifact["key"]: artifact for artifact in found if artifact["key"]}

    def task_runs(self) -> list[dict[str, Any]]:
        """The run's task runs."""
        body = {"flow_runs": {"id": {"any_": [self.flow_run["id"]]}}}
        found: list[dict[str, Any]] = self.site.call("POST", "task_runs/filter", body)
        return found


@pytest.fixture(scope="module")
def ran(site: Site) -> Ran:
    """A wave with drafts, a judge and finals, run by a worker that has to ask for its key."""
    subprocess.run([sys.executable, "-c", SAVE_KEY, SECRET], env=site.environment(), check=True)
    folder = site.root / "full"
    folder.mkdir()
    path = folder / "wave.toml"
    path.write_text(FULL_WAVE)
    store = Store.open(str(folder / "store"))
    with site.worker(GEMINI_API_KEY=""):
        run = site.run_deployment("wave/wave", wave_file=str(path), store=store.url, wait=True)
        assert site.wait_for(run["id"], "Completed", "Failed", "Crashed") == "Completed"
    return Ran(site, store, site.call("GET", f"flow_runs/{run['id']}"))


def test_names_and_tags_say_wave_stage_and_job(ran: Ran) -> None:
    (wave,) = query(ran.store, "SELECT revision FROM waves")
    assert ran.flow_run["name"] == f"full_wave {wave['revision']}"
    store_tag = f"store:{ran.store.id[:8]}"
    assert {"wave:full_wave", "lane:gemini-batch", store_tag} <= set(ran.flow_run["tags"])
    names = [run["name"] for run in ran.task_runs()]
    for row in query(ran.store, "SELECT job_id, kind, round, attempt FROM jobs"):
        stage = f"full_wave {row['kind']} {row['round']}.{row['attempt']}"
        assert f"{stage} submit {row['job_id'][:8]}" in names
        assert f"{stage} collect {row['job_id'][:8]}" in names
    assert {"full_wave draft 1 screen", "full_wave final 1 select", "full_wave report"} <= set(
        names
    )


def test_the_server_is_asked_little(ran: Ran) -> None:
    jobs = len(query(ran.store, "SELECT job_id FROM jobs"))
    assert jobs == 4
    # Two per job; the rest is what each round and each wave costs, however many jobs it has.
    assert len(ran.task_runs()) == 2 * jobs + 9


def test_artifacts_show_progress_funnel_bill_findings_and_pictures(ran: Ran) -> None:
    artifacts = ran.artifacts()
    assert artifacts["full-wave-progress"]["type"] == "progress"
    assert artifacts["full-wave-progress"]["data"] == 100
    total, harbour = json.loads(artifacts["full-wave-funnel"]["data"])
    assert total["brief"] == "all 1 briefs"
    assert harbour["brief"] == "harbour"
    assert (harbour["want"], harbour["final"]) == (1, 1)
    bill = {row["kind"]: row for row in json.loads(artifacts["full-wave-bill"]["data"])}
    (spent,) = query(ran.store, "SELECT sum(cost_usd)::DECIMAL(18, 4)::VARCHAR AS usd FROM costs")
    assert bill["total"]["usd"] == spent["usd"]
    assert json.loads(artifacts["full-wave-findings"]["data"]) == []
    assert "data:image/jpeg;base64," in artifacts["full-wave-contact-sheet"]["data"]
    assert f"{ran.store.url}/reports/full_wave.html" in artifacts["full-wave-report"]["data"]
    assert ran.store.url in artifacts["full-wave-store"]["data"]


def test_no_key_is_written_anywhere(ran: Ran) -> None:
    assert (ran.site.home / "prefect.db").exists()
    assert ran.store.exists("reports/full_wave.html")
    places = (ran.store.local_path(""), ran.site.home, ran.site.logs)
    assert files_that_hold(SECRET, *places) == []
    # The search is not blind: it finds what is there.
    assert files_that_hold("full_wave", *places)
