"""The lane `gemini-batch` over HTTP, against the sandbox, with Google's own client."""

import io
import json
import logging
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.providers.serving import serving

from imagewave.errors import ImagewaveError
from imagewave.providers.gemini import batch as gemini_batch
from imagewave.providers.gemini.batch import GeminiBatchLane
from imagewave.providers.protocol import (
    JobState,
    Lane,
    Outcome,
    Rejected,
    ResultsGone,
    Unavailable,
    Unsure,
)
from imagewave.providers.provider import NoKey
from imagewave.providers.registry import open_lane
from imagewave.providers.wire import input_file
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.requests import FailureClass, Kind, Request, Status
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy

LITE, TEXT = "gemini-3.1-flash-lite-image", "gemini-3.5-flash-lite"
SETTINGS: dict[str, Any] = {"tiny": 8, "defects": "none", "pending_s": 0.02, "running_s": 0.02}
KEY = "sandbox-key-that-nobody-may-see"


class Bench:
    """The lane and the switches of the sandbox behind it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lane = GeminiBatchLane(KEY, url)

    def control(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/{path}", data, method=method)
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return (
            [json.loads(row) for row in text.splitlines()] if path == "ledger" else json.loads(text)
        )

    def arm(self, **faults: Any) -> None:
        self.control("PUT", "faults", faults)

    def jobs(self) -> int:
        return len(self.control("GET", "jobs"))

    def create(self, *requests: Request, token: str = "token") -> str:
        handle = self.lane.prepare(requests, no_images, "input")
        return self.lane.create(handle, requests[0].model, token)

    def finish(self, name: str) -> JobState:
        while not (status := self.lane.poll(name)).state.done:
            time.sleep(0.02)
        return status.state

    def outcomes(self, *requests: Request) -> dict[str | None, Outcome]:
        name = self.create(*requests)
        self.finish(name)
        wants = {request.id: request.kind.wants_image for request in requests}
        return {outcome.key: outcome for outcome in self.lane.results(name, wants.__getitem__)}


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=SETTINGS) as sandbox:
        yield Bench(sandbox.url)


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    yield shared_bench
    shared_bench.control("DELETE", "faults")
    shared_bench.control("PUT", "config", {**SETTINGS, "max_jobs": 100})


def no_images(sha256: str) -> bytes:
    raise AssertionError(f"nobody asked for {sha256}")


def draft(prompt: str = "tulips", **fields: Any) -> Request:
    return Request(kind=Kind.DRAFT, model=LITE, prompt=prompt, aspect_ratio="1:1", **fields)


def drafts(count: int) -> list[Request]:
    return [draft(f"tulips {number}") for number in range(count)]


def test_it_is_a_lane() -> None:
    lane: Lane = GeminiBatchLane("key")
    assert lane.name == "gemini-batch"


def test_drafts_come_back_as_pictures(bench: Bench) -> None:
    requests = drafts(5)
    outcomes = bench.outcomes(*requests)
    assert outcomes.keys() == {request.id for request in requests}
    for outcome in outcomes.values():
        assert outcome.status is Status.IMAGE
        assert outcome.usage is not None
        assert outcome.usage.image_tokens == 1120
        assert outcome.image is not None
        Image.open(io.BytesIO(outcome.image)).verify()


def test_all_sorts_of_requests_are_accepted(bench: Bench) -> None:
    """The sandbox refuses unknown fields and values, as Google does."""
    picture = io.BytesIO()
    Image.effect_noise((900, 600), 60).convert("RGB").save(picture, "JPEG")
    asked: list[str] = []

    def read_image(sha256: str) -> bytes:
        asked.append(sha256)
        return picture.getvalue()

    schema = {"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]}
    final = draft("again", references=("a" * 64,), size="1K", thinking="minimal", seed=3)
    judge = Request(
        kind=Kind.JUDGE,
        model=TEXT,
        prompt="judge it",
        system="be strict",
        references=("b" * 64, "c" * 64),
        reference_edge=256,
        thinking="low",
        temperature=0.0,
        response_schema=json.dumps(schema),
    )
    expand = Request(kind=Kind.EXPAND, model=TEXT, prompt="three prompts about tulips")
    for request in (final, judge, expand):
        handle = bench.lane.prepare([request], read_image, "input")
        name = bench.lane.create(handle, request.model, "token")
        assert bench.finish(name) is JobState.SUCCEEDED
        wants_image = request.kind.wants_image
        [outcome] = bench.lane.results(name, lambda key, wanted=wants_image: wanted)  # type: ignore[misc]
        assert outcome.status is (Status.IMAGE if wants_image else Status.TEXT), outcome
    assert asked == ["a" * 64, "b" * 64, "c" * 64]


def test_refusals_and_errors_of_single_lines_are_outcomes(bench: Bench) -> None:
    wanted = {
        "block_image_safety": (Status.REFUSED, FailureClass.REFUSED, "PROMPT_IMAGE_SAFETY"),
        "finish_image_safety": (Status.REFUSED, FailureClass.REFUSED, "IMAGE_SAFETY"),
        "no_image": (Status.FAILED, FailureClass.BROKEN, "NO_IMAGE"),
        "text_only": (Status.FAILED, FailureClass.BROKEN, "TEXT_ONLY"),
        "bad_base64": (Status.FAILED, FailureClass.BROKEN, "INVALID_BASE64"),
        "max_tokens": (Status.FAILED, FailureClass.INVALID, "MAX_TOKENS"),
        "error_3": (Status.FAILED, FailureClass.INVALID, "INVALID_ARGUMENT"),
        "error_8": (Status.FAILED, FailureClass.TRANSIENT, "RESOURCE_EXHAUSTED"),
        "error_13": (Status.FAILED, FailureClass.TRANSIENT, "INTERNAL"),
        "thought_first": (Status.IMAGE, None, ""),
        "usage_missing": (Status.IMAGE, None, ""),
    }
    requests = {defect: draft(f"tulips [[sandbox:{defect}]]") for defect in wanted}
    outcomes = bench.outcomes(*requests.values())
    for defect, request in requests.items():
        outcome = outcomes[request.id]
        assert (outcome.status, outcome.failure, outcome.reason) == wanted[defect], defect


@pytest.mark.parametrize(
    ("fault", "lost"),
    [
        ("result_crlf", 0),
        ("result_no_final_newline", 0),
        ("result_invalid_utf8", 0),
        ("result_long_line", 0),
        ("result_truncated", 1),
    ],
)
def test_damage_to_the_file_costs_at_most_the_damaged_line(
    bench: Bench, fault: str, lost: int
) -> None:
    bench.arm(**{fault: 1})
    requests = drafts(4)
    outcomes = bench.outcomes(*requests)
    assert outcomes.keys() == {request.id for request in requests}
    broken = [o for o in outcomes.values() if o.status is not Status.IMAGE]
    assert len(broken) == lost
    assert all(outcome.failure is FailureClass.BROKEN for outcome in broken)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_download_that_drops_loses_and_repeats_nothing(bench: Bench, fraction: float) -> None:
    requests = drafts(6)
    name = bench.create(*requests)
    bench.finish(name)
    bench.arm(download_dropped={"times": 5, "fraction": fraction}, download_500=1)
    keys = [outcome.key for outcome in bench.lane.results(name, lambda key: True)]
    assert keys == [request.id for request in requests]


class TestCreate:
    def test_a_lost_answer_is_unsure_and_the_job_is_found(self, bench: Bench) -> None:
        bench.arm(create_dropped=1)
        before = bench.jobs()
        with pytest.raises(Unsure):
            bench.create(draft(), token="lost")
        assert bench.jobs() == before + 1
        [name] = bench.lane.find("lost")
        assert bench.finish(name) is JobState.SUCCEEDED

    @pytest.mark.parametrize(
        ("fault", "accepted"),
        [
            ({"create_unheard": 1}, 0),
            ({"create_500": 1}, 0),
            ({"create_500": {"accepted": True}}, 1),
            ({"create_503": {"retry_after": 1}}, 0),
            ({"create_503": {"accepted": True}}, 1),
        ],
    )
    def test_doubt_is_unsure_and_asked_once(
        self, bench: Bench, fault: Mapping[str, Any], accepted: int
    ) -> None:
        handle = bench.lane.prepare([draft()], no_images, "input")
        bench.arm(**fault)
        before = bench.jobs()
        with pytest.raises(Unsure):
            bench.lane.create(handle, LITE, "token")
        assert bench.jobs() == before + accepted

    def test_a_quota_is_a_clean_no_with_its_wait(self, bench: Bench) -> None:
        handle = bench.lane.prepare([draft()], no_images, "input")
        bench.arm(create_429={"retry_after": 7.5})
        before = bench.jobs()
        with pytest.raises(Rejected) as caught:
            bench.lane.create(handle, LITE, "token")
        assert (caught.value.failure, caught.value.retry_after) == (FailureClass.TRANSIENT, 7.5)
        assert bench.jobs() == before

    @pytest.mark.parametrize("model", ["gemini-2.5-flash-image", "no-such-model"])
    def test_a_model_that_is_not_there_is_a_clean_no(self, bench: Bench, model: str) -> None:
        handle = bench.lane.prepare([draft()], no_images, "input")
        with pytest.raises(Rejected, match="imagewave models") as caught:
            bench.lane.create(handle, model, "token")
        assert caught.value.failure is FailureClass.INVALID

    def test_an_input_that_is_gone_is_a_clean_no(self, bench: Bench) -> None:
        with pytest.raises(Rejected):
            bench.lane.create("files/nothing", LITE, "token")


class TestFind:
    def test_it_pages_through_everything(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handle = bench.lane.prepare([draft()], no_images, "input")
        names = [bench.lane.create(handle, LITE, f"paged-{n}") for n in range(4)]
        twin = bench.lane.create(handle, LITE, "paged-0")
        for size in (1, 2, 100):  # with pages of one, the last one is empty
            monkeypatch.setattr(gemini_batch, "PAGE_SIZE", size)
            assert sorted(bench.lane.find("paged-0")) == sorted([names[0], twin])
            assert bench.lane.find("paged-3") == [names[3]]

    def test_a_token_is_matched_as_a_whole(self, bench: Bench) -> None:
        bench.create(draft(), token="whole-token")
        assert bench.lane.find("whole") == []

    def test_a_list_that_fails_for_a_moment_is_asked_again(self, bench: Bench) -> None:
        name = bench.create(draft(), token="moment")
        bench.arm(list_500=2)
        assert bench.lane.find("moment") == [name]

    def test_a_list_that_keeps_failing_is_no_empty_list(self, bench: Bench) -> None:
        bench.arm(list_500=3)
        with pytest.raises(Unavailable):
            bench.lane.find("anything")


class TestPoll:
    @pytest.mark.parametrize(
        ("fault", "state"),
        [
            ("job_failed", JobState.FAILED),
            ("job_cancelled", JobState.CANCELLED),
            ("job_expired", JobState.EXPIRED),
        ],
    )
    def test_a_job_that_came_to_nothing_has_no_results(
        self, bench: Bench, fault: str, state: JobState
    ) -> None:
        bench.arm(**{fault: 1})
        name = bench.create(draft())
        assert bench.finish(name) is state
        with pytest.raises(ResultsGone):
            list(bench.lane.results(name, lambda key: True))

    def test_a_failed_job_says_why(self, bench: Bench) -> None:
        bench.arm(job_failed=1)
        name = bench.create(draft())
        bench.finish(name)
        assert "Internal error" in bench.lane.poll(name).message

    def test_a_job_done_in_part_gives_up_that_part(self, bench: Bench) -> None:
        bench.arm(job_partial=1)
        name = bench.create(*drafts(4))
        assert bench.finish(name) is JobState.PARTIAL
        assert len(list(bench.lane.results(name, lambda key: True))) == 2

    def test_counts_are_told(self, bench: Bench) -> None:
        name = bench.create(*drafts(2), draft("[[sandbox:error_13]]"))
        bench.finish(name)
        status = bench.lane.poll(name)
        assert (status.total, status.succeeded, status.failed) == (3, 2, 1)

    def test_a_moment_s_failure_is_asked_again(self, bench: Bench) -> None:
        name = bench.create(draft())
        bench.arm(get_500=2)
        assert bench.lane.poll(name).name == name

    def test_a_lasting_failure_is_unavailable(self, bench: Bench) -> None:
        name = bench.create(draft())
        bench.arm(get_500=3)
        with pytest.raises(Unavailable):
            bench.lane.poll(name)

    def test_a_job_that_does_not_exist_is_a_clean_no(self, bench: Bench) -> None:
        with pytest.raises(Rejected):
            bench.lane.poll("batches/nothing")


def test_results_that_were_deleted_are_gone(bench: Bench) -> None:
    bench.arm(result_gone=1)
    name = bench.create(draft())
    bench.finish(name)
    with pytest.raises(ResultsGone):
        list(bench.lane.results(name, lambda key: True))


def test_a_cancelled_job_ends_so(bench: Bench) -> None:
    bench.arm(job_stuck=1)
    name = bench.create(draft())
    bench.lane.cancel(name)
    assert bench.finish(name) is JobState.CANCELLED
    bench.lane.cancel(name)


class TestPrepare:
    def test_an_upload_that_fails_for_a_moment_is_repeated(self, bench: Bench) -> None:
        bench.arm(upload_500=1)
        assert bench.lane.prepare([draft()], no_images, "input").startswith("files/")

    def test_an_input_that_is_too_large_is_refused_before_it_is_sent(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(GeminiBatchLane, "max_bytes", 1000)
        with pytest.raises(Rejected, match="fewer requests"):
            bench.lane.prepare(drafts(10), no_images, "input")

    def test_a_full_disk_is_named(self) -> None:
        with (
            open("/dev/full", "wb", buffering=0) as full,
            pytest.raises(ImagewaveError, match="TMPDIR"),
        ):
            input_file._append(full, b"line\n")


class TestKey:
    def test_a_wrong_key_says_what_to_do(self, bench: Bench) -> None:
        lane = GeminiBatchLane("bad-key", bench.url)
        with pytest.raises(Rejected, match="GEMINI_API_KEY"):
            lane.prepare([draft()], no_images, "input")
        with pytest.raises(Rejected, match="GEMINI_API_KEY"):
            lane.create("files/x", LITE, "token")

    def test_no_key_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(NoKey, match="GEMINI_API_KEY"):
            open_lane("gemini-batch", Store.open(str(tmp_path)), {"GEMINI_API_KEY": " "})

    def test_key_and_address_come_from_the_environment(self, bench: Bench, tmp_path: Path) -> None:
        environ = {"GOOGLE_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": bench.url + "/"}
        lane = open_lane("gemini-batch", Store.open(str(tmp_path)), environ)
        assert lane.find("nobody") == []

    def test_an_address_where_nobody_answers_is_unavailable(self) -> None:
        lane = GeminiBatchLane("k", "http://127.0.0.1:9")
        with pytest.raises(Unavailable):
            lane.poll("batches/x")
        with pytest.raises(Unavailable) as told:
            lane.find("x")
        assert "Gemini API at http://127.0.0.1:9/v1beta: New" in told.value.message
        assert told.value.fix == "Check the network and GOOGLE_GEMINI_BASE_URL."
        with pytest.raises(
            Unsure, match=r"http://127\.0\.0\.1:9/v1beta: ConnectError\. Check the network"
        ):
            lane.create("files/x", LITE, "token")

    def test_an_answer_that_quotes_the_key_does_not_reach_anybody(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Telltale(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = f"Consumer 'api_key:{KEY}' has been suspended."
                error = {"code": 403, "message": message, "status": "PERMISSION_DENIED"}
                body = json.dumps({"error": error}).encode()
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, format: str, *args: object) -> None:
                pass

        caplog.set_level(logging.DEBUG)
        with serving(Telltale) as url:
            lane = GeminiBatchLane(KEY, url)
            calls: list[Callable[[], object]] = [
                lambda: lane.prepare([draft()], no_images, "input"),
                lambda: lane.create("files/x", LITE, "token"),
                lambda: lane.find("x"),
                lambda: lane.poll("batches/x"),
                lambda: list(lane.results("batches/x", lambda key: True)),
                lambda: lane.cancel("batches/x"),
            ]
            for call in calls:
                with pytest.raises(Rejected) as caught:
                    call()
                told = "".join(traceback.format_exception(caught.value))
                assert "suspended" in told
                assert KEY not in told
        assert KEY not in repr(lane) + caplog.text

    def test_a_redirect_elsewhere_does_not_take_the_key_along(self) -> None:
        seen: list[str | None] = []

        class Elsewhere(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.headers.get("x-goog-api-key"))
                body = b'{"name": "batches/x", "metadata": {"state": "BATCH_STATE_RUNNING"}}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        with serving(Elsewhere) as elsewhere:

            class Here(Elsewhere):
                def do_GET(self) -> None:
                    seen.append(self.headers.get("x-goog-api-key"))
                    self.send_response(302)
                    self.send_header("Location", elsewhere.replace("127.0.0.1", "localhost"))
                    self.send_header("Content-Length", "0")
                    self.end_headers()

                do_POST = do_GET  # noqa: N815

            with serving(Here) as here:
                lane = GeminiBatchLane(KEY, here)
                assert lane.poll("batches/x").state is JobState.RUNNING
                with pytest.raises(Unsure):
                    lane.create("files/x", LITE, "token")
        assert seen == [KEY, None, KEY]


@pytest.mark.parametrize(
    ("wire", "more", "state"),
    [
        ("BATCH_STATE_PENDING", {}, JobState.PENDING),
        ("JOB_STATE_PENDING", {}, JobState.PENDING),
        ("JOB_STATE_RUNNING", {}, JobState.RUNNING),
        ("JOB_STATE_PARTIALLY_SUCCEEDED", {}, JobState.PARTIAL),
        ("BATCH_STATE_SUCCEEDED", {}, JobState.SUCCEEDED),
        ("BATCH_STATE_OF_TOMORROW", {}, JobState.RUNNING),
        ("BATCH_STATE_OF_TOMORROW", {"done": True, "error": {}}, JobState.FAILED),
        ("", {"done": True, "response": {}}, JobState.SUCCEEDED),
    ],
)
def test_states_are_known_by_either_prefix(
    wire: str, more: dict[str, Any], state: JobState
) -> None:
    operation = {"name": "batches/x", "metadata": {"state": wire}, **more}
    assert gemini_batch._status("batches/x", operation).state is state
