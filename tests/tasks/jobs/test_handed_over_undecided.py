"""What one look at the open jobs makes of a job whose fate only time can tell."""

import time
from dataclasses import asdict, replace
from pathlib import Path

import orjson
import pytest
from tests.providers.ways import SETTINGS, WAYS, Sandbox
from tests.storage.builders import put

from imagewave.providers.protocol import Unsure
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.jobs import events as job_events
from imagewave.storage.jobs.folder import Claimer, JobFolder, Plan
from imagewave.storage.requests import Kind
from imagewave.storage.store import Store
from imagewave.storage.waves.handover import Handover, hand_over
from imagewave.tasks.jobs.handed_over import survey
from imagewave.testing import Bench

pytestmark = pytest.mark.heavy


def test_a_wave_is_sent_on_once_its_job_s_fate_can_be_told(tmp_path: Path) -> None:
    settings = {**SETTINGS, "running_s": 1.0}
    with EmbeddedSandbox(tmp_path / "sandbox", settings=settings) as sandbox:
        bench = Bench(Sandbox(sandbox.url), WAYS["anthropic-batch"], tmp_path / "store")
        store = Store.open(str(bench.folder))
        row = {"wave": "spring", "revision": "0a1b", "file": "f", "spec": "{}", "realm": "sandbox"}
        put(store, "waves", "run-1", row)
        hand_over(store, Handover(wave="spring", wave_file="/waves/spring.toml"))
        token = _claimed_by_the_dead(store, bench)
        bench.service.arm(create_dropped=1)
        with pytest.raises(Unsure):
            bench.create(bench.draft(), token=token)

        found = survey(store, lambda name: bench.open())
        assert (found.due, found.waiting) == ((), ("spring",))

        deadline = time.monotonic() + 30
        while not found.due and time.monotonic() < deadline:
            time.sleep(0.1)
            found = survey(store, lambda name: bench.open())
        (due,) = found.due
        assert "of unknown fate" in due.reasons[0]


def _claimed_by_the_dead(store: Store, bench: Bench) -> str:
    """The token of a claim on a judge's job whose process has died before the answer came."""
    folder = JobFolder(store, "job-1")
    plan = Plan(
        wave="spring",
        revision="0a1b",
        kind=Kind.JUDGE,
        round=1,
        attempt=1,
        lane="anthropic-batch",
        model=bench.way.model,
        requests=1,
        estimate_usd="0.001",
    )
    folder.write_plan(plan, [bench.draft()])
    intent = folder.claim(label="spring", lane="anthropic-batch", held_usd="0.001", after=[])
    assert intent is not None
    dead = replace(intent, claimer=replace(Claimer.this_process(), started=0.0))
    store.write("jobs/job-1/intent.json", orjson.dumps(asdict(dead)))
    job_events.claimed(folder, dead)
    return dead.token
