"""Every lane is held to the published contract, over HTTP against the sandbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.providers.ways import (
    BATCHES,
    DRAWING,
    JUDGING,
    RETIRING,
    SERVED,
    SETTINGS,
    WAYS,
    Sandbox,
)

from imagewave.providers.interactive import working
from imagewave.providers.openai.batch import OpenAIBatchLane
from imagewave.providers.protocol import (
    CALL_UNANSWERED,
    JobState,
    ResultsGone,
    Unavailable,
    Unsure,
)
from imagewave.providers.registry import providers
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.catalog.lanes import is_batch, lane_kinds
from imagewave.storage.catalog.prices import GPU_HOUR_VARIABLE
from imagewave.testing import (
    BatchContract,
    Bench,
    DrawingContract,
    JudgingContract,
    LaneContract,
    RetirementContract,
    ServiceContract,
)

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=SETTINGS) as running:
        yield Sandbox(running.url)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GPU_HOUR_VARIABLE, "3.60")
    monkeypatch.setattr(working, "_pause", lambda tries, told: 0.01)


@pytest.fixture
def bench(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Iterator[Bench]:
    yield Bench(sandbox, WAYS[request.param], tmp_path / "store")
    sandbox.disarm()


def test_every_lane_that_a_wave_may_name_is_held_to_this() -> None:
    lanes = {way.lane for way in WAYS.values()}
    assert lanes == set(lane_kinds())
    assert lanes == {lane for provider in providers().values() for lane in provider.lanes}
    assert {WAYS[name].lane for name in BATCHES} == set(filter(is_batch, lanes))


@pytest.mark.parametrize("bench", WAYS, indirect=True)
class TestLanes(LaneContract):
    pass


@pytest.mark.parametrize("bench", DRAWING, indirect=True)
class TestDrawing(DrawingContract):
    pass


@pytest.mark.parametrize("bench", JUDGING, indirect=True)
class TestJudging(JudgingContract):
    pass


@pytest.mark.parametrize("bench", SERVED, indirect=True)
class TestServices(ServiceContract):
    pass


@pytest.mark.parametrize("bench", RETIRING, indirect=True)
class TestRetirement(RetirementContract):
    pass


@pytest.mark.parametrize("bench", BATCHES, indirect=True)
class TestBatches(BatchContract):
    pass


# A batch of Claude's never fails as a whole.
@pytest.mark.parametrize("bench", ["gemini-batch", "openai-batch"], indirect=True)
def test_a_job_that_failed_has_nothing_to_fetch_and_says_why(bench: Bench) -> None:
    bench.service.arm(job_failed=1)
    name = bench.create(bench.draft())
    assert bench.finish(name) is JobState.FAILED
    assert "Internal error" in bench.lane.poll(name).message
    with pytest.raises(ResultsGone):
        bench.results(name)


@pytest.mark.parametrize("bench", ["interactive-google"], indirect=True)
def test_an_answer_that_was_lost_says_so(bench: Bench) -> None:
    bench.service.arm(call_dropped=1)
    request = bench.draft()
    outcome = bench.outcomes(request)[request.id]
    assert (outcome.reason, outcome.usage) == (CALL_UNANSWERED, None)
    assert len(bench.billed()) == 1


def test_an_openai_address_where_nobody_answers_is_named() -> None:
    lane = OpenAIBatchLane("key", "http://127.0.0.1:9/v1")
    fix = r"Check the network and OPENAI_BASE_URL\."
    with pytest.raises(
        Unavailable, match=rf"at http://127\.0\.0\.1:9/v1: NewConnectionError\. {fix}"
    ):
        lane.find("x")
    with pytest.raises(Unsure, match=rf"at http://127\.0\.0\.1:9/v1: APIConnectionError\. {fix}"):
        lane.create("files/x", "gpt-image-1", "token")
