"""Claude's batches: what the contract of all lanes does not say, above all how one is found again.

Against the sandbox over HTTP and, for what it does not do, a small server.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.providers.serving import serving
from tests.providers.ways import SETTINGS, WAYS, Sandbox

from imagewave.providers.anthropic import batch as anthropic_batch
from imagewave.providers.anthropic import upload
from imagewave.providers.anthropic.batch import AnthropicBatchLane
from imagewave.providers.anthropic.wire import (
    MAX_TOKENS,
    mark_of,
    plain_schema,
    read_line,
    request_line,
)
from imagewave.providers.protocol import JobState, Outcome, Rejected, Unavailable, Undecided, Unsure
from imagewave.providers.wire.jsonl import Line
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.jobs.untagged import Asked, ask
from imagewave.storage.requests import FailureClass, Kind, Request, Status
from imagewave.storage.store import Store
from imagewave.testing.bench import KEY, Bench, a_picture

pytestmark = pytest.mark.heavy

SCHEMA = {
    "type": "object",
    "properties": {"minimum": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["minimum"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("sandbox")
    with EmbeddedSandbox(folder, settings={**SETTINGS, "running_s": 0.2}) as sandbox:
        yield sandbox.url


@pytest.fixture
def bench(sandbox_url: str, tmp_path: Path) -> Bench:
    return Bench(Sandbox(sandbox_url), WAYS["anthropic-batch"], tmp_path / "store")


class TestFinding:
    def test_what_was_never_asked_for_is_absent_at_once(self, bench: Bench) -> None:
        bench.create(bench.draft(), token="another")
        assert bench.lane.find("token") == []

    def test_a_lost_answer_is_undecided_until_the_batch_has_ended(self, bench: Bench) -> None:
        bench.service.arm(create_dropped=1)
        with pytest.raises(Unsure):
            bench.create(bench.draft(), token="lost")
        # Another process knows no more than the store and the API tell it.
        bench.lane = bench.open()
        with pytest.raises(Undecided, match="says which job that is only when it has ended"):
            bench.lane.find("lost")
        (name,) = bench.find("lost")
        [outcome] = bench.results(name)
        assert outcome.status is Status.TEXT

    def test_a_batch_of_another_size_is_not_waited_for(self, bench: Bench) -> None:
        bench.service.arm(create_dropped=1)
        with pytest.raises(Unsure):
            bench.create(*bench.drafts(3), token="three")
        bench.service.arm(create_unheard=1)
        with pytest.raises(Unsure):
            bench.create(bench.draft(), token="one")
        assert bench.lane.find("one") == []

    def test_somebody_else_s_batch_of_the_same_size_is_told_apart(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        bench.service.arm(create_unheard=1)
        with pytest.raises(Unsure):
            bench.create(bench.draft(), token="mine")
        other = Bench(bench.service, bench.way, tmp_path / "other")
        other.create(other.draft(), token="theirs")
        with pytest.raises(Undecided):
            bench.lane.find("mine")
        assert bench.find("mine") == []

    def test_older_batches_are_no_candidates(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.service.arm(create_dropped=1)
        with pytest.raises(Unsure):
            bench.create(bench.draft(), token="older")
        time.sleep(0.05)
        monkeypatch.setattr(anthropic_batch, "CLOCKS", anthropic_batch.CLOCKS * 0)
        # A batch that is newer than the open one, so that the list is read only down to that.
        bench.create(*bench.drafts(2), token="between")
        bench.service.arm(create_unheard=1)
        with pytest.raises(Unsure):
            bench.create(bench.draft(), token="newer")
        assert bench.lane.find("newer") == []

    def test_what_the_list_cannot_tell_any_more_needs_a_person(self, bench: Bench) -> None:
        bench.service.arm(create_dropped=1, result_gone=1)
        with pytest.raises(Unsure):
            bench.create(*bench.drafts(7), token="gone")
        until_ended(bench)
        with pytest.raises(Undecided, match="its results are gone"):
            bench.lane.find("gone")

    def test_somebody_else_s_batch_that_cannot_be_read_keeps_none_of_ours_from_being_listed(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        name = bench.create(bench.draft(), token="ours")
        other = Bench(bench.service, bench.way, tmp_path / "other")
        other.finish(other.create(other.draft(), token="theirs"))
        bench.service.arm(download_500=3)
        assert list(bench.lane.listed()) == [(name, "ours")]

    def test_nothing_is_sent_while_the_list_cannot_be_read(self, bench: Bench) -> None:
        before = bench.service.jobs()
        bench.service.arm(list_500=3)
        with pytest.raises(Rejected) as caught:
            bench.create(bench.draft())
        assert caught.value.failure is FailureClass.TRANSIENT
        assert bench.service.jobs() == before


def until_ended(bench: Bench) -> None:
    """Waits until a batch that was created now has ended: a later one ends later."""
    bench.finish(bench.create(bench.draft(), token="later"))


def test_a_batch_in_which_everything_failed_ends_with_its_lines(bench: Bench) -> None:
    bench.service.arm(job_failed=1)
    requests = bench.drafts(2)
    name = bench.create(*requests)
    assert bench.finish(name) is JobState.SUCCEEDED
    outcomes = bench.results(name, *requests)
    assert {o.key for o in outcomes} == {r.id for r in requests}
    assert {(o.status, o.failure) for o in outcomes} == {(Status.FAILED, FailureClass.TRANSIENT)}


def test_a_cancelled_batch_names_every_request(bench: Bench) -> None:
    requests = bench.drafts(3)
    name = bench.create(*requests)
    bench.lane.cancel(name)
    assert bench.finish(name) is JobState.CANCELLED
    assert {o.reason for o in bench.results(name, *requests)} == {"REQUEST_CANCELED"}


def test_an_input_that_is_not_there_is_prepared_again(bench: Bench) -> None:
    with pytest.raises(Rejected, match="Prepare it again"):
        bench.lane.create("nothing", "claude-haiku-5-5", "token")


class _Api(BaseHTTPRequestHandler):
    """A Claude API of which some machines know nothing yet."""

    known: bool
    listed: bool
    lengths: list[str | None]

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        batch = {
            "id": "msgbatch_1",
            "created_at": "2026-11-20T12:00:00Z",
            "processing_status": "in_progress",
            "request_counts": {"processing": 1},
        }
        if self.path.startswith("/v1/messages/batches?"):
            self._answer(200, {"data": [batch] if self.listed else [], "has_more": False})
        elif self.known:
            self._answer(200, batch)
        else:
            error = {"type": "not_found_error", "message": "not found"}
            self._answer(404, {"type": "error", "error": error})

    def do_POST(self) -> None:
        self.lengths.append(self.headers["Content-Length"])
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self._answer(200, {"id": "msgbatch_1", "type": "message_batch"})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class TestPropagation:
    """anthropic-sdk-python#1432: for minutes, a new batch may be unknown now and then."""

    def lane(self, url: str, folder: Path) -> AnthropicBatchLane:
        lane = AnthropicBatchLane(Store.open(str(folder)), KEY, url)
        handle = lane.prepare([judgement()], a_picture, "input")
        assert lane.create(handle, "claude-haiku-5-5", "token") == "msgbatch_1"
        return lane

    def test_a_batch_that_is_listed_exists(self, tmp_path: Path) -> None:
        with serving(api(known=False, listed=True)) as url:
            assert self.lane(url, tmp_path).poll("msgbatch_1").state is JobState.RUNNING

    def test_a_batch_of_ours_that_is_new_may_be_known_later(self, tmp_path: Path) -> None:
        with serving(api(known=False, listed=False)) as url:
            lane = self.lane(url, tmp_path)
            with pytest.raises(Unavailable, match="does not know msgbatch_1 yet"):
                lane.poll("msgbatch_1")

    def test_one_that_nobody_knows_for_long_is_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(anthropic_batch, "SETTLING", anthropic_batch.SETTLING * 0)
        with serving(api(known=False, listed=False)) as url:
            lane = self.lane(url, tmp_path)
            with pytest.raises(Rejected, match="404 not_found_error"):
                lane.poll("msgbatch_1")


def test_the_body_is_sent_from_disk_with_its_length(tmp_path: Path) -> None:
    handler = api(known=True, listed=False)
    with serving(handler) as url:
        TestPropagation().lane(url, tmp_path)
    assert [length is not None and int(length) > 1000 for length in handler.lengths] == [True]


def test_an_upload_that_takes_too_long_breaks_off_and_is_in_doubt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "UPLOAD_LIMIT_S", -1.0)
    before = bench.service.jobs()
    with pytest.raises(Unsure):
        bench.create(bench.draft(), token="slow")
    assert bench.service.jobs() == before
    assert bench.lane.find("slow") == []


def api(*, known: bool, listed: bool) -> type[_Api]:
    return type("Api", (_Api,), {"known": known, "listed": listed, "lengths": []})


def test_without_the_client_the_way_to_get_it_is_named() -> None:
    code = """
import sys
sys.modules["anthropic"] = None
from imagewave.errors import ImagewaveError
from imagewave.storage.store import Store
from imagewave.providers.registry import open_lane
try:
    open_lane("anthropic-batch", None)
except ImagewaveError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Run pip install 'imagewave[anthropic]'." in said.stdout


def test_the_client_is_imported_by_its_lane_alone() -> None:
    code = """
import sys
import imagewave.flows.wave, imagewave.providers.registry, imagewave.providers.interactive.lane
print("anthropic" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


def judgement(**fields: Any) -> Request:
    given: dict[str, Any] = {"references": ("a" * 64,), "reference_edge": 256, **fields}
    return Request(
        kind=Kind.JUDGE,
        model="claude-haiku-5-5",
        prompt="judge it",
        system="be strict",
        temperature=0.0,
        response_schema=json.dumps(SCHEMA),
        **given,
    )


def line_of(request: Request) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(request_line(request, lambda sha256, edge: a_picture(sha256)))
    return line


class TestRequestLines:
    def test_a_judgement_is_a_picture_the_brief_and_a_schema(self) -> None:
        line = line_of(judgement())
        assert line["custom_id"] == f"{'0' * 24}_{judgement().id}"
        params = line["params"]
        picture, brief = params["messages"][0]["content"]
        assert picture["source"]["media_type"] == "image/jpeg"
        assert brief == {"type": "text", "text": "judge it"}
        assert (params["system"], params["max_tokens"]) == ("be strict", MAX_TOKENS)
        assert params["thinking"] == {"type": "disabled"}
        assert params["output_config"]["format"]["type"] == "json_schema"
        assert "temperature" not in params

    def test_thinking_that_is_asked_for_has_its_effort(self) -> None:
        params = line_of(judgement(thinking="high"))["params"]
        assert params["thinking"] == {"type": "adaptive"}
        assert params["output_config"]["effort"] == "high"

    def test_limits_of_values_become_words_and_names_stay(self) -> None:
        assert plain_schema(SCHEMA)["properties"] == {
            "minimum": {"type": "number", "description": "maximum: 1; minimum: 0"}
        }

    def test_marks_differ_by_token_and_are_as_long_as_their_place(self) -> None:
        assert len(mark_of("a")) == len(mark_of("b")) == 24
        assert mark_of("a") != mark_of("b")


def read(result: dict[str, Any], custom_id: str = f"{'a' * 24}_key") -> Outcome:
    data = json.dumps({"custom_id": custom_id, "result": result}).encode()
    return read_line(Line(bytearray(data), len(data)))


def answered(stop: str, text: str = "", **fields: Any) -> dict[str, Any]:
    content = [{"type": "thinking", "thinking": "…", "signature": "x" * 5000}]
    content += [{"type": "text", "text": text}] if text else []
    return {"type": "succeeded", "message": {"content": content, "stop_reason": stop, **fields}}


class TestResultLines:
    def test_thoughts_are_no_part_of_the_answer_but_of_the_bill(self) -> None:
        usage = {
            "input_tokens": 10,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": None,
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 30},
        }
        outcome = read(answered("end_turn", "{}", usage=usage))
        assert (outcome.key, outcome.text) == ("key", "{}")
        assert outcome.usage is not None
        assert (outcome.usage.prompt_tokens, outcome.usage.text_tokens) == (13, 20)
        assert outcome.usage.thought_tokens == 30

    @pytest.mark.parametrize(
        "reported", [None, {}, {"input_tokens": 10}, {"input_tokens": 10, "output_tokens": 0}]
    )
    def test_usage_that_counts_no_word_is_none(self, reported: object) -> None:
        assert read(answered("end_turn", "{}", usage=reported)).usage is None

    def test_a_message_is_an_answer_however_it_is_wrapped(self) -> None:
        message = {"content": "{}", "stop_reason": "end_turn"}
        assert read({"message": message}).text == "{}"
        assert read({"type": "succeeded", "message": json.dumps(message)}).text == "{}"
        assert read(json.dumps({"type": "succeeded", "message": message})).text == "{}"  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("result", "status", "failure", "reason"),
        [
            (answered("refusal", "I"), Status.REFUSED, FailureClass.REFUSED, "REFUSAL"),
            (answered("max_tokens", "{"), Status.FAILED, FailureClass.INVALID, "MAX_TOKENS"),
            (answered("end_turn"), Status.FAILED, FailureClass.BROKEN, "EMPTY"),
            ({"type": "expired"}, Status.MISSING, FailureClass.TRANSIENT, "REQUEST_EXPIRED"),
            ({"type": "canceled"}, Status.MISSING, FailureClass.TRANSIENT, "REQUEST_CANCELED"),
            ({"type": "Cancelled"}, Status.MISSING, FailureClass.TRANSIENT, "REQUEST_CANCELED"),
            ({"type": "novel"}, Status.FAILED, FailureClass.BROKEN, "NOVEL"),
        ],
    )
    def test_what_was_not_answered_says_why(
        self, result: dict[str, Any], status: Status, failure: FailureClass, reason: str
    ) -> None:
        outcome = read(result)
        assert (outcome.status, outcome.failure, outcome.reason) == (status, failure, reason)

    @pytest.mark.parametrize(
        ("kind", "failure"),
        [
            ("invalid_request_error", FailureClass.INVALID),
            ("not_found_error", FailureClass.INVALID),
            ("overloaded_error", FailureClass.TRANSIENT),
            ("api_error", FailureClass.TRANSIENT),
            ("rate_limit_error", FailureClass.TRANSIENT),
        ],
    )
    def test_errors_are_of_their_class(self, kind: str, failure: FailureClass) -> None:
        error = {"type": "error", "error": {"type": kind, "message": "no"}}
        for result in (
            {"type": "errored", "error": error},
            {"type": "errored", "error": error["error"]},
            {"type": "errored", "error": kind},
            {"error": error},
        ):
            outcome = read(result)
            assert (outcome.failure, outcome.reason) == (failure, kind.upper())
            assert not outcome.billed

    def test_an_id_without_our_mark_is_left_as_it_is(self) -> None:
        assert read({"type": "expired"}, "somebody_else").key == "somebody_else"


def test_what_was_written_down_once_stands(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    ask(store, "token", Asked(requests=1, after=""))
    ask(store, "token", Asked(requests=2, after="later"))
    assert store.read("asked/token.json") == b'{"requests":1,"after":""}'
