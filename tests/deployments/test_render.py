"""A wave whose drafts are rendered on the work pool `gpu`, by a worker of its own."""

import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.chaos.bench import is_done, wait_until
from tests.deployments.site import Site, children_of
from tests.providers.gpu.rendering.waves import MODELS, WAVE

from imagewave.storage.facts.analytics import query
from imagewave.storage.jobs.renders import RenderFolder
from imagewave.storage.store import Store

for library in ("torch", "diffusers", "accelerate"):
    pytest.importorskip(library, reason=f"{library} is not installed (extra: gpu)")

from tests.providers.gpu.rendering import tiny  # noqa: E402

# Generous: each run is a new process that imports torch, and the machine may be busy.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def own(site: Site, tmp_path: Path) -> dict[str, Any]:
    """What everybody who plans, renders or collects finds in the environment."""
    models = tmp_path / "models.toml"
    models.write_text(MODELS.format(weights=tiny.save("flux", tmp_path / "weights")))
    return {
        "IMAGEWAVE_MODELS": str(models),
        "IMAGEWAVE_GPU_USD_PER_HOUR": "2.50",
        "OMP_NUM_THREADS": "1",
    }


def wave(site: Site, name: str, **changes: str) -> tuple[str, Store]:
    """A wave's file, and an empty store for it."""
    folder = site.root / name
    folder.mkdir()
    text = WAVE.replace('"own"', f'"{name}"')
    for old, new in changes.items():
        text = text.replace(f"{old} = 2", f"{old} = {new}")
    (folder / "wave.toml").write_text(text)
    return str(folder / "wave.toml"), Store.open(str(folder / "store"))


def finish(site: Site, store: Store, run: str) -> None:
    """Looks, and lets the runs go on that are sent on, until the wave is delivered."""
    site.wait_for(run, "Completed", "Waiting", "Failed", "Crashed")
    for _ in range(12):
        if is_done(store):
            return
        for token in _tokens(store):
            [rendering] = site.runs(token)
            site.wait_for(rendering["id"], "Completed", "Failed", "Crashed", "Cancelled")
        look = site.run_deployment("watch/watch", store=store.url)
        assert site.wait_for(look["id"], "Completed", "Failed") == "Completed"
        sent_on = site.runs("lane:gpu")[-1]
        site.wait_for(sent_on["id"], "Completed", "Waiting", "Failed", "Crashed")
    raise AssertionError("the wave was not delivered")


def _tokens(store: Store) -> set[str]:
    found = (path.split("/") for path in store.list("renders"))
    return {parts[1] for parts in found if parts[-1] == "job.json"}


def spent(store: Store) -> tuple[int, int, Decimal]:
    """Pictures rendered, requests asked for, and what they cost."""
    [row] = query(
        store,
        "SELECT (SELECT count(*) FROM raw_renders) AS rendered,"
        " (SELECT count(DISTINCT request_id) FROM raw_requests) AS asked,"
        " (SELECT sum(cost_usd) FROM costs) AS usd",
    )
    return row["rendered"], row["asked"], row["usd"]


def test_a_wave_waits_for_the_gpu_pool_and_is_delivered(site: Site, own: dict[str, Any]) -> None:
    path, store = wave(site, "pooled")
    with site.worker(**own), site.worker(pool="gpu", **own):
        run = site.run_deployment("wave/wave", wave_file=path, store=store.url)
        finish(site, store, run["id"])
    [final] = query(store, "SELECT sum(final) AS n FROM funnel")
    assert final["n"] == 3
    tokens = _tokens(store)
    assert len(tokens) == 2, "one job of drafts, one of finals"
    for token in tokens:
        [rendering] = site.runs(token)
        assert rendering["state_name"] == "Completed"
        assert rendering["work_pool_name"] == "gpu"
        assert rendering["idempotency_key"] == token
        assert RenderFolder(store, token).job.engine == "prefect"
    rendered, asked, usd = spent(store)
    assert rendered == asked
    assert usd > 0
    [jobs] = query(store, "SELECT sum(captured_usd) AS usd, sum(held_usd) AS held FROM jobs")
    assert (jobs["usd"], jobs["held"]) == (usd, Decimal(0))


def test_a_rendering_that_is_killed_keeps_what_it_made(site: Site, own: dict[str, Any]) -> None:
    path, store = wave(site, "pool-killed", want="9", steps="2\nsteps = 60")
    with site.worker(**own), site.worker(pool="gpu", **own) as gpu:
        run = site.run_deployment("wave/wave", wave_file=path, store=store.url)
        wait_until(lambda: _tokens(store), "a job", 120)
        [token] = _tokens(store)
        folder = RenderFolder(store, token)
        wait_until(lambda: folder.done(), "the first picture", 120)
        for child in children_of(gpu):
            psutil.Process(child).send_signal(signal.SIGKILL)
        made = folder.done()
        assert len(made) < folder.job.count, "it was killed before its end"
        finish(site, store, run["id"])
    assert site.runs(token)[0]["state_name"] == "Crashed"
    rendered, asked, _ = spent(store)
    assert rendered == asked, "what was rendered before the kill was not rendered again"
    [again] = query(store, "SELECT count(*) AS n FROM attempts WHERE reason = 'JOB_FAILED'")
    assert 0 < again["n"] <= folder.job.count - len(made)
