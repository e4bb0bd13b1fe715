"""What every provider's reader promises: any line is an outcome, and none is an exception."""

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagewave.providers.anthropic import wire as anthropic_wire
from imagewave.providers.gemini import wire as gemini_wire
from imagewave.providers.openai import wire as openai_wire
from imagewave.providers.protocol import Outcome
from imagewave.providers.wire.jsonl import Line, split_lines
from imagewave.storage.requests import Status

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
DATA = base64.b64encode(JPEG).decode()

GEMINI = {
    "key": "k",
    "response": {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "here", "thought": True},
                        {"inlineData": {"mimeType": "image/jpeg", "data": DATA}},
                    ]
                },
                "finishReason": "STOP",
            }
        ],
        "promptFeedback": {"blockReason": "", "blockReasonMessage": ""},
        "usageMetadata": {
            "promptTokenCount": 9,
            "candidatesTokenCount": 1120,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
        },
    },
    "error": {"code": 14, "status": "UNAVAILABLE", "message": "so"},
}
OPENAI = {
    "custom_id": "k",
    "response": {
        "status_code": 200,
        "body": {
            "data": [{"b64_json": DATA, "url": ""}],
            "output_format": "jpeg",
            "choices": [{"message": {"content": "yes", "refusal": None}, "finish_reason": "stop"}],
            "usage": {
                "input_tokens": 9,
                "output_tokens": 272,
                "output_tokens_details": {"image_tokens": 272},
            },
            "error": None,
        },
    },
    "error": {"code": "x", "type": "server_error", "message": "so"},
}
CLAUDE = {
    "custom_id": "0" * 24 + "_k",
    "result": {
        "type": "succeeded",
        "message": {
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "S" * 9000},
                {"type": "text", "text": "yes"},
            ],
            "stop_reason": "end_turn",
            "stop_details": {"category": "", "explanation": ""},
            "usage": {"input_tokens": 9, "output_tokens": 20},
        },
        "error": {"type": "error", "error": {"type": "overloaded_error", "message": "so"}},
    },
}

Reader = Callable[[Line, bool], Outcome]
READERS: dict[str, tuple[dict[str, Any], Reader]] = {
    "gemini": (GEMINI, lambda line, image: gemini_wire.read_line(line, lambda key: image)),
    "openai": (OPENAI, lambda line, image: openai_wire.read_line(line, lambda key: image)),
    "claude": (CLAUDE, lambda line, image: anthropic_wire.read_line(line)),
}
EVERY = pytest.mark.parametrize("provider", READERS)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["", "200", "503", "UNAVAILABLE", "{", '{"a":1}', "data:", "A" * 5000, "\ud800"]
    ),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every value inside."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        inside = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [path, *(place for name, item in inside for place in places(item, (*path, name)))]


def changed(document: Any, path: tuple[Any, ...], value: object, *, drop: bool) -> Any:
    if not path:
        return value
    whole = copy.deepcopy(document)
    inner = whole
    for name in path[:-1]:
        inner = inner[name]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return whole


def read(provider: str, data: bytes, *, wants_image: bool) -> Outcome:
    return READERS[provider][1](Line(bytearray(data), len(data)), wants_image)


def assert_whole(outcome: Outcome) -> None:
    assert outcome.status in Status
    assert (outcome.failure is None) == (outcome.status in (Status.IMAGE, Status.TEXT))
    assert (outcome.image is not None) == (outcome.status is Status.IMAGE)
    assert (outcome.text is not None) == (outcome.status is Status.TEXT)
    assert outcome.image or outcome.text or outcome.reason
    # All of it can be written down.
    for text in (outcome.key, outcome.reason, outcome.message, outcome.text, *outcome.odd):
        (text or "").encode()
    assert len(outcome.message) <= 500


@EVERY
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_anything_anywhere_in_a_line_is_an_outcome(provider: str, data: st.DataObject) -> None:
    document = READERS[provider][0]
    path = data.draw(st.sampled_from(places(document)))
    line = changed(document, path, data.draw(JSON), drop=data.draw(st.booleans()))
    # As Python writes it: NaN, infinities and half surrogates included.
    text = json.dumps(line).encode()
    assert_whole(read(provider, text, wants_image=data.draw(st.booleans())))


@EVERY
@settings(deadline=None, max_examples=100)
@given(data=JSON, wants_image=st.booleans())
def test_any_json_is_an_outcome(provider: str, data: object, wants_image: bool) -> None:
    assert_whole(read(provider, json.dumps(data).encode(), wants_image=wants_image))


@EVERY
@settings(deadline=None, max_examples=100)
@given(damage=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
def test_any_damage_is_an_outcome(provider: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(orjson.dumps(READERS[provider][0]))
    for position, value in damage:
        data[position % len(data)] = value
    assert_whole(read(provider, bytes(data), wants_image=True))


@EVERY
@pytest.mark.parametrize("deep", [b"[", b'{"a":', b'{"key":9', b'{"key":"k","response":['])
def test_what_no_parser_takes_is_illegible_or_broken(provider: str, deep: bytes) -> None:
    assert_whole(read(provider, deep * 100_000, wants_image=True))


@EVERY
def test_a_byte_order_mark_costs_no_line(provider: str) -> None:
    line = orjson.dumps(READERS[provider][0])
    data = b"\xef\xbb\xbf" + line + b"\n\xef\xbb\xbf\r\n" + line
    for size in (1, 2, 3, 5, len(data)):
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        assert [found.copy() for found in split_lines(chunks)] == [line, line]


@EVERY
def test_what_is_illegible_is_billed(provider: str) -> None:
    line = orjson.dumps(READERS[provider][0])
    outcome = read(provider, line[:-9], wants_image=True)
    assert (outcome.reason, outcome.billed) == ("INVALID_JSON", True)


@EVERY
@pytest.mark.parametrize("line", [[], None, "x", 7, {}, {"key": "k"}, {"custom_id": "k"}])
def test_a_line_that_says_neither_an_answer_nor_an_error_is_billed(
    provider: str, line: object
) -> None:
    assert read(provider, orjson.dumps(line), wants_image=True).billed


EMPTY_HANDED: list[tuple[str, dict[str, Any]]] = [
    ("gemini", {"response": {}}),
    ("gemini", {"response": {"candidates": []}}),
    ("gemini", {"response": {"what": "of tomorrow"}}),
    ("gemini", {"response": {}, "error": None}),
    ("openai", {"response": {}}),
    ("openai", {"response": {"status_code": 200, "body": {}}}),
    ("openai", {"response": {"status_code": None, "body": {"what": "of tomorrow"}}}),
    ("claude", {"result": {}}),
    ("claude", {"result": {"type": "succeeded"}}),
    ("claude", {"result": {"type": "of_tomorrow"}}),
]


@pytest.mark.parametrize(("provider", "line"), EMPTY_HANDED)
def test_an_answer_that_nobody_understands_is_billed(provider: str, line: dict[str, Any]) -> None:
    named = {"key": "k", "custom_id": "k", **line}
    outcome = read(provider, orjson.dumps(named), wants_image=True)
    assert (outcome.key, outcome.status, outcome.billed) == ("k", Status.FAILED, True)


ERRORS: list[tuple[str, dict[str, Any]]] = [
    ("gemini", {"error": {"code": 77}}),
    ("gemini", {"response": {"promptFeedback": {"blockReason": "SAFETY"}}}),
    ("openai", {"error": {"code": "of_tomorrow"}}),
    ("openai", {"response": {"status_code": 200, "body": {"error": {"code": "of_tomorrow"}}}}),
    ("openai", {"response": {"status_code": 500, "body": {}}}),
    ("claude", {"result": {"type": "errored"}}),
    ("claude", {"result": {"type": "expired"}}),
]


@pytest.mark.parametrize(("provider", "line"), ERRORS)
def test_an_error_without_usage_is_not_billed(provider: str, line: dict[str, Any]) -> None:
    named = {"key": "k", "custom_id": "k", **line}
    assert not read(provider, orjson.dumps(named), wants_image=True).billed
