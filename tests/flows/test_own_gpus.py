"""A wave on your GPUs through the flow: what it shows while it renders, and what it then holds."""

from pathlib import Path
from typing import Any

import pytest
from tests.flows.conftest import Bench
from tests.providers.gpu.rendering.stub import Stub, StubEngine
from tests.providers.gpu.rendering.waves import MODELS, WAVE

from imagewave.flows.progress import Progress, watched_by
from imagewave.providers.gpu.lane import GpuLane
from imagewave.providers.gpu.rendering.buckets import Bucket
from imagewave.storage.catalog import USER_FILE
from imagewave.storage.catalog.prices import GPU_HOUR_VARIABLE
from imagewave.storage.jobs.renders import RenderLine
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy


class Gated(Stub):
    """Waits after each batch until somebody has seen that it is done."""

    def render(self, bucket: Bucket, lines: list[RenderLine], images: Any) -> Any:  # type: ignore[override]
        pictures = super().render(bucket, lines, images)
        self.go_on.clear()
        return pictures


@pytest.fixture
def renderer(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gated:
    models = tmp_path / "models.toml"
    models.write_text(MODELS.format(weights="nowhere"))
    monkeypatch.setenv(USER_FILE, str(models))
    monkeypatch.setenv(GPU_HOUR_VARIABLE, "2.50")
    renderer = Gated()
    engine = StubEngine(renderer)

    def lane(store: Store) -> GpuLane:
        return GpuLane(store, [engine])

    monkeypatch.setattr(GpuLane, "from_environment", lane)
    return renderer


def test_a_wave_shows_its_pictures_as_they_are_rendered(bench: Bench, renderer: Gated) -> None:
    seen: list[Progress] = []

    def show(progress: Progress) -> None:
        seen.append(progress)
        if progress.requests_done or progress.stage != "draft 1":
            renderer.go_on.set()

    with watched_by(show):
        bench.run(
            WAVE.replace("[wait]\npoll_seconds = [0.2, 0.5]\n", "").replace("want = 2", "want = 6")
        )
    drafts = [p for p in seen if p.stage == "draft 1"]
    assert {p.jobs for p in drafts} == {1}
    counts = [p.requests_done for p in drafts]
    assert counts == sorted(counts)
    assert any(0 < count < drafts[0].requests for count in counts), "before the job was over"
    assert counts[-1] == drafts[0].requests
    assert bench.sql("SELECT sum(final) AS n FROM funnel") == [{"n": 7}]
    [sums] = bench.sql(
        "SELECT (SELECT sum(cost_usd) FROM costs) AS spent, sum(captured_usd) AS captured,"
        " sum(held_usd) AS held FROM jobs"
    )
    assert sums["spent"] == sums["captured"] > 0 == sums["held"]


def test_a_gpu_that_is_paid_for_anyway_costs_nothing(
    bench: Bench, renderer: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GPU_HOUR_VARIABLE, "0")
    with watched_by(lambda progress: renderer.go_on.set()):
        bench.run(WAVE.replace("[wait]\npoll_seconds = [0.2, 0.5]\n", ""))
    assert bench.sql("SELECT sum(final) AS n FROM funnel") == [{"n": 3}]
    assert bench.sql("SELECT sum(cost_usd) AS usd FROM costs") == [{"usd": 0}]
    [spent] = bench.sql("SELECT sum(gpu_seconds) AS seconds FROM raw_renders")
    assert spent["seconds"] > 0
