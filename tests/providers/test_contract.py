"""What every lane promises, over HTTP against the sandbox: the same tests for all of them."""

import io
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.providers.gpu.rendering.stub import StubEngine

from imagewave.providers.anthropic import batch as anthropic_batch
from imagewave.providers.anthropic.batch import AnthropicBatchLane
from imagewave.providers.anthropic.caller import AnthropicCaller
from imagewave.providers.gemini import batch as gemini_batch
from imagewave.providers.gemini.batch import GeminiBatchLane
from imagewave.providers.gemini.caller import GeminiCaller
from imagewave.providers.gpu.image_server import ImageServerCaller, ImageServerLane
from imagewave.providers.gpu.lane import GpuLane
from imagewave.providers.interactive import working
from imagewave.providers.interactive.lane import InteractiveLane
from imagewave.providers.openai import batch as openai_batch
from imagewave.providers.openai.batch import OpenAIBatchLane
from imagewave.providers.openai.caller import OpenAICaller
from imagewave.providers.protocol import (
    CALL_UNANSWERED,
    JobState,
    Lane,
    NoResults,
    Outcome,
    Rejected,
    ResultsGone,
    Unavailable,
    Undecided,
    Unsure,
)
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.lanes import is_batch, lane_kinds, on_your_gpus
from imagewave.storage.catalog.prices import GPU_HOUR_VARIABLE, metered
from imagewave.storage.requests import FailureClass, Kind, Request, Status, canonical_json
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy

SETTINGS: dict[str, Any] = {"tiny": 8, "defects": "none", "pending_s": 0.02, "running_s": 0.02}
KEY = "sandbox-key-that-nobody-may-see"
JUDGEMENT = canonical_json(
    {
        "type": "object",
        "properties": {"score": {"type": "number"}, "reason": {"type": "string"}},
        "required": ["score", "reason"],
        "additionalProperties": False,
    }
).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A lane and a provider behind it; `partly` is the fault by which a job loses something.

    Where a provider draws nothing, `model` judges, and `gives` text. It may have no `text_model`
    and no `dead_model`. Own GPUs refuse nothing and send no bill. What nobody
    serves has neither keys nor the faults of a service: then `partly` is "".
    """

    lane: str
    model: str
    make: Callable[[str, str, Path], Lane]
    partly: str
    text_model: str = ""
    dead_model: str = ""
    gives: Status = Status.IMAGE
    realm: str = "sandbox"

    @property
    def is_own(self) -> bool:
        return on_your_gpus(self.lane)

    @property
    def is_batch(self) -> bool:
        return is_batch(self.lane)


def _interactive_google(url: str, key: str, folder: Path) -> Lane:
    return InteractiveLane(Store.open(str(folder)), {"google": GeminiCaller(key, url)})


def _interactive_openai(url: str, key: str, folder: Path) -> Lane:
    return InteractiveLane(Store.open(str(folder)), {"openai": OpenAICaller(key, f"{url}/v1")})


def _interactive_claude(url: str, key: str, folder: Path) -> Lane:
    return InteractiveLane(Store.open(str(folder)), {"anthropic": AnthropicCaller(key, url)})


def _image_server(url: str, key: str, folder: Path) -> Lane:
    return ImageServerLane(Store.open(str(folder)), ImageServerCaller(f"{url}/gpu/v1", key))


def _render(url: str, key: str, folder: Path) -> Lane:
    return GpuLane(Store.open(str(folder)), [StubEngine()])


GOOGLE: dict[str, Any] = {
    "model": "gemini-3.1-flash-lite-image",
    "text_model": "gemini-3.5-flash-lite",
    "dead_model": "gemini-2.5-flash-image",
}
OPENAI: dict[str, Any] = {
    "model": "gpt-image-2",
    "text_model": "gpt-5.6-luna",
    "dead_model": "gpt-image-1",
}
CLAUDE: dict[str, Any] = {
    "model": "claude-haiku-5-5",
    "text_model": "claude-haiku-5-5",
    "gives": Status.TEXT,
}
WAYS = {
    "gemini-batch": Way(
        lane="gemini-batch",
        make=lambda url, key, folder: GeminiBatchLane(key, url),
        partly="job_partial",
        **GOOGLE,
    ),
    "openai-batch": Way(
        lane="openai-batch",
        make=lambda url, key, folder: OpenAIBatchLane(key, f"{url}/v1"),
        partly="job_expired",
        **OPENAI,
    ),
    "anthropic-batch": Way(
        lane="anthropic-batch",
        make=lambda url, key, folder: AnthropicBatchLane(Store.open(str(folder)), key, url),
        partly="job_expired",
        **CLAUDE,
    ),
    "interactive-google": Way(
        lane="interactive", make=_interactive_google, partly="call_dropped", **GOOGLE
    ),
    "interactive-openai": Way(
        lane="interactive", make=_interactive_openai, partly="call_dropped", **OPENAI
    ),
    "interactive-claude": Way(
        lane="interactive", make=_interactive_claude, partly="call_dropped", **CLAUDE
    ),
    "gpu-server": Way(
        lane="gpu",
        make=_image_server,
        partly="call_dropped",
        model="flux-1-schnell",
    ),
    "gpu-render": Way(lane="gpu", make=_render, partly="", model="flux-1-schnell", realm="live"),
}
BATCHES = [name for name, way in WAYS.items() if way.is_batch]
DRAWING = [name for name, way in WAYS.items() if way.gives is Status.IMAGE]
JUDGING = [name for name, way in WAYS.items() if way.text_model]
SERVED = [name for name, way in WAYS.items() if way.partly]
MORTAL = [name for name, way in WAYS.items() if way.dead_model]


class Bench:
    """A lane, and the switches and books of the sandbox behind it."""

    def __init__(self, url: str, way: Way, folder: Path) -> None:
        self.url = url
        self.way = way
        self.folder = folder
        self.lane = way.make(url, KEY, folder)
        self._read = len(self.ledger())

    def ledger(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/sandbox/ledger") as answer:
            return [json.loads(line) for line in answer.read().splitlines()]

    def billed(self) -> list[dict[str, Any]]:
        """What was written into the books since this test began."""
        return self.ledger()[self._read :]

    def arm(self, **faults: Any) -> None:
        _control(self.url, "PUT", "faults", faults)

    def jobs(self) -> int:
        with urllib.request.urlopen(f"{self.url}/sandbox/jobs") as answer:
            return len(json.loads(answer.read()))

    def draft(self, prompt: str = "tulips", **fields: Any) -> Request:
        """What the lane is for: a picture to be drawn or, where it draws none, to be judged."""
        model = find_model(self.way.model)
        if self.way.gives is Status.TEXT:
            return self.judgement(prompt.replace("]]", "@any]]"), **fields)
        return Request(
            kind=Kind.DRAFT,
            model=model.id,
            prompt=prompt,
            aspect_ratio="3:2",
            size=model.default_size,
            **fields,
        )

    def judgement(self, prompt: str, **fields: Any) -> Request:
        asked: dict[str, Any] = {"references": ("a" * 64,), "reference_edge": 256, **fields}
        return Request(
            kind=Kind.JUDGE,
            model=self.way.text_model,
            prompt=prompt,
            system="be strict",
            temperature=0.0,
            response_schema=JUDGEMENT,
            **asked,
        )

    def drafts(self, count: int) -> list[Request]:
        return [self.draft(f"tulips {number}") for number in range(count)]

    def create(self, *requests: Request, token: str = "token") -> str:
        handle = self.lane.prepare(requests, a_picture, "input")
        return self.lane.create(handle, requests[0].model, token)

    def finish(self, name: str) -> JobState:
        while not (status := self.lane.poll(name)).state.done:
            time.sleep(0.02)
        return status.state

    def find(self, token: str) -> list[str]:
        """The jobs of the token, once that can be told."""
        while True:
            try:
                return self.lane.find(token)
            except Undecided:
                time.sleep(0.02)

    def results(self, name: str, *requests: Request) -> list[Outcome]:
        wants = {request.id: request.kind.wants_image for request in requests}
        return list(self.lane.results(name, lambda key: wants.get(key, True)))

    def outcomes(self, *requests: Request) -> dict[str | None, Outcome]:
        name = self.create(*requests)
        self.finish(name)
        found = self.results(name, *requests)
        outcomes = {outcome.key: outcome for outcome in found}
        assert len(outcomes) == len(found)
        return outcomes

    def cost(self, *outcomes: Outcome) -> Decimal:
        today = datetime.now(UTC).date()
        model = find_model(self.way.model)
        return sum(
            (
                metered(model, outcome.usage, lane=self.way.lane, at=today)
                for outcome in outcomes
                if outcome.usage
            ),
            Decimal(0),
        )


def _control(url: str, method: str, path: str, body: object = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/sandbox/{path}", data, method=method)
    with urllib.request.urlopen(request):
        pass


def a_picture(sha256: str) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((900, 600), 60).convert("RGB").save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=SETTINGS) as sandbox:
        yield sandbox.url


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GPU_HOUR_VARIABLE, "3.60")
    monkeypatch.setattr(working, "_pause", lambda tries, told: 0.01)


@pytest.fixture(params=WAYS)
def bench(request: pytest.FixtureRequest, sandbox_url: str, tmp_path: Path) -> Iterator[Bench]:
    yield Bench(sandbox_url, WAYS[request.param], tmp_path / "store")
    _control(sandbox_url, "DELETE", "faults")


only_batches = pytest.mark.parametrize("bench", BATCHES, indirect=True)
only_drawing = pytest.mark.parametrize("bench", DRAWING, indirect=True)
only_judging = pytest.mark.parametrize("bench", JUDGING, indirect=True)
only_served = pytest.mark.parametrize("bench", SERVED, indirect=True)
only_mortal = pytest.mark.parametrize("bench", MORTAL, indirect=True)


def test_every_lane_that_a_wave_may_name_is_held_to_this() -> None:
    assert {way.lane for way in WAYS.values()} == set(lane_kinds())


def test_it_says_who_it_is(bench: Bench) -> None:
    lane: Lane = bench.lane
    assert (lane.name, lane.realm) == (bench.way.lane, bench.way.realm)
    assert lane.max_requests >= 100
    assert lane.max_bytes >= 10_000_000
    assert lane.name in find_model(bench.way.model).lanes


@only_served
def test_a_good_key_is_let_in_and_a_bad_one_named(bench: Bench) -> None:
    bench.lane.check_access()
    with pytest.raises(Rejected, match=r"Check \w+_API_KEY"):
        bench.way.make(bench.url, "bad-key", bench.folder).check_access()


@only_drawing
def test_every_request_gets_its_own_picture(bench: Bench) -> None:
    requests = bench.drafts(6)
    outcomes = bench.outcomes(*requests)
    assert outcomes.keys() == {request.id for request in requests}
    for outcome in outcomes.values():
        assert outcome.status is Status.IMAGE, outcome
        assert outcome.usage is not None
        assert outcome.usage.image_tokens > 0 or outcome.usage.gpu_seconds
        assert outcome.image is not None
        with Image.open(io.BytesIO(outcome.image)) as picture:
            picture.load()
            assert picture.width / picture.height == pytest.approx(1.5, rel=0.03)
    assert len({bytes(outcome.image or b"") for outcome in outcomes.values()}) == 6


@only_served
def test_refusals_and_errors_are_outcomes_of_their_class(bench: Bench) -> None:
    gives = bench.way.gives
    wanted: dict[str, tuple[Status, FailureClass | None]] = {
        "error_3": (Status.FAILED, FailureClass.INVALID),
        "error_8": (Status.FAILED, FailureClass.TRANSIENT),
        "error_13": (Status.FAILED, FailureClass.TRANSIENT),
        "usage_missing": (gives, None),
    }
    if not bench.way.is_own:
        wanted["block_safety"] = (Status.REFUSED, FailureClass.REFUSED)
    if gives is Status.IMAGE and not bench.way.is_own:
        wanted["finish_image_safety"] = (Status.REFUSED, FailureClass.REFUSED)
    if gives is Status.IMAGE:
        wanted |= {
            "no_image": (Status.FAILED, FailureClass.BROKEN),
            "bad_base64": (Status.FAILED, FailureClass.BROKEN),
        }
    else:
        wanted["max_tokens"] = (Status.FAILED, FailureClass.INVALID)
    requests = {defect: bench.draft(f"tulips [[sandbox:{defect}]]") for defect in wanted}
    outcomes = bench.outcomes(*requests.values())
    found = {
        defect: (outcomes[request.id].status, outcomes[request.id].failure)
        for defect, request in requests.items()
    }
    assert found == wanted
    reasons = [o.reason for o in outcomes.values() if o.status is not gives]
    assert all(reason and reason == reason.upper() for reason in reasons)


@only_served
def test_references_are_sent_in_their_order(bench: Bench) -> None:
    asked: list[str] = []

    def read_image(sha256: str) -> bytes:
        asked.append(sha256)
        return a_picture(sha256)

    final = bench.draft("again", references=("a" * 64, "b" * 64))
    handle = bench.lane.prepare([final], read_image, "input")
    name = bench.lane.create(handle, final.model, "token")
    bench.finish(name)
    [outcome] = bench.results(name, final)
    assert outcome.status is bench.way.gives
    assert asked == ["a" * 64, "b" * 64]
    if not bench.way.is_own:
        assert bench.cost(outcome) == Decimal(bench.billed()[-1]["usd"]).quantize(Decimal("1e-9"))


@only_judging
def test_a_judge_answers_in_its_schema(bench: Bench) -> None:
    judge = bench.judgement("judge it")
    outcome = bench.outcomes(judge)[judge.id]
    assert outcome.status is Status.TEXT, outcome
    assert json.loads(outcome.text or "").keys() == {"score", "reason"}


def test_its_cost_is_what_the_provider_bills(bench: Bench) -> None:
    requests = [
        *bench.drafts(3),
        bench.draft("x [[sandbox:finish_safety]]"),
        bench.draft("x [[sandbox:max_tokens]]"),
        bench.draft("x [[sandbox:error_3]]"),
    ]
    outcomes = bench.outcomes(*requests)
    billed = sum((Decimal(entry["usd"]) for entry in bench.billed()), Decimal(0))
    if bench.way.is_own:  # time is what it costs
        assert billed == 0
        assert bench.cost(*outcomes.values()) > 0
        return
    assert billed > 0
    assert bench.cost(*outcomes.values()) == billed


def test_reading_results_again_gives_the_same_and_bills_nothing(bench: Bench) -> None:
    requests = bench.drafts(3)
    name = bench.create(*requests)
    bench.finish(name)
    billed = bench.billed()
    first = [(o.key, o.text, bytes(o.image or b"")) for o in bench.results(name, *requests)]
    again = bench.way.make(bench.url, KEY, bench.folder)
    wants = bench.way.gives is Status.IMAGE
    outcomes = again.results(name, lambda key: wants)
    second = [(o.key, o.text, bytes(o.image or b"")) for o in outcomes]
    assert first == second
    assert again.poll(name).state is JobState.SUCCEEDED
    assert bench.billed() == billed


@only_served
def test_a_job_that_lost_something_gives_up_the_rest(bench: Bench) -> None:
    bench.arm(**{bench.way.partly: 1})
    requests = bench.drafts(4)
    name = bench.create(*requests)
    bench.finish(name)
    outcomes = bench.results(name, *requests)
    given = [outcome for outcome in outcomes if outcome.status is bench.way.gives]
    assert len(given) in (2, 3)
    for outcome in outcomes:
        if outcome not in given:
            assert (outcome.status, outcome.failure) == (Status.MISSING, FailureClass.TRANSIENT)


def test_a_job_is_found_by_its_whole_token_alone(bench: Bench) -> None:
    name = bench.create(bench.draft(), token=f"{bench.folder.parent.name}-whole")
    assert bench.lane.find(f"{bench.folder.parent.name}-whole") == [name]
    assert bench.lane.find(f"{bench.folder.parent.name}-who") == []


def test_a_cancelled_job_ends_and_what_it_billed_is_in_its_results(bench: Bench) -> None:
    requests = bench.drafts(30)
    name = bench.create(*requests)
    bench.lane.cancel(name)
    assert bench.finish(name) in (JobState.CANCELLED, JobState.SUCCEEDED)
    try:
        outcomes = bench.results(name, *requests)
    except ResultsGone:
        outcomes = []
    assert {outcome.key for outcome in outcomes} <= {request.id for request in requests}
    answered = [outcome for outcome in outcomes if outcome.usage is not None]
    if bench.way.partly:
        assert len(answered) == len(bench.billed())
    if not bench.way.is_own:
        assert bench.cost(*outcomes) == sum(Decimal(entry["usd"]) for entry in bench.billed())


def test_cancelling_what_is_over_is_no_error(bench: Bench) -> None:
    name = bench.create(bench.draft())
    bench.finish(name)
    bench.lane.cancel(name)
    assert bench.lane.poll(name).state is JobState.SUCCEEDED


def test_a_job_that_does_not_exist_is_a_clean_no(bench: Bench) -> None:
    with pytest.raises(Rejected):
        bench.lane.poll("batches/nothing" if bench.way.lane == "gemini-batch" else "nothing")


@only_mortal
def test_a_retired_model_draws_nothing_and_bills_nothing(bench: Bench) -> None:
    request = Request(kind=Kind.DRAFT, model=bench.way.dead_model, prompt="tulips")
    if bench.way.lane == "gemini-batch":  # which looks at the model at once
        with pytest.raises(Rejected) as caught:
            bench.create(request)
        assert caught.value.failure is FailureClass.INVALID
    elif bench.way.lane == "openai-batch":  # which validates the batch later
        name = bench.create(request)
        assert bench.finish(name) is JobState.FAILED
        assert bench.way.dead_model in bench.lane.poll(name).message
    else:
        assert bench.outcomes(request)[request.id].failure is FailureClass.INVALID
    assert sum(Decimal(entry["usd"]) for entry in bench.billed()) == 0


def test_no_input_is_larger_than_the_lane_s_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(bench.lane), "max_bytes", 1000)
    with pytest.raises(Rejected, match="fewer requests"):
        bench.create(*bench.drafts(20))
    assert bench.billed() == []


@only_batches
class TestBatches:
    @pytest.mark.parametrize(
        ("fault", "accepted"),
        [
            ({"create_unheard": 1}, 0),
            ({"create_dropped": 1}, 1),
            ({"create_500": 1}, 0),
            ({"create_500": {"accepted": True}}, 1),
            ({"create_503": {"accepted": True}}, 1),
        ],
    )
    def test_doubt_is_unsure_asked_once_and_resolved_by_the_list(
        self, bench: Bench, fault: dict[str, Any], accepted: int
    ) -> None:
        token = bench.folder.parent.name
        request = bench.draft()
        handle = bench.lane.prepare([request], a_picture, "input")
        before = bench.jobs()
        bench.arm(**fault)
        with pytest.raises(Unsure):
            bench.lane.create(handle, request.model, token)
        assert bench.jobs() == before + accepted
        assert len(bench.find(token)) == accepted

    def test_a_quota_is_a_clean_no_with_its_wait(self, bench: Bench) -> None:
        request = bench.draft()
        handle = bench.lane.prepare([request], a_picture, "input")
        before = bench.jobs()
        bench.arm(create_429={"retry_after": 7.5})
        with pytest.raises(Rejected) as caught:
            bench.lane.create(handle, request.model, "token")
        assert (caught.value.failure, caught.value.retry_after) == (FailureClass.TRANSIENT, 7.5)
        assert bench.jobs() == before

    @pytest.mark.parametrize("size", [1, 2, 100])
    def test_find_pages_through_everything(
        self, bench: Bench, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = bench.folder.parent.name
        names = [bench.create(bench.draft(), token=f"{token}-{n}") for n in (0, 1, 0, 2)]
        for module in (gemini_batch, openai_batch, anthropic_batch):
            monkeypatch.setattr(module, "PAGE_SIZE", size)
        assert sorted(bench.lane.find(f"{token}-0")) == sorted([names[0], names[2]])
        assert bench.lane.find(f"{token}-1") == [names[1]]

    @pytest.mark.parametrize("size", [1, 100])
    def test_every_job_is_listed_with_its_token(
        self, bench: Bench, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = bench.folder.parent.name
        made = [(bench.create(bench.draft(), token=f"{token}-{n}"), f"{token}-{n}") for n in "010"]
        for module in (gemini_batch, openai_batch, anthropic_batch):
            monkeypatch.setattr(module, "PAGE_SIZE", size)
        listed = [(name, carried) for name, carried in bench.lane.listed() if token in carried]
        assert sorted(listed) == sorted(made)

    def test_a_job_whose_answer_was_lost_is_listed_once_it_has_ended(self, bench: Bench) -> None:
        token = bench.folder.parent.name
        handle = bench.lane.prepare([bench.draft()], a_picture, "input")
        bench.arm(create_dropped=1)
        with pytest.raises(Unsure):
            bench.lane.create(handle, bench.way.model, token)
        (name,) = bench.find(token)
        bench.finish(name)
        assert (name, token) in list(bench.lane.listed())

    def test_a_list_that_keeps_failing_is_no_empty_list(self, bench: Bench) -> None:
        name = bench.create(bench.draft(), token=bench.folder.parent.name)
        bench.arm(list_500=2)
        assert bench.lane.find(bench.folder.parent.name) == [name]
        bench.arm(list_500=3)
        with pytest.raises(Unavailable):
            bench.lane.find(bench.folder.parent.name)

    @pytest.mark.parametrize("fraction", [0.1, 0.9])
    def test_a_download_that_drops_loses_and_repeats_nothing(
        self, bench: Bench, fraction: float
    ) -> None:
        requests = bench.drafts(6)
        name = bench.create(*requests)
        bench.finish(name)
        bench.arm(download_dropped={"times": 5, "fraction": fraction}, download_500=1)
        keys = [outcome.key for outcome in bench.results(name, *requests)]
        assert keys == [request.id for request in requests]

    @pytest.mark.parametrize("fraction", [0.0, 0.5])
    def test_an_answer_that_ends_early_without_a_length_is_not_the_file(
        self, bench: Bench, fraction: float
    ) -> None:
        requests = bench.drafts(6)
        name = bench.create(*requests)
        bench.finish(name)
        bench.arm(download_short={"fraction": fraction})
        keys = [outcome.key for outcome in bench.results(name, *requests)]
        assert keys == [request.id for request in requests]

    def test_a_job_that_names_no_results_may_name_them_later(self, bench: Bench) -> None:
        name = bench.create(bench.draft())
        bench.finish(name)
        bench.arm(output_unnamed=1)
        with pytest.raises(NoResults):
            bench.results(name)
        assert len(bench.results(name)) == 1

    def test_results_that_are_not_there_for_now_come_later(self, bench: Bench) -> None:
        name = bench.create(bench.draft())
        bench.finish(name)
        bench.arm(download_404=3)
        with pytest.raises(ResultsGone):
            bench.results(name)
        _control(bench.url, "DELETE", "faults")
        assert len(bench.results(name)) == 1

    def test_results_that_were_deleted_are_gone(self, bench: Bench) -> None:
        bench.arm(result_gone=1)
        name = bench.create(bench.draft())
        bench.finish(name)
        with pytest.raises(ResultsGone):
            bench.results(name)

    @pytest.mark.parametrize(
        ("fault", "lost"),
        [("result_crlf", 0), ("result_no_final_newline", 0), ("result_truncated", 1)],
    )
    def test_damage_to_the_file_costs_at_most_the_damaged_line(
        self, bench: Bench, fault: str, lost: int
    ) -> None:
        bench.arm(**{fault: 1})
        outcomes = bench.outcomes(*bench.drafts(4))
        broken = [o for o in outcomes.values() if o.status is not bench.way.gives]
        assert [outcome.failure for outcome in broken] == [FailureClass.BROKEN] * lost

    def test_a_bad_key_is_in_no_message(self, bench: Bench) -> None:
        bench.lane = bench.way.make(bench.url, "bad-secret-key", bench.folder)
        with pytest.raises(Rejected) as caught:
            bench.create(bench.draft())
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(bench.lane)


# A batch of Claude's never fails as a whole.
@pytest.mark.parametrize("bench", ["gemini-batch", "openai-batch"], indirect=True)
def test_a_job_that_failed_has_nothing_to_fetch_and_says_why(bench: Bench) -> None:
    bench.arm(job_failed=1)
    name = bench.create(bench.draft())
    assert bench.finish(name) is JobState.FAILED
    assert "Internal error" in bench.lane.poll(name).message
    with pytest.raises(ResultsGone):
        bench.results(name)


def test_an_answer_that_was_lost_says_so(sandbox_url: str, tmp_path: Path) -> None:
    bench = Bench(sandbox_url, WAYS["interactive-google"], tmp_path)
    bench.arm(call_dropped=1)
    request = bench.draft()
    outcome = bench.outcomes(request)[request.id]
    assert (outcome.reason, outcome.usage) == (CALL_UNANSWERED, None)
    assert len(bench.billed()) == 1


def test_an_openai_address_where_nobody_answers_is_named() -> None:
    lane = OpenAIBatchLane(KEY, "http://127.0.0.1:9/v1")
    fix = r"Check the network and OPENAI_BASE_URL\."
    with pytest.raises(
        Unavailable, match=rf"at http://127\.0\.0\.1:9/v1: NewConnectionError\. {fix}"
    ):
        lane.find("x")
    with pytest.raises(Unsure, match=rf"at http://127\.0\.0\.1:9/v1: APIConnectionError\. {fix}"):
        lane.create("files/x", "gpt-image-1", "token")
