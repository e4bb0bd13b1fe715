"""Image servers of your GPUs: what is said to them, what it costs, and what they cannot be told."""

import json
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.providers.serving import serving

from imagewave.providers.gpu.access import ACCESS
from imagewave.providers.gpu.image_server import (
    ImageServerCaller,
    ImageServerLane,
    Meter,
)
from imagewave.providers.gpu.lane import GpuLane
from imagewave.providers.interactive import working
from imagewave.providers.protocol import Outcome, Rejected, Unavailable
from imagewave.providers.registry import open_lane
from imagewave.storage.catalog.prices import GPU_HOUR_VARIABLE, UnknownPrice
from imagewave.storage.requests import FailureClass, Kind, Request, Status
from imagewave.storage.store import Store
from imagewave.testing.bench import a_picture


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GPU_HOUR_VARIABLE, "3.60")
    monkeypatch.setattr(working, "_pause", lambda tries, told: 0.01)


def draft(**fields: Any) -> Request:
    given: dict[str, Any] = {"aspect_ratio": "3:2", "size": "1K", **fields}
    return Request(kind=Kind.DRAFT, model="flux-1-schnell", prompt="tulips", **given)


def line_of(request: Request) -> dict[str, Any]:
    caller = ImageServerCaller("http://127.0.0.1:9/v1")
    line: dict[str, Any] = json.loads(caller.line(request, lambda sha256, edge: a_picture(sha256)))
    return line


class TestRequests:
    def test_a_draft_names_the_weights_and_everything_that_decides(self) -> None:
        line = line_of(draft(seed=7))
        assert line["url"] == "/v1/images/generations"
        assert line["body"] == {
            "model": "black-forest-labs/FLUX.1-schnell",
            "prompt": "tulips",
            "n": 1,
            "size": "1248x832",
            "response_format": "b64_json",
            "output_format": "jpeg",
            "seed": 7,
            "num_inference_steps": 4,
            "guidance_scale": 0.0,
        }

    def test_steps_and_guidance_of_the_wave_take_the_place_of_the_model_s(self) -> None:
        body = line_of(draft(steps=8, guidance=2.5))["body"]
        assert (body["num_inference_steps"], body["guidance_scale"]) == (8, 2.5)

    def test_a_request_without_a_seed_has_one_of_its_own(self) -> None:
        first, again, second = draft(), draft(), draft(sample=1)
        seeds = [line_of(request)["body"]["seed"] for request in (first, again, second)]
        assert seeds[0] == seeds[1] != seeds[2]

    def test_a_reference_makes_it_an_edit(self) -> None:
        line = line_of(draft(references=("a" * 64,)))
        assert (line["url"], len(line["images"])) == ("/v1/images/edits", 1)

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"loras": ("some/adapter@0.8",)}, "adapters"),
            ({"references": ("a" * 64,), "strength": 0.3}, "drawn anew"),
            ({"aspect_ratio": "1:8"}, "pixels"),
        ],
    )
    def test_what_the_api_has_no_word_for_is_refused(
        self, fields: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(Rejected, match=said):
            line_of(draft(**fields))

    def test_without_a_price_of_the_hour_nothing_is_asked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(GPU_HOUR_VARIABLE)
        with pytest.raises(UnknownPrice, match=GPU_HOUR_VARIABLE):
            line_of(draft())


class TestMeter:
    def test_calls_that_are_under_way_together_share_the_time(self) -> None:
        now = [0.0]
        meter = Meter(clock=lambda: now[0])
        with meter.running() as first:
            now[0] = 2.0
            with meter.running() as second:
                now[0] = 6.0
            now[0] = 7.0
        assert (first.seconds, second.seconds) == (5.0, 2.0)

    def test_time_without_calls_costs_nothing(self) -> None:
        now = [0.0]
        meter = Meter(clock=lambda: now[0])
        for _ in range(2):
            now[0] += 100.0
            with meter.running() as share:
                now[0] += 1.0
            assert share.seconds == 1.0


class _Server(BaseHTTPRequestHandler):
    """Answers every call with the next of its answers."""

    answers: list[tuple[int, bytes]]
    models = (404, b'{"detail":"Not Found"}')

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer(*self.models)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self._answer(*(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def outcome_of(folder: Path, *answers: tuple[int, bytes]) -> Outcome:
    with serving(type("Server", (_Server,), {"answers": list(answers)})) as url:
        lane = ImageServerLane(Store.open(str(folder)), ImageServerCaller(f"{url}/v1", "secret"))
        lane.check_access()
        request = draft()
        name = lane.create(lane.prepare([request], a_picture, "input"), request.model, "token")
        while not lane.poll(name).state.done:
            pass
        (outcome,) = lane.results(name, lambda key: True)
    assert outcome.key == request.id
    return outcome


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "body", "failure", "said"),
        [
            (400, b'{"detail":"Invalid size format"}', FailureClass.INVALID, "Invalid size"),
            (422, b'{"detail":[{"msg":"field required"}]}', FailureClass.INVALID, "field required"),
            (400, b'{"error":{"message":"no such model"}}', FailureClass.INVALID, "no such"),
            (500, b'{"detail":"CUDA out of memory"}', FailureClass.TRANSIENT, "CUDA"),
            (401, b'{"error":"secret is no key"}', FailureClass.INVALID, "… is no key"),
        ],
    )
    def test_errors_of_either_dialect_are_read(
        self, tmp_path: Path, status: int, body: bytes, failure: FailureClass, said: str
    ) -> None:
        outcome = outcome_of(tmp_path, (status, body))
        assert (outcome.status, outcome.failure) == (Status.FAILED, failure)
        assert outcome.reason == f"HTTP_{status}"
        assert said in outcome.message

    def test_a_server_that_is_full_is_asked_again(self, tmp_path: Path) -> None:
        full = (503, b'{"detail":"queue is full"}')
        outcome = outcome_of(tmp_path, full, full, (200, b'{"created":0,"data":[]}'))
        assert outcome.reason == "NO_IMAGE"
        assert outcome.usage is not None
        assert outcome.usage.gpu_seconds is not None
        assert 0 < outcome.usage.gpu_seconds < 5
        assert outcome.usage.gpu_usd_per_hour == Decimal("3.60")

    def test_what_a_gateway_says_is_no_word_of_the_server(self, tmp_path: Path) -> None:
        assert outcome_of(tmp_path, (502, b"<html>")).reason == "CALL_UNANSWERED"


class TestOpening:
    def test_the_address_decides_who_renders(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = Store.open(str(tmp_path))
        assert isinstance(open_lane("gpu", store), GpuLane)
        monkeypatch.setenv(ACCESS.address, "http://127.0.0.1:9/v1")
        lane = open_lane("gpu", store)
        assert isinstance(lane, ImageServerLane)
        with pytest.raises(Unavailable, match=f"correct {ACCESS.address}"):
            lane.check_access()

    def test_a_model_that_the_server_does_not_list_is_asked_nothing_of(
        self, tmp_path: Path
    ) -> None:
        models = (200, b'{"data":[{"id":"Tongyi-MAI/Z-Image-Turbo"}]}')
        with serving(type("Server", (_Server,), {"models": models})) as url:
            caller = ImageServerCaller(f"{url.replace('//', '//user:hidden@')}/v1")
            lane = ImageServerLane(Store.open(str(tmp_path)), caller)
            lane.check_access()
            with pytest.raises(Rejected, match="lists Tongyi-MAI/Z-Image-Turbo") as refusal:
                lane.prepare([draft()], a_picture, "input")
        assert "FLUX.1-schnell" in refusal.value.message
        assert f"at {url}/v1 " in refusal.value.message
        assert refusal.value.failure is FailureClass.INVALID

    @pytest.mark.parametrize(
        "models", [(404, b"{}"), (405, b""), (200, b"[]"), (200, b'{"data":[]}')]
    )
    def test_a_server_without_a_list_is_taken_as_it_is(
        self, tmp_path: Path, models: tuple[int, bytes]
    ) -> None:
        with serving(type("Server", (_Server,), {"models": models})) as url:
            lane = ImageServerLane(Store.open(str(tmp_path)), ImageServerCaller(f"{url}/v1"))
            lane.check_access()
            assert lane.prepare([draft()], a_picture, "input")
