"""OpenAI's lines: what is sent, and what the lines that come back mean."""

import base64
import json
from typing import Any

import orjson
import pytest

from imagewave.providers.openai.wire import endpoint_of, read_line, request_line
from imagewave.providers.protocol import Outcome
from imagewave.providers.wire.jsonl import Line
from imagewave.storage.catalog import models
from imagewave.storage.catalog.prices import Usage
from imagewave.storage.requests import FailureClass, Kind, Request, Status

IMAGE, TEXT = "gpt-image-2", "gpt-5.6-luna"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
DATA = base64.b64encode(JPEG).decode()


def sent(**fields: Any) -> dict[str, Any]:
    request = Request(**{"kind": Kind.DRAFT, "model": IMAGE, "prompt": "tulips", **fields})
    line = request_line(request, lambda sha256, edge: JPEG)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found: dict[str, Any] = json.loads(line)
    assert (found["custom_id"], found["method"]) == (request.id, "POST")
    assert found["url"] == endpoint_of(request)
    return found


def read(row: dict[str, Any], *, wants_image: bool = True) -> Outcome:
    data = orjson.dumps(row)
    return read_line(Line(bytearray(data), len(data)), lambda key: wants_image)


def answer(body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    return {"custom_id": "k", "response": {"status_code": status, "body": body}, "error": None}


def picture(**more: Any) -> dict[str, Any]:
    data = base64.b64encode(JPEG).decode()
    return answer({"data": [{"b64_json": data}], "output_format": "jpeg", **more})


def chat(message: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    return answer({"choices": [{"message": message, "finish_reason": finish}], **more})


class TestRequests:
    def test_a_draft_is_a_generation_in_pixels(self) -> None:
        line = sent(aspect_ratio="16:9", size="1K", seed=7)
        assert line["url"] == "/v1/images/generations"
        assert line["body"] == {
            "model": IMAGE,
            "prompt": "tulips",
            "size": "1536x864",
            "quality": "low",
            "output_format": "jpeg",
        }

    def test_a_reference_makes_it_an_edit(self) -> None:
        line = sent(references=("a" * 64,), quality="medium")
        assert line["url"] == "/v1/images/edits"
        [image] = line["body"]["images"]
        assert image["image_url"].startswith("data:image/jpeg;base64,")
        assert line["body"]["quality"] == "medium"

    @pytest.mark.parametrize(
        "model", [m.id for m in models() if m.provider == "openai" and m.lanes and m.pixels]
    )
    def test_no_size_and_no_quality_is_left_to_the_model(self, model: str) -> None:
        body = sent(model=model)["body"]
        assert body["quality"] not in ("", "auto")
        assert "x" in body["size"]

    @pytest.mark.parametrize(("thinking", "kept"), [(None, True), ("none", True), ("low", False)])
    def test_only_who_does_not_think_takes_a_temperature(
        self, thinking: str | None, kept: bool
    ) -> None:
        body = sent(kind=Kind.JUDGE, model=TEXT, temperature=0.0, thinking=thinking)["body"]
        assert ("temperature" in body) is kept
        assert body["reasoning_effort"] == (thinking or "none")

    @pytest.mark.parametrize(("closed", "strict"), [(True, True), (False, False)])
    def test_a_schema_is_strict_where_it_can_be(self, closed: bool, strict: bool) -> None:
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {"score": {"type": "number"}},
            "required": ["score"],
        }
        if closed:
            schema["additionalProperties"] = False
        body = sent(kind=Kind.JUDGE, model=TEXT, response_schema=json.dumps(schema))["body"]
        assert body["response_format"]["json_schema"]["strict"] is strict


class TestPictures:
    def test_a_picture_with_its_usage(self) -> None:
        usage = {
            "input_tokens": 570,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 560},
            "output_tokens": 200,
            "output_tokens_details": {"image_tokens": 196, "text_tokens": 4},
        }
        outcome = read(picture(usage=usage))
        assert (outcome.status, outcome.mime) == (Status.IMAGE, "image/jpeg")
        assert bytes(outcome.image or b"") == JPEG
        assert outcome.usage == Usage(570, 196, 4, 0, reference_tokens=560)

    def test_what_is_not_told_apart_counts_as_the_dearer(self) -> None:
        outcome = read(picture(usage={"input_tokens": 10, "output_tokens": 196}))
        assert outcome.usage == Usage(10, 196, 0, 0, reference_tokens=10)

    def test_an_escape_in_the_picture_goes_the_slow_way(self) -> None:
        data = orjson.dumps(picture()).replace(b"/", b"\\/")
        line = Line(bytearray(data), len(data))
        assert bytes(read_line(line, lambda key: True).image or b"") == JPEG

    def test_a_line_that_breaks_off_still_says_whose_it_was(self) -> None:
        data = orjson.dumps(picture())[:900]
        outcome = read_line(Line(bytearray(data), len(data)), lambda key: True)
        assert (outcome.key, outcome.reason) == ("k", "INVALID_JSON")
        assert outcome.failure is FailureClass.BROKEN

    @pytest.mark.parametrize("data", [[], [{}], [{"b64_json": ""}], None, "x"])
    def test_no_picture_is_broken(self, data: object) -> None:
        outcome = read(answer({"data": data}))
        assert (outcome.status, outcome.reason) == (Status.FAILED, "NO_IMAGE")

    @pytest.mark.parametrize("status", [200, 201, "200", 200.0, None])
    def test_any_status_of_success_brings_its_picture(self, status: Any) -> None:
        outcome = read(answer(picture()["response"]["body"], status))
        assert (outcome.image, outcome.failure) == (JPEG, None)

    @pytest.mark.parametrize(
        "data",
        [
            [{"b64_json": None}, {"b64_json": DATA}],
            [{"b64_json": ""}, {}, {"b64_json": DATA}],
            [{"b64_json": "bm8="}, {"b64_json": DATA}],
            [{"b64_json": "no base64!"}, {"b64_json": DATA}],
            [{"b64_json": DATA}, {"b64_json": "bm8="}],
            [{"url": f"data:image/jpeg;base64,{DATA}"}],
            [{"b64_json": f"data:image/jpeg;base64,{DATA}", "url": None}],
            [{"b64Json": DATA}],
            {"b64_json": DATA},
        ],
    )
    def test_the_first_datum_that_is_a_picture_counts(self, data: Any) -> None:
        assert read(answer({"data": data})).image == JPEG

    def test_a_body_as_text_and_a_bare_body_are_read(self) -> None:
        body = picture()["response"]["body"]
        assert read(answer(json.dumps(body))).image == JPEG  # type: ignore[arg-type]
        assert read({"custom_id": "k", "response": body}).image == JPEG
        camel = {"customId": "k", "response": {"statusCode": 200, "body": body}}
        assert (read(camel).key, read(camel).image) == ("k", JPEG)

    def test_a_picture_that_is_elsewhere_is_paid_and_its_address_told(self) -> None:
        outcome = read(answer({"data": [{"url": "https://pictures.test/1.png"}]}))
        assert (outcome.reason, outcome.billed) == ("NO_IMAGE", True)
        assert "https://pictures.test/1.png" in outcome.message

    @pytest.mark.parametrize(
        "reported",
        [
            None,
            {},
            {"input_tokens": 0, "output_tokens": 0},
            {"input_tokens": 9},
            {"total_tokens": 9},
        ],
    )
    def test_usage_that_counts_nothing_for_a_picture_is_none(self, reported: object) -> None:
        assert read(picture(usage=reported)).usage is None

    def test_usage_in_a_gateway_s_words_is_read(self) -> None:
        outcome = read(picture(usage={"prompt_tokens": 10, "completion_tokens": 272}))
        assert outcome.usage == Usage(10, 272, 0, 0, reference_tokens=10)


@pytest.mark.parametrize(
    ("error", "failure", "reason"),
    [
        ({"code": "rate_limit_exceeded"}, FailureClass.TRANSIENT, "RATE_LIMIT_EXCEEDED"),
        ({"type": "server_error"}, FailureClass.TRANSIENT, "SERVER_ERROR"),
        ({"type": "invalid_request_error"}, FailureClass.INVALID, "INVALID_REQUEST_ERROR"),
        ({"code": "503", "message": "full"}, FailureClass.TRANSIENT, "HTTP_503"),
        ({"code": 429}, FailureClass.TRANSIENT, "HTTP_429"),
        ({"error": {"type": "server_error"}}, FailureClass.TRANSIENT, "SERVER_ERROR"),
        ({"type": "moderation_blocked"}, FailureClass.REFUSED, "MODERATION_BLOCKED"),
        ({"code": "Content_Policy_Violation"}, FailureClass.REFUSED, "CONTENT_POLICY_VIOLATION"),
        ("server_error", FailureClass.TRANSIENT, "SERVER_ERROR"),
        ({"code": "a_word_of_tomorrow"}, FailureClass.BROKEN, "A_WORD_OF_TOMORROW"),
        (None, FailureClass.BROKEN, "NO_RESPONSE"),
    ],
)
def test_an_error_without_a_status_is_known_by_its_name(
    error: object, failure: FailureClass, reason: str
) -> None:
    for row in ({"response": None, "error": error}, answer({"error": error}, 0)):
        outcome = read({"custom_id": "k", **row})
        assert (outcome.failure, outcome.reason) == (failure, reason)


def test_an_error_in_an_answer_whose_status_is_fine_is_an_error() -> None:
    """Gateways do so; a refusal that is not seen would be asked again in the same words."""
    outcome = read({"custom_id": "k", **answer({"error": {"code": "moderation_blocked"}}, 200)})
    assert (outcome.status, outcome.reason) == (Status.REFUSED, "MODERATION_BLOCKED")
    beside = {"data": [{"b64_json": DATA}], "error": {"code": "warning"}}
    assert read({"custom_id": "k", **answer(beside, 200)}).status is Status.IMAGE


@pytest.mark.parametrize(
    ("status", "error", "wanted"),
    [
        (400, {"code": "moderation_blocked"}, (Status.REFUSED, FailureClass.REFUSED)),
        (400, {"code": None, "type": "invalid_request_error"}, (Status.FAILED, "invalid")),
        (429, {"code": "rate_limit_exceeded"}, (Status.FAILED, "transient")),
        (500, {}, (Status.FAILED, "transient")),
    ],
)
def test_errors_have_their_class(status: int, error: dict[str, Any], wanted: object) -> None:
    outcome = read(answer({"error": error}, status))
    assert (outcome.status, outcome.failure) == wanted
    assert outcome.reason == (str(error.get("code") or "").upper() or f"HTTP_{status}")


@pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled", "request_timeout"])
def test_what_the_batch_did_not_get_to_is_missing_and_may_be_asked_again(code: str) -> None:
    outcome = read({"custom_id": "k", "response": None, "error": {"code": code}})
    assert (outcome.status, outcome.failure) == (Status.MISSING, FailureClass.TRANSIENT)


class TestText:
    def test_thoughts_are_told_apart(self) -> None:
        usage = {
            "prompt_tokens": 9,
            "completion_tokens": 30,
            "completion_tokens_details": {"reasoning_tokens": 20},
        }
        outcome = read(chat({"content": "{}"}, usage=usage), wants_image=False)
        assert (outcome.status, outcome.text) == (Status.TEXT, "{}")
        assert outcome.usage == Usage(9, 0, 10, 20)

    def test_words_in_several_pieces_are_one_answer(self) -> None:
        pieces = [{"type": "text", "text": "{"}, {"type": "text", "text": "}"}]
        assert read(chat({"content": pieces}), wants_image=False).text == "{}"

    def test_words_without_tokens_are_no_usage(self) -> None:
        usage = {"prompt_tokens": 9, "completion_tokens": 0}
        assert read(chat({"content": "{}"}, usage=usage), wants_image=False).usage is None

    @pytest.mark.parametrize(
        ("message", "finish", "wanted"),
        [
            ({"refusal": "I can't"}, "stop", (Status.REFUSED, "REFUSAL")),
            ({"content": ""}, "content_filter", (Status.REFUSED, "CONTENT_FILTER")),
            ({"content": "{"}, "length", (Status.FAILED, "MAX_TOKENS")),
            ({"content": None}, "stop", (Status.FAILED, "EMPTY")),
        ],
    )
    def test_what_is_no_answer_says_why(
        self, message: dict[str, Any], finish: str, wanted: object
    ) -> None:
        outcome = read(chat(message, finish), wants_image=False)
        assert (outcome.status, outcome.reason) == wanted
        assert outcome.billed


@pytest.mark.parametrize("row", [[], 3, {"response": []}, {"custom_id": 4, "response": {}}])
def test_nonsense_is_broken_and_raises_nothing(row: Any) -> None:
    outcome = read(row)
    assert outcome.key is None
    assert outcome.failure in (FailureClass.BROKEN, FailureClass.TRANSIENT)
