"""The lane of your GPUs: what it promises besides the contract of all lanes, without a GPU."""

import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image
from tests.providers.gpu.rendering.stub import Stub, StubEngine
from tests.servers import environment, make_bucket, s3_environment, start_moto

from imagewave.providers.gpu.lane import GpuLane
from imagewave.providers.gpu.local_process import LocalEngine
from imagewave.providers.protocol import JobState, Outcome, Rejected, ResultsGone
from imagewave.storage.catalog import USER_FILE, find_model
from imagewave.storage.catalog.prices import GPU_HOUR_VARIABLE, UnknownPrice, metered
from imagewave.storage.jobs.renders import RenderFolder, read_input
from imagewave.storage.requests import FailureClass, Kind, Request, Status
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy

MODELS = """
[pixels.small]
"3:2" = { S = [96, 64], L = [192, 128] }

[[model]]
id = "tiny"
provider = "self"
kind = "image"
lanes = ["gpu"]
sizes = ["S", "L"]
default_size = "S"
ratios = ["3:2"]
pixels = "small"
reference_limit = 1
weights = "nowhere/tiny"
steps = 4
guidance = 1.5
gpu_seconds = { S = 0.5, L = 2 }

[[model]]
id = "weightless"
provider = "self"
kind = "image"
lanes = ["gpu"]
sizes = ["S"]
default_size = "S"
ratios = ["3:2"]
pixels = "small"
"""


class Bench:
    """The lane on a store of its own, with a renderer that can be told to wait or to fail."""

    def __init__(self, store: str) -> None:
        self.store = Store.open(store)
        self.renderer = Stub()
        self.engine = StubEngine(self.renderer)
        self.lane = GpuLane(self.store, [self.engine])

    def draft(self, prompt: str = "tulips", **fields: object) -> Request:
        known: dict[str, object] = {"kind": Kind.DRAFT, "model": "tiny", "aspect_ratio": "3:2"}
        return Request(prompt=prompt, **{**known, **fields})  # type: ignore[arg-type]

    def drafts(self, count: int) -> list[Request]:
        return [self.draft(sample=n, seed=n) for n in range(count)]

    def create(self, *requests: Request, token: str = "token") -> str:
        handle = self.lane.prepare(requests, a_picture, "input")
        return self.lane.create(handle, requests[0].model, token)

    def finish(self, name: str) -> JobState:
        while not (status := self.lane.poll(name)).state.done:
            time.sleep(0.01)
        return status.state

    def results(self, name: str) -> list[Outcome]:
        return list(self.lane.results(name, lambda key: True))


def a_picture(sha256: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (90, 60), "red").save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of the user's own, and what an hour costs."""
    models = tmp_path / "models.toml"
    models.write_text(MODELS)
    monkeypatch.setenv(USER_FILE, str(models))
    monkeypatch.setenv(GPU_HOUR_VARIABLE, "3.60")


@pytest.fixture
def bench(tmp_path: Path, known: None) -> Iterator[Bench]:
    bench = Bench(str(tmp_path / "store"))
    yield bench
    bench.renderer.go_on.set()
    for thread in bench.engine.threads.values():
        thread.join()


def test_every_request_gets_its_own_picture(bench: Bench) -> None:
    requests = bench.drafts(6)
    name = bench.create(*requests)
    assert bench.finish(name) is JobState.SUCCEEDED
    outcomes = bench.results(name)
    assert [outcome.key for outcome in outcomes] == [request.id for request in requests]
    assert len({bytes(outcome.image or b"") for outcome in outcomes}) == 6
    for outcome in outcomes:
        assert (outcome.status, outcome.mime) == (Status.IMAGE, "image/jpeg")
        assert outcome.numerics_id
        with Image.open(io.BytesIO(outcome.image or b"")) as picture:
            assert picture.size == (96, 64)


def test_it_shares_a_bucket_with_whoever_renders(known: None) -> None:
    with start_moto() as endpoint, environment(**s3_environment(endpoint)):
        bench = Bench(f"s3://{make_bucket(endpoint)}/store")
        over = bench.draft(references=("a" * 64,))
        requests = [*bench.drafts(10), over]
        name = bench.create(*requests)
        assert bench.finish(name) is JobState.SUCCEEDED
        found = [(outcome.key, outcome.status) for outcome in bench.results(name)]
        assert found == [(request.id, Status.IMAGE) for request in requests]


def test_a_request_is_rendered_as_it_says_and_else_as_its_model_advises(bench: Bench) -> None:
    plain = bench.draft(seed=7)
    own = bench.draft(size="L", steps=9, guidance=0.0, loras=("style@0.5",), kind=Kind.FINAL)
    over = bench.draft(size="L", references=("a" * 64,))
    weak = bench.draft(size="L", references=("a" * 64,), strength=0.2)
    handle = bench.lane.prepare([plain, own, over, weak], a_picture, "input")
    first, second, third, fourth = read_input(bench.store, handle)
    assert (first.key, first.seed, first.steps, first.guidance) == (plain.id, 7, 4, 1.5)
    assert (first.width, first.height, first.encode) == (96, 64, "jpeg")
    assert (second.width, second.steps, second.guidance) == (192, 9, 0.0)
    assert (second.loras, second.encode, second.image) == (("style@0.5",), "png", "")
    assert bench.store.read(third.image) == a_picture("a" * 64)
    assert (third.strength, fourth.strength) == (0.35, 0.2)


def test_its_seconds_make_its_cost_at_the_price_of_its_hour(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = bench.create(*bench.drafts(5))
    bench.finish(name)
    monkeypatch.delenv(GPU_HOUR_VARIABLE)  # whoever collects may not know it
    usages = [outcome.usage for outcome in bench.results(name)]
    model, day = find_model("tiny"), date(2026, 11, 20)
    cost = sum(metered(model, usage, lane="gpu", at=day) for usage in usages if usage)
    records = RenderFolder(bench.store, name).records().values()
    loaded = max(record.elapsed for record in records)
    assert len(usages) == 5
    assert float(cost) == pytest.approx(loaded * 3.60 / 3600, rel=1e-4, abs=1e-8)


def test_without_a_price_nothing_is_started(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GPU_HOUR_VARIABLE)
    with pytest.raises(UnknownPrice, match=GPU_HOUR_VARIABLE):
        bench.create(bench.draft())
    assert bench.lane.find("token") == []


def test_the_same_token_starts_one_job(bench: Bench) -> None:
    requests = bench.drafts(2)
    assert bench.create(*requests) == bench.create(*requests)
    bench.finish("token")
    assert len(bench.renderer.batches) == 1


def test_a_cancelled_job_ends_and_keeps_what_it_has(bench: Bench) -> None:
    bench.renderer.go_on.clear()
    requests = bench.drafts(30)
    name = bench.create(*requests)
    bench.lane.cancel(name)
    bench.renderer.go_on.set()
    assert bench.finish(name) is JobState.CANCELLED
    try:
        outcomes = bench.results(name)
    except ResultsGone:
        outcomes = []
    assert len(outcomes) < 30
    assert {outcome.key for outcome in outcomes} <= {request.id for request in requests}


def test_what_does_not_fit_is_a_failure_that_is_not_repeated(bench: Bench) -> None:
    bench.renderer.fits = 0
    name = bench.create(bench.draft())
    assert bench.finish(name) is JobState.SUCCEEDED
    [outcome] = bench.results(name)
    assert (outcome.status, outcome.failure) == (Status.FAILED, FailureClass.INVALID)
    assert outcome.reason == "OUT_OF_MEMORY"


def test_what_cannot_be_rendered_is_a_clean_no_that_says_why(bench: Bench) -> None:
    def no(request: Request, words: str) -> None:
        with pytest.raises(Rejected, match=words):
            bench.create(request)

    no(bench.draft(aspect_ratio="9:16"), "pixels, steps and guidance")
    no(bench.draft(references=("a" * 64, "b" * 64)), "over one picture")
    no(bench.draft(model="weightless", steps=1, guidance=0.0), "Set weights for it")
    with pytest.raises(Rejected, match="no job"):
        bench.lane.poll("nothing")
    with pytest.raises(Rejected, match="no input"):
        bench.lane.create("nothing", "tiny", "token")


def test_a_process_that_dies_leaves_what_it_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Here it dies of missing libraries, or of weights that are nowhere."""
    monkeypatch.setenv("IMAGEWAVE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    bench.lane = GpuLane(bench.store, [LocalEngine()])
    name = bench.create(bench.draft())
    assert bench.lane.find("token") == ["token"]
    assert bench.finish(name) is JobState.FAILED
    assert re.search("diffusers|nowhere", bench.lane.poll(name).message)
    with pytest.raises(ResultsGone):
        bench.results(name)
    assert Decimal(RenderFolder(bench.store, name).job.usd_per_hour) == Decimal("3.60")


def test_without_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagewave.providers.gpu.local_process.LIBRARIES", ("torch_of_nowhere",))
    with pytest.raises(Rejected, match=r"imagewave\[gpu\].*prefect worker start -p gpu"):
        LocalEngine().check()


def test_nobody_imports_torch_or_prefect_but_who_needs_them() -> None:
    code = (
        "import sys, imagewave.providers.gpu.lane, imagewave.providers.gpu.local_process,"
        " imagewave.providers.gpu.prefect_pool, imagewave.providers.gpu.rendering.__main__;"
        "print(*{'torch', 'diffusers', 'transformers', 'prefect'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
