"""The lane `interactive`: what is its own, besides what it shares with every lane."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.providers.serving import serving

from imagewave.providers.caller import Caller
from imagewave.providers.gemini.caller import GeminiCaller
from imagewave.providers.interactive import working
from imagewave.providers.interactive.lane import InteractiveLane
from imagewave.providers.openai.caller import OpenAICaller
from imagewave.providers.protocol import CALL_UNANSWERED, JobState, Outcome, Rejected, ResultsGone
from imagewave.providers.provider import NoKey
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.jobs.calls import CallFolder
from imagewave.storage.requests import FailureClass, Kind, Request, Status
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy

LITE = "gemini-3.1-flash-lite-image"
SETTINGS: dict[str, Any] = {"tiny": 8, "defects": "none"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=SETTINGS) as sandbox:
        yield sandbox.url


@pytest.fixture
def own_url(tmp_path: Path) -> Iterator[str]:
    """A sandbox that has not still to book the last calls of another test's dead caller."""
    with EmbeddedSandbox(tmp_path / "sandbox", settings=SETTINGS) as sandbox:
        yield sandbox.url


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def drafts(count: int) -> list[Request]:
    return [
        Request(
            kind=Kind.DRAFT, model=LITE, prompt="very " * 4 * number + "red", aspect_ratio="1:1"
        )
        for number in range(count)
    ]


def no_images(sha256: str) -> bytes:
    raise AssertionError(f"nobody asked for {sha256}")


def finish(lane: InteractiveLane, name: str) -> JobState:
    while not (status := lane.poll(name)).state.done:
        time.sleep(0.02)
    return status.state


def outcomes(lane: InteractiveLane, *requests: Request) -> list[Outcome]:
    name = lane.create(lane.prepare(requests, no_images, "input"), requests[0].model, "token")
    finish(lane, name)
    return list(lane.results(name, lambda key: True))


def calls(url: str) -> int:
    with urllib.request.urlopen(f"{url}/sandbox/ledger/summary") as answer:
        lines: int = json.loads(answer.read())["lines"]
        return lines


def billed_prompts(url: str) -> list[int]:
    """The lengths of the prompts in the books, in tokens: they tell these requests apart."""
    with urllib.request.urlopen(f"{url}/sandbox/ledger") as answer:
        return [json.loads(line)["tokens"]["prompt"] for line in answer.read().splitlines()]


def arm(url: str, **faults: Any) -> None:
    data = json.dumps(faults).encode()
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}/sandbox/faults", data, method="PUT")
    ):
        pass


CHILD = """
import sys
from imagewave.storage.store import Store
from imagewave.storage.requests import Kind, Request
from imagewave.providers.caller import Caller
from imagewave.providers.gemini.caller import GeminiCaller
from imagewave.providers.interactive.lane import InteractiveLane
url, folder, model = sys.argv[1:]
lane = InteractiveLane(Store.open(folder), {"google": GeminiCaller("key", url)})
requests = [
    Request(kind=Kind.DRAFT, model=model, prompt="very " * 4 * number + "red", aspect_ratio="1:1")
    for number in range(6)
]
name = lane.create(lane.prepare(requests, None, "input"), model, "token")
while not lane.poll(name).state.done:
    pass
"""


@pytest.mark.parametrize(
    ("point", "billed"), [("call.after_claim:3", False), ("call.before_answer:3", True)]
)
def test_a_crash_repeats_no_call_and_says_which_may_have_been_billed(
    own_url: str, store: Store, point: str, billed: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, own_url, store.url, LITE],
        env={**os.environ, "IMAGEWAVE_KILL_AT": point},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    lane = InteractiveLane(store, {"google": GeminiCaller("key", own_url)})
    [name] = lane.find("token")

    assert finish(lane, name) is JobState.SUCCEEDED

    found = list(lane.results(name, lambda key: True))
    assert {outcome.key for outcome in found} == {request.id for request in drafts(6)}
    lost = [outcome for outcome in found if outcome.status is not Status.IMAGE]
    assert lost, "the crash left at least its own call without an answer"
    for outcome in lost:
        assert (outcome.status, outcome.reason) == (Status.MISSING, CALL_UNANSWERED)
        assert outcome.failure is FailureClass.TRANSIENT
    # Each request was called at most once: what is no answer here may have been one there.
    made = billed_prompts(own_url)
    assert len(made) == len(set(made))
    assert len(found) - len(lost) <= len(made)
    assert not billed or len(made) > len(found) - len(lost)


def test_two_lanes_on_one_job_call_each_line_once(url: str, store: Store) -> None:
    before = calls(url)
    lanes = [InteractiveLane(store, {"google": GeminiCaller("key", url)}) for _ in range(3)]
    handle = lanes[0].prepare(drafts(20), no_images, "input")
    for lane in lanes:
        assert lane.create(handle, LITE, "token") == "token"
    for lane in lanes:
        assert finish(lane, "token") is JobState.SUCCEEDED
    assert calls(url) - before == 20


def test_too_many_calls_are_made_again_later_and_billed_once(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "_pause", lambda tries, told: 0.01)
    before = calls(url)
    arm(url, call_429=5, call_500=1)
    lane = InteractiveLane(store, {"google": GeminiCaller("key", url)})
    found = outcomes(lane, *drafts(4))
    assert [outcome.status for outcome in found] == [Status.IMAGE] * 4
    assert calls(url) - before == 4


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (502, b"<html>bad gateway</html>", CALL_UNANSWERED),
        (500, b"", CALL_UNANSWERED),
        (400, b'{"error": {"status": "INVALID_ARGUMENT", "message": "no"}}', "HTTP_400"),
    ],
)
def test_only_the_provider_s_own_word_counts_as_an_answer(
    store: Store, status: int, body: bytes, reason: str
) -> None:
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    with serving(Handler) as address:
        lane = InteractiveLane(store, {"google": GeminiCaller("key", address)})
        [outcome] = outcomes(lane, *drafts(1))
    assert outcome.reason == reason
    assert len(heard) == 1


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_picture_is_taken_with_any_status_of_success(
    store: Store, status: int, mark: bytes
) -> None:
    jpeg = b"\xff\xd8\xff\xe0" + bytes(9000)
    blob = {"mimeType": "image/jpeg", "data": base64.b64encode(jpeg).decode()}
    body = (
        mark + json.dumps({"candidates": [{"content": {"parts": [{"inlineData": blob}]}}]}).encode()
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    with serving(Handler) as address:
        lane = InteractiveLane(store, {"google": GeminiCaller("key", address)})
        [outcome] = outcomes(lane, *drafts(1))
    assert outcome.image == jpeg


def test_a_provider_that_cannot_be_reached_was_not_called(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def pause(tries: int, told: float | None) -> float:
        tried.append(tries)
        return 0.0

    monkeypatch.setattr(working, "_pause", pause)
    lane = InteractiveLane(store, {"google": GeminiCaller("key", "http://127.0.0.1:9")})
    [outcome] = outcomes(lane, *drafts(1))
    assert tried == [1, 2]
    assert outcome.failure is FailureClass.TRANSIENT


def test_nothing_is_called_after_a_cancel(url: str, store: Store) -> None:
    lane = InteractiveLane(store, {"google": GeminiCaller("key", url)})
    handle = lane.prepare(drafts(3), no_images, "input")
    CallFolder(store, "token").cancel()
    before = calls(url)
    lane.create(handle, LITE, "token")
    assert finish(lane, "token") is JobState.CANCELLED
    assert calls(url) == before


def test_a_model_whose_provider_has_no_key_is_refused(store: Store) -> None:
    lane = InteractiveLane(store, {"openai": OpenAICaller("key")})
    with pytest.raises(Rejected, match="no key"):
        lane.prepare(drafts(1), no_images, "input")


def test_no_key_at_all_is_named(store: Store) -> None:
    with pytest.raises(NoKey, match="GEMINI_API_KEY"):
        InteractiveLane.from_environment(store, {})


def test_where_every_key_is_refused_all_of_them_are_named(url: str, store: Store) -> None:
    both: dict[str, Caller] = {
        "google": GeminiCaller("bad", url),
        "openai": OpenAICaller("bad", f"{url}/v1"),
    }
    with pytest.raises(Rejected, match=r"Check GEMINI_API_KEY.* Check OPENAI_API_KEY"):
        InteractiveLane(store, both).check_access()


def test_a_refused_key_stops_only_who_needs_it(url: str, store: Store) -> None:
    both: dict[str, Caller] = {
        "google": GeminiCaller("key", url),
        "openai": OpenAICaller("bad", f"{url}/v1"),
    }
    lane = InteractiveLane(store, both)
    lane.check_access()
    assert [o.status for o in outcomes(lane, *drafts(1))] == [Status.IMAGE]
    with pytest.raises(Rejected, match="401"):
        lane.create("anything", "gpt-image-2", "other")


def test_a_call_that_was_claimed_while_the_job_was_cancelled_is_not_made(
    own_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = CallFolder.claim

    def cancelled_meanwhile(folder: CallFolder, number: int) -> bool:
        folder.cancel()
        return claim(folder, number)

    monkeypatch.setattr(CallFolder, "claim", cancelled_meanwhile)
    lane = InteractiveLane(store, {"google": GeminiCaller("key", own_url)})
    requests = drafts(3)
    name = lane.create(lane.prepare(requests, no_images, "input"), LITE, "token")
    assert finish(lane, name) is JobState.CANCELLED
    assert calls(own_url) == 0
    with pytest.raises(ResultsGone):
        list(lane.results(name, lambda key: True))
