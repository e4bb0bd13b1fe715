"""Gemini's wire format: requests out, outcomes in."""

import base64
import io
import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagewave.providers.gemini.wire import read_line, request_line
from imagewave.providers.protocol import Outcome
from imagewave.providers.wire.jsonl import Line
from imagewave.storage.catalog.prices import Usage
from imagewave.storage.requests import FailureClass, Kind, Request, Status

LITE, BIG, TEXT = (
    "gemini-3.1-flash-lite-image",
    "gemini-nano-banana-2.1",
    "gemini-3.5-flash-lite",
)
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
SKETCH = b"\xff\xd8\xff\xe1" + bytes(range(256)) * 40


def picture(data: bytes = JPEG, **fields: Any) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"inlineData": {"mimeType": "image/jpeg", "data": encoded}, **fields}


def response(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], **more}


def line(answer: dict[str, Any], key: str | None = "k1") -> bytes:
    return orjson.dumps({**({"key": key} if key else {}), "response": answer})


def read(data: bytes, *, wants_image: bool = True) -> Outcome:
    # The buffer holds more than the line, as it does after a longer one.
    buffer = bytearray(data + b'{"key":"of another line"}"data":"')
    return read_line(Line(buffer, len(data)), lambda key: wants_image)


def sent(request: Request) -> dict[str, Any]:
    row = json.loads(request_line(request, lambda sha256, edge: JPEG))
    assert row.keys() == {"key", "request"}
    assert row["key"] == request.id
    body: dict[str, Any] = row["request"]
    return body


class TestRequestLine:
    def test_a_draft_asks_for_an_image_of_its_format(self) -> None:
        draft = Request(
            kind=Kind.DRAFT,
            model=BIG,
            prompt="tulips",
            aspect_ratio="16:9",
            size="2K",
            thinking="minimal",
            seed=7,
        )
        assert sent(draft) == {
            "contents": [{"role": "user", "parts": [{"text": "tulips"}]}],
            "generationConfig": {
                "responseModalities": ["IMAGE"],
                "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
                "thinkingConfig": {"thinkingLevel": "minimal"},
                "seed": 7,
            },
        }

    def test_a_model_that_refuses_a_size_is_not_sent_one(self) -> None:
        draft = Request(kind=Kind.DRAFT, model=LITE, prompt="x", aspect_ratio="1:1", size="1K")
        assert sent(draft)["generationConfig"]["imageConfig"] == {"aspectRatio": "1:1"}

    def test_references_follow_the_words_in_their_order(self) -> None:
        asked: list[tuple[str, int | None]] = []

        def reference(sha256: str, edge: int | None) -> bytes:
            asked.append((sha256, edge))
            return JPEG if sha256 == "a" else b"\x89PNG\r\n\x1a\n"

        judge = Request(
            kind=Kind.JUDGE,
            model=TEXT,
            prompt="judge",
            references=("a", "b"),
            reference_edge=512,
        )
        parts = json.loads(request_line(judge, reference))["request"]["contents"][0]["parts"]
        assert asked == [("a", 512), ("b", 512)]
        assert parts[0] == {"text": "judge"}
        assert [part["inlineData"]["mimeType"] for part in parts[1:]] == [
            "image/jpeg",
            "image/png",
        ]
        assert base64.b64decode(parts[1]["inlineData"]["data"]) == JPEG

    def test_a_schema_asks_for_json(self) -> None:
        schema = {"type": "object", "properties": {"score": {"type": "number"}}}
        judge = Request(
            kind=Kind.JUDGE,
            model=TEXT,
            prompt="judge",
            system="be strict",
            response_schema=json.dumps(schema),
            temperature=0.0,
        )
        body = sent(judge)
        assert body["systemInstruction"] == {"parts": [{"text": "be strict"}]}
        assert body["generationConfig"] == {
            "responseMimeType": "application/json",
            "responseJsonSchema": schema,
            "temperature": 0.0,
        }

    def test_it_is_one_line(self) -> None:
        data = request_line(
            Request(kind=Kind.EXPAND, model=TEXT, prompt="two\nlines\r\n"),
            lambda s, e: b"",
        )
        assert data.index(b"\n") == len(data) - 1


class TestPictures:
    def test_an_image_comes_with_its_bytes_and_tokens(self) -> None:
        usage = {
            "promptTokenCount": 20,
            "candidatesTokenCount": 1130,
            "thoughtsTokenCount": 40,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
        }
        assert read(line(response(picture(), usageMetadata=usage))) == Outcome(
            key="k1",
            status=Status.IMAGE,
            image=JPEG,
            mime="image/jpeg",
            usage=Usage(prompt_tokens=20, image_tokens=1120, text_tokens=10, thought_tokens=40),
        )

    def test_the_last_picture_that_is_no_thought_counts(self) -> None:
        parts = (
            picture(SKETCH, thought=True),
            {"text": "here", "thought": True},
            picture(SKETCH),
            {"text": "done"},
            picture(),
            picture(SKETCH, thought=True),
        )
        assert read(line(response(*parts))).image == JPEG

    @pytest.mark.parametrize(
        "reported",
        [
            None,
            {},
            {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0},
            {"promptTokenCount": 5},
            {"totalTokenCount": 1130},
            {"promptTokenCount": 10, "totalTokenCount": 10},
            {"candidatesTokensDetails": [{"modality": "TEXT"}]},
        ],
    )
    def test_usage_that_counts_nothing_for_a_picture_is_none(self, reported: object) -> None:
        outcome = read(line(response(picture(), usageMetadata=reported)))
        assert (outcome.image, outcome.usage) == (JPEG, None)

    def test_a_picture_is_what_the_total_has_beyond_the_prompt(self) -> None:
        reported = {"promptTokenCount": 10, "thoughtsTokenCount": 30, "totalTokenCount": 1160}
        usage = read(line(response(picture(), usageMetadata=reported))).usage
        assert usage == Usage(prompt_tokens=10, image_tokens=1120, text_tokens=0, thought_tokens=30)

    def test_answer_tokens_without_details_are_the_picture_s(self) -> None:
        outcome = read(line(response(picture(), usageMetadata={"candidatesTokenCount": 1120})))
        assert outcome.usage is not None
        assert (outcome.usage.image_tokens, outcome.usage.text_tokens) == (1120, 0)

    @pytest.mark.parametrize(
        ("count", "wanted"),
        [
            ("1120", 1120),
            ("1120.0", 1120),
            (1120.0, 1120),
            (1119.5, 1120),
            (-3, None),
            (0, None),
            ("many", None),
            (None, None),
            ([], None),
            (True, None),
            (10**15, None),
        ],
    )
    def test_a_count_is_read_from_text_and_fractions(
        self, count: object, wanted: int | None
    ) -> None:
        reported = {"promptTokenCount": 5, "candidatesTokenCount": count}
        usage = read(line(response(picture(), usageMetadata=reported))).usage
        assert (usage and usage.image_tokens) == wanted

    @pytest.mark.parametrize(
        "behind",
        [
            {"inlineData": {"mimeType": "image/png", "data": ""}},
            {"inlineData": {"mimeType": "image/png", "data": None}},
            {"inlineData": {"mimeType": "image/png"}},
            {"inlineData": None},
            {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
            {"inlineData": {"mimeType": "image/png", "data": "no base64 at all!"}},
            {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"x").decode()}},
            {"inlineData": {"data": base64.b64encode(b"%PDF-1.7" * 999).decode()}},
            {"inlineData": {"mimeType": "image/png", "data": "*" * 9000}},
        ],
    )
    def test_what_is_no_picture_behind_one_costs_it_not(self, behind: dict[str, Any]) -> None:
        assert read(line(response(picture(), behind))).image == JPEG
        assert read(line(response(behind, picture()))).image == JPEG

    def test_several_pieces_of_data_are_a_finding(self) -> None:
        assert read(line(response(picture()))).odd == ()
        assert "last that is a picture" in read(line(response(picture(SKETCH), picture()))).odd[0]

    @pytest.mark.parametrize("format", ["jpeg", "png", "webp", "gif", "avif"])
    def test_a_whole_picture_wins_over_one_that_is_cut_off(self, format: str) -> None:
        stream = io.BytesIO()
        Image.effect_noise((128, 128), 90).convert("RGB").save(stream, format)
        whole = stream.getvalue()
        cut = whole[: len(whole) * 2 // 3]
        outcome = read(line(response(picture(whole), picture(cut))))
        assert outcome.image == whole
        assert "a picture that is cut off; a whole one is kept" in outcome.odd
        assert read(line(response(picture(cut), picture(cut[:-99])))).image == cut[:-99]
        assert read(line(response(picture(cut)))).image == cut

    def test_unknown_bytes_that_are_called_a_picture_are_kept(self) -> None:
        tiff = {"inlineData": {"mimeType": "image/tiff", "data": "SUkqAA=="}}
        outcome = read(line(response(tiff)))
        assert (outcome.image, outcome.mime) == (b"II*\0", "image/tiff")

    def test_sound_is_no_picture(self) -> None:
        wave = {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}
        outcome = read(line(response(wave)))
        assert (outcome.reason, outcome.failure) == ("EMPTY", FailureClass.BROKEN)
        assert outcome.billed

    @pytest.mark.parametrize("size", [20, 3000])
    @pytest.mark.parametrize(
        ("spell", "odd"),
        [
            (lambda data: base64.urlsafe_b64encode(data).decode(), "URL-safe"),
            (lambda data: base64.b64encode(data).decode().rstrip("="), "padding"),
            (lambda data: base64.b64encode(data).decode() + "==", "padding"),
            (lambda data: base64.encodebytes(data).decode(), "in lines"),
            (lambda data: base64.encodebytes(data).decode().replace("\n", "\r\n"), "in lines"),
            (lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode(), "data URL"),
            (
                lambda data: (
                    "data:image/jpeg;x=1;base64,"
                    + base64.urlsafe_b64encode(data).decode().rstrip("=")
                ),
                "data URL, in the URL-safe alphabet, with other padding",
            ),
        ],
    )
    def test_dialects_of_base64_are_read_and_named(self, size: int, spell: Any, odd: str) -> None:
        data = b"\xff\xd8\xff\xfb\xef\xbe" * size + b"\xff"
        part = {"inlineData": {"mimeType": "image/jpeg", "data": spell(data)}}
        outcome = read(line(response(part)))
        assert outcome.image == data
        assert any(odd in said for said in outcome.odd)

    def test_a_line_in_snake_case_is_read(self) -> None:
        row = {
            "key": "k1",
            "response": {
                "candidates": [
                    {
                        "content": {
                            "parts": [
                                {
                                    "inline_data": {
                                        "mime_type": "image/jpeg",
                                        "data": base64.b64encode(JPEG).decode(),
                                    }
                                }
                            ]
                        },
                        "finish_reason": "STOP",
                    }
                ],
                "usage_metadata": {
                    "prompt_token_count": 10,
                    "candidates_token_count": 1130,
                    "candidates_tokens_details": [
                        {"modality": "MediaModality.IMAGE", "token_count": 1120}
                    ],
                },
            },
        }
        assert read(orjson.dumps(row)) == Outcome(
            key="k1",
            status=Status.IMAGE,
            image=JPEG,
            mime="image/jpeg",
            usage=Usage(prompt_tokens=10, image_tokens=1120, text_tokens=10, thought_tokens=0),
            odd=("fields in snake_case",),
        )

    def test_a_response_as_text_or_without_its_wrapping_is_read(self) -> None:
        answer = response(picture())
        assert read(orjson.dumps({"key": "k1", "response": json.dumps(answer)})).image == JPEG
        assert read(orjson.dumps({"key": "k1", **answer})).image == JPEG

    def test_a_key_in_the_metadata_is_the_line_s(self) -> None:
        row = {"metadata": {"key": "k1"}, "response": response(picture())}
        assert read(orjson.dumps(row)).key == "k1"

    @pytest.mark.parametrize(
        "text", [b'"avgLogprobs":NaN', b'"t":"\\ud83d"', b'"t":"a\tb"', b'"n":Infinity']
    )
    def test_what_is_no_proper_json_costs_no_picture(self, text: bytes) -> None:
        data = line(response(picture())).replace(b'"response":{', b'"response":{' + text + b",")
        outcome = read(data)
        assert (outcome.key, outcome.image) == ("k1", JPEG)

    def test_spacing_and_order_make_no_difference(self) -> None:
        row = {
            "response": response(picture(SKETCH, thought=True), picture()),
            "key": "k1",
        }
        pretty = json.dumps(row, indent=1).replace("\n", " \t")
        assert read(pretty.encode()) == read(line(row["response"]))  # type: ignore[arg-type]

    def test_escaped_base64_is_read(self) -> None:
        data = b"\xff\xd8\xff" * 4000  # its base64 is full of slashes
        escaped = line(response(picture(data))).replace(b"////", b"\\/\\/\\/\\/")
        assert read(escaped).image == data

    def test_words_that_look_like_a_picture_are_words(self) -> None:
        decoy = '"data":"' + "A" * 5000 + '"'
        outcome = read(line(response({"text": decoy, 'x"data': "B" * 5000}, picture())))
        assert outcome.image == JPEG

    def test_text_that_is_no_utf8_costs_no_picture(self) -> None:
        broken = line(response({"text": "caf?"}, picture())).replace(b"caf?", b"caf\xe9")
        outcome = read(broken)
        assert (outcome.key, outcome.status, outcome.image) == (
            "k1",
            Status.IMAGE,
            JPEG,
        )

    @pytest.mark.parametrize("size", [30, 10_000])
    @pytest.mark.parametrize("junk", [b"*?", b"\xff\xfe", b"\\u003f", b"=="])
    def test_broken_base64_is_broken(self, size: int, junk: bytes) -> None:
        data = line(response(picture(b"\xff" * size))).replace(b"////", b"//" + junk, 1)
        outcome = read(data)
        assert (outcome.key, outcome.status) == ("k1", Status.FAILED)
        assert outcome.failure is FailureClass.BROKEN

    def test_an_empty_picture_is_broken(self) -> None:
        assert read(line(response(picture(b"")))).failure is FailureClass.BROKEN


class TestNoPicture:
    @pytest.mark.parametrize(
        "reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY"]
    )
    def test_a_blocked_prompt_is_refused(self, reason: str) -> None:
        answer = {
            "promptFeedback": {"blockReason": reason, "blockReasonMessage": "no"},
            "usageMetadata": {"promptTokenCount": 9},
        }
        assert read(line(answer)) == Outcome(
            key="k1",
            status=Status.REFUSED,
            failure=FailureClass.REFUSED,
            reason=f"PROMPT_{reason}",
            message="no",
            usage=Usage(prompt_tokens=9, image_tokens=0, text_tokens=0, thought_tokens=0),
        )

    @pytest.mark.parametrize(
        ("finish", "status", "failure"),
        [
            ("IMAGE_SAFETY", Status.REFUSED, FailureClass.REFUSED),
            ("IMAGE_PROHIBITED_CONTENT", Status.REFUSED, FailureClass.REFUSED),
            ("PROHIBITED_CONTENT", Status.REFUSED, FailureClass.REFUSED),
            ("SAFETY", Status.REFUSED, FailureClass.REFUSED),
            ("SPII", Status.REFUSED, FailureClass.REFUSED),
            ("BLOCKLIST", Status.REFUSED, FailureClass.REFUSED),
            ("NO_IMAGE", Status.FAILED, FailureClass.BROKEN),
            ("IMAGE_RECITATION", Status.FAILED, FailureClass.BROKEN),
            ("RECITATION", Status.FAILED, FailureClass.BROKEN),
            ("IMAGE_OTHER", Status.FAILED, FailureClass.BROKEN),
            ("OTHER", Status.FAILED, FailureClass.BROKEN),
            ("MAX_TOKENS", Status.FAILED, FailureClass.INVALID),
            ("A_REASON_OF_TOMORROW", Status.FAILED, FailureClass.BROKEN),
        ],
    )
    def test_a_finish_reason_tells_why(
        self, finish: str, status: Status, failure: FailureClass
    ) -> None:
        answer = {"candidates": [{"content": {}, "finishReason": finish, "finishMessage": "why"}]}
        outcome = read(line(answer))
        assert (outcome.status, outcome.failure) == (status, failure)
        assert (outcome.reason, outcome.message) == (finish, "why")
        answer["candidates"][0]["finishReason"] = f"FINISH_REASON_{finish}"
        assert read(line(answer)) == outcome

    def test_words_instead_of_a_picture_are_broken_and_quoted(self) -> None:
        outcome = read(line(response({"text": "I can only describe it"})))
        assert (outcome.status, outcome.failure) == (Status.FAILED, FailureClass.BROKEN)
        assert (outcome.reason, outcome.message) == (
            "TEXT_ONLY",
            "I can only describe it",
        )

    def test_thoughts_alone_are_nothing(self) -> None:
        outcome = read(line(response(picture(thought=True), {"text": "hm", "thought": True})))
        assert (outcome.failure, outcome.reason) == (FailureClass.BROKEN, "EMPTY")

    @pytest.mark.parametrize(
        ("code", "failure", "reason"),
        [
            (3, FailureClass.INVALID, "INVALID_ARGUMENT"),
            (8, FailureClass.TRANSIENT, "RESOURCE_EXHAUSTED"),
            (13, FailureClass.TRANSIENT, "INTERNAL"),
            (14, FailureClass.TRANSIENT, "UNAVAILABLE"),
            (503, FailureClass.TRANSIENT, "HTTP_503"),
            (77, FailureClass.BROKEN, "NO_RESPONSE"),
        ],
    )
    def test_an_error_line_is_classed_by_its_code(
        self, code: int, failure: FailureClass, reason: str
    ) -> None:
        data = orjson.dumps({"key": "k1", "error": {"code": code, "message": "so"}})
        assert read(data) == Outcome(
            key="k1", status=Status.FAILED, failure=failure, reason=reason, message="so"
        )

    @pytest.mark.parametrize(
        ("error", "failure", "reason"),
        [
            ({"status": "UNAVAILABLE"}, FailureClass.TRANSIENT, "UNAVAILABLE"),
            ({"status": "RESOURCE_EXHAUSTED"}, FailureClass.TRANSIENT, "RESOURCE_EXHAUSTED"),
            ({"status": "invalid_argument"}, FailureClass.INVALID, "INVALID_ARGUMENT"),
            ({"code": "503"}, FailureClass.TRANSIENT, "HTTP_503"),
            ({"code": 503.0}, FailureClass.TRANSIENT, "HTTP_503"),
            ({"code": "14"}, FailureClass.TRANSIENT, "UNAVAILABLE"),
            ({"code": "UNAVAILABLE"}, FailureClass.TRANSIENT, "UNAVAILABLE"),
            ({"code": "StatusCode.INTERNAL"}, FailureClass.TRANSIENT, "INTERNAL"),
            ({"error": {"code": 429}}, FailureClass.TRANSIENT, "HTTP_429"),
            ("CANCELED", FailureClass.TRANSIENT, "CANCELED"),
            ("503 UNAVAILABLE. {'error': 1}", FailureClass.TRANSIENT, "UNAVAILABLE"),
            ({"status": "A_WORD_OF_TOMORROW"}, FailureClass.BROKEN, "NO_RESPONSE"),
            ({"message": "hm"}, FailureClass.BROKEN, "NO_RESPONSE"),
        ],
    )
    def test_an_error_is_known_by_its_name_wherever_that_stands(
        self, error: object, failure: FailureClass, reason: str
    ) -> None:
        for row in ({"error": error}, {"response": {"error": error}}, {"status": error}):
            outcome = read(orjson.dumps({"key": "k1", **row}))
            assert (outcome.failure, outcome.reason) == (failure, reason)
            assert not outcome.billed


class TestText:
    def test_text_is_the_answer_of_a_request_for_text(self) -> None:
        answer = response({"text": "hm", "thought": True}, {"text": '{"a"'}, {"text": ":1}"})
        outcome = read(line(answer), wants_image=False)
        assert (outcome.status, outcome.text) == (Status.TEXT, '{"a":1}')

    @pytest.mark.parametrize("finish", ["stop", "FINISH_REASON_STOP", "FINISH_REASON_UNSPECIFIED"])
    def test_text_whose_end_is_spelled_otherwise_is_an_answer(self, finish: str) -> None:
        outcome = read(line(response({"text": "yes"}, finish=finish)), wants_image=False)
        assert (outcome.status, outcome.text) == (Status.TEXT, "yes")

    def test_text_that_was_cut_off_is_no_answer(self) -> None:
        outcome = read(line(response({"text": '{"a"'}, finish="MAX_TOKENS")), wants_image=False)
        assert (outcome.status, outcome.failure) == (
            Status.FAILED,
            FailureClass.INVALID,
        )

    def test_words_without_tokens_are_no_usage(self) -> None:
        answer = response({"text": "yes"}, usageMetadata={"promptTokenCount": 9})
        assert read(line(answer), wants_image=False).usage is None

    def test_a_refusal_is_one_here_too(self) -> None:
        outcome = read(line(response(finish="SAFETY")), wants_image=False)
        assert outcome.status is Status.REFUSED


class TestIllegible:
    def test_a_line_cut_short_still_says_whose_it_is(self) -> None:
        whole = line(response(picture()))
        outcome = read(whole[: len(whole) // 2])
        assert (outcome.key, outcome.failure) == ("k1", FailureClass.BROKEN)
        assert outcome.reason == "INVALID_JSON"

    def test_a_line_that_is_too_long_still_says_whose_it_is(self) -> None:
        beginning = bytearray(line(response(picture()))[:100])
        outcome = read_line(Line(beginning, 100, cut=True), lambda key: True)
        assert (outcome.key, outcome.reason) == ("k1", "LINE_TOO_LONG")

    def test_a_key_behind_the_damage_is_found(self) -> None:
        row = orjson.dumps({"response": response(picture()), "key": "k9"})
        assert read(row.replace(b"{", b"[", 1)).key == "k9"

    def test_no_key_is_none(self) -> None:
        assert read(line(response(picture()), key=None)).key is None
        assert read(line(response(picture()), key=None)).image == JPEG

    @pytest.mark.parametrize("key", [7, "", None, ["a"], {"a": 1}])
    def test_a_key_that_is_no_string_is_none(self, key: object) -> None:
        assert read(orjson.dumps({"key": key, "response": response(picture())})).key is None

    @pytest.mark.parametrize("data", [b"[]", b"3", b"null", b'"x"', b"{}", b'{"key":"k1"}'])
    def test_json_that_is_no_result_is_broken(self, data: bytes) -> None:
        assert read(data).failure is FailureClass.BROKEN


# Documents that are shaped like results, with anything where something is expected.
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8) | st.just("A" * 5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
BYTES = st.binary(max_size=20) | st.binary(max_size=20).map(lambda b: b * 500)
PART = st.one_of(
    st.builds(picture, BYTES),
    st.builds(picture, BYTES, thought=st.booleans()),
    st.fixed_dictionaries({"text": st.text(max_size=20)}),
    st.fixed_dictionaries({"inlineData": JUNK}),
    st.fixed_dictionaries({"inlineData": st.fixed_dictionaries({"data": JUNK})}),
    JUNK,
)
ANSWER = st.one_of(
    JUNK,
    st.builds(lambda parts, finish: response(*parts, finish=finish), st.lists(PART), st.text()),
)
ROW = st.fixed_dictionaries(
    {"key": st.text(max_size=8)}, optional={"response": ANSWER, "error": JUNK}
)


@settings(deadline=None)
@given(ROW, st.booleans(), st.booleans())
def test_the_shortcut_and_the_whole_line_say_the_same(
    row: dict[str, Any], pretty: bool, wants_image: bool
) -> None:
    data = json.dumps(row, indent=2).encode() if pretty else orjson.dumps(row)
    # A value with an escape cannot be set aside.
    escaped = re.sub(
        rb'("data"\s*:\s*")([A-Za-z0-9])', lambda m: m[1] + b"\\u%04x" % ord(m[2]), data
    )
    assert read(data, wants_image=wants_image) == read(escaped, wants_image=wants_image)


@settings(deadline=None)
@given(st.lists(PART, min_size=1), st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_no_damage_raises(parts: list[Any], damage: list[tuple[int, int]]) -> None:
    data = bytearray(line(response(*parts)))
    for position, value in damage:
        data[position % len(data)] = value
    assert read(bytes(data)).status in Status
