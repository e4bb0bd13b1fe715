"""The jobs of one wave, collected by three workers that share nothing but a bucket."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.bench import assets, check_exactly_once, is_done, wait_until
from tests.deployments.site import KEY, Site, billed, children_of, control, kill_group
from tests.servers import environment, make_bucket, s3_environment, start_moto

from imagewave.storage.facts.analytics import query
from imagewave.storage.facts.tables import COLUMNS
from imagewave.storage.store import Store

# Generous: each run is a new process, and the machine may be busy.
pytestmark = pytest.mark.timeout(900)

JOBS = 8
BRIEFS, WANT = 20, 5  # and 100 drafts for each brief, so 250 requests a job
# A shape whose pixels nobody documents: there, the size of the sandbox's tiny pictures is no fault.
MODEL, SHAPE = "gemini-nano-banana-2.1", "4:1"
WAVE = f"""
[wave]
name = "shared"
[wait]
poll_seconds = [0.1, 0.3]
list_lag_seconds = 0.5
[judge]
enabled = false
[draft]
model = "{MODEL}"
max_rounds = 1
max_oversample = 20
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
[final]
carry = "accept"
""" + "".join(
    f'[[brief]]\nid = "b{number:02d}"\ntext = "picture number {number}"\nwant = {WANT}\n'
    f'aspect_ratio = "{SHAPE}"\n'
    for number in range(BRIEFS)
)

# Where machines or moments show, and what only sharing leaves.
DIFFERS = {"waves", "jobs", "shares", "steps"}


@pytest.fixture
def bucket(site: Site, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment in which S3 clients find a bucket, whose name is in `BUCKET`."""
    control(site, "config", {"tiny": 64}, "PUT")
    with start_moto() as endpoint:
        surroundings = {
            **s3_environment(endpoint),
            "BUCKET": make_bucket(endpoint),
            "IMAGEWAVE_CACHE_DIR": str(tmp_path / "cache"),
        }
        with environment(**surroundings):
            yield surroundings
    control(site, "faults", method="DELETE")
    control(site, "config", {"tiny": 1}, "PUT")


def claimers(store: Store) -> dict[int, set[str]]:
    """The jobs that each process has ever claimed, by its id."""
    found: dict[int, set[str]] = {}
    for path in store.list("shares"):
        job_id, name = path.split("/")[-2:]
        if name.removesuffix(".json").isdigit():
            claim = json.loads(store.read(path))
            found.setdefault(claim["claimer"]["pid"], set()).add(job_id)
    return found


def everything(store: Store) -> dict[str, set[tuple[Any, ...]]]:
    """All facts, to compare two runs of the same wave by."""
    found = {}
    for table in COLUMNS.keys() - DIFFERS:
        columns = ", ".join(f'"{name}"' for name in COLUMNS[table] if name != "recorded_at")
        rows = query(store, f"SELECT {columns} FROM raw_{table}")
        found[table] = {tuple(row.values()) for row in rows}
        assert len(found[table]) == len(rows), f"a fact of {table} stands twice"
    return found


def test_three_workers_share_a_wave_and_one_is_killed(
    site: Site, bucket: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "shared.toml"
    path.write_text(WAVE)
    store = Store.open(f"s3://{bucket['BUCKET']}/team")
    # Nobody gets beyond the middle of a job before all three are at work.
    control(site, "faults", {"download_stalled": {"times": 1000, "seconds": 20}}, "PUT")

    def machine(name: str) -> Any:
        own = {"IMAGEWAVE_CACHE_DIR": str(tmp_path / name), "PREFECT_HOME": str(tmp_path / name)}
        return site.worker(limit=1, **{**bucket, **own})

    with machine("first") as first:
        run = site.run_deployment("wave/wave", wave_file=str(path), store=store.url, helpers=2)
        site.wait_for(run["id"], "Running")
        with machine("second") as second, machine("third") as third:
            wait_until(lambda: len(claimers(store)) == 3, "three claimers", 240)
            begun = claimers(store)
            (victim,) = begun.keys() & children_of(second)
            (helper,) = begun.keys() & children_of(third)
            (own,) = begun.keys() & children_of(first)
            kill_group(second)
            control(site, "faults", method="DELETE")
            assert site.wait_for(run["id"], "Completed", "Failed", "Crashed") == "Completed"

    shares = query(store, "SELECT job_id, claim, worker FROM raw_shares")
    assert len({row["job_id"] for row in shares}) == len(shares) == JOBS
    done = {int(row["worker"].rpartition(":")[2]) for row in shares}
    assert done == {own, helper}, "what the killed one had begun, the others did"
    taken_over = {row["job_id"] for row in shares if row["claim"] > 1}
    assert begun[victim] <= taken_over
    helped = site.runs("helps:shared")
    assert len(helped) == 2
    # Prefect learns from missing heartbeats, 90 s later, that the other one is dead.
    (ended, dead) = sorted((one["state_name"] for one in helped), key="Completed".__ne__)
    assert ended == "Completed"
    assert dead in ("Running", "Crashed")
    of_these = {"flow_runs": {"id": {"any_": [run["id"], *(one["id"] for one in helped)]}}}
    assert site.call("POST", "task_runs/count", of_these) <= 6 * JOBS

    assert is_done(store)
    assert check_exactly_once(store, billed(site, store)) == 1.0
    alone = Store.open(str(tmp_path / "alone"))
    site.imagewave("run", str(path), "--store", alone.url, GEMINI_API_KEY=KEY)
    assert alone.list("shares") == []
    assert assets(store) == assets(alone)
    assert len(assets(alone)) == BRIEFS * WANT
    assert everything(store) == everything(alone)
