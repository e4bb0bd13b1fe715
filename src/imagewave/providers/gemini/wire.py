"""Gemini's wire format: a request as a line of a batch's input, a result line as an outcome."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson
import pybase64

from imagewave.providers.failures import GRPC, GRPC_NAMES, of_http
from imagewave.providers.protocol import Outcome
from imagewave.providers.wire.fields import (
    count_of,
    dict_of,
    dicts_of,
    field,
    name_of,
    object_of,
    text_of,
)
from imagewave.providers.wire.jsonl import Line
from imagewave.providers.wire.long_values import MESSAGE_LIMIT, Format, LongValues, broken, read
from imagewave.providers.wire.references import accepted
from imagewave.providers.wire.usage import read_usage
from imagewave.storage.catalog import find_model
from imagewave.storage.requests import FailureClass, Request, Status

REFUSED = (Status.REFUSED, FailureClass.REFUSED)
BROKEN = (Status.FAILED, FailureClass.BROKEN)
INVALID = (Status.FAILED, FailureClass.INVALID)

WITHOUT_ANSWER: Mapping[str, tuple[Status, FailureClass]] = MappingProxyType(
    {
        "IMAGE_SAFETY": REFUSED,
        "IMAGE_PROHIBITED_CONTENT": REFUSED,
        "PROHIBITED_CONTENT": REFUSED,
        "SAFETY": REFUSED,
        "SPII": REFUSED,
        "BLOCKLIST": REFUSED,
        "NO_IMAGE": BROKEN,
        "TEXT_ONLY": BROKEN,
        "EMPTY": BROKEN,
        "IMAGE_RECITATION": BROKEN,
        "RECITATION": BROKEN,
        "IMAGE_OTHER": BROKEN,
        "OTHER": BROKEN,
        "MAX_TOKENS": INVALID,
        "LANGUAGE": INVALID,
    }
)
"""What a finish reason means where the wanted answer is missing; others count as broken.

`TEXT_ONLY` and `EMPTY` stand for the finish reason STOP with nothing but text, or nothing at all.
"""

_FINISHED = ("STOP", "")


def request_line(request: Request, reference: Callable[[str, int | None], bytes]) -> bytes:
    """One line of a batch's input, newline included.

    `reference(sha256, edge)` gives the bytes of a reference image, reduced to that longest edge.
    """
    model = find_model(request.model)
    parts: list[dict[str, Any]] = [{"text": request.prompt}]
    parts += (_inline(reference(sha256, request.reference_edge)) for sha256 in request.references)
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": parts}]}
    if request.system:
        body["systemInstruction"] = {"parts": [{"text": request.system}]}
    config: dict[str, Any] = {}
    if request.kind.wants_image:
        config["responseModalities"] = ["IMAGE"]
        image = {"aspectRatio": request.aspect_ratio}
        image["imageSize"] = request.size if model.send_size else None
        config["imageConfig"] = {name: value for name, value in image.items() if value}
    if request.response_schema:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = orjson.loads(request.response_schema)
    if request.thinking:
        config["thinkingConfig"] = {"thinkingLevel": request.thinking}
    if request.temperature is not None:
        config["temperature"] = request.temperature
    if request.seed is not None:
        config["seed"] = request.seed
    if config:
        body["generationConfig"] = config
    return orjson.dumps({"key": request.id, "request": body}, option=orjson.OPT_APPEND_NEWLINE)


def _inline(image: bytes) -> dict[str, Any]:
    image, mime = accepted(image)
    return {"inlineData": {"mimeType": mime, "data": pybase64.b64encode(image).decode("ascii")}}


def read_line(line: Line, wants_image: Callable[[str], bool]) -> Outcome:
    """What one result line says; a line that says nothing legible is a broken outcome.

    `wants_image(key)` says whether that request asked for an image, else for text.
    """
    return read(line, _FORMAT, partial(_outcome, wants_image=wants_image))


_FORMAT = Format.of(long="data", key="key")


def _outcome(line: Any, values: LongValues, wants_image: Callable[[str], bool]) -> Outcome:
    if not isinstance(line, dict):
        return broken(None, "NO_OBJECT", "the line is not a JSON object", billed=True)
    # Inline batches name their lines in the metadata.
    key = text_of(line.get("key")) or text_of(dict_of(line.get("metadata")).get("key")) or None
    response = line if "candidates" in line else object_of(line.get("response"))
    if response is None:
        return _line_error(key, line.get("error") or line.get("status"))
    if response.get("error") and "candidates" not in response:
        return _line_error(key, response["error"])
    if any("_" in name for name in response):
        values.note("fields in snake_case")
    return _answer(key, _Answer(response), values, key is None or wants_image(key))


def _line_error(key: str | None, error: object) -> Outcome:
    """An error by its number, gRPC's or HTTP's, or by nothing but its name."""
    fields = dict_of(error)
    fields = dict_of(fields.get("error")) or fields
    code = count_of(fields.get("code"))
    names = _names(fields.get("status"), fields.get("code"), error)
    if code in GRPC:
        reason, failure = GRPC[code]
    elif code >= 400:
        reason, failure = f"HTTP_{code}", of_http(code)
    elif names:
        reason, failure = names[0], GRPC_NAMES[names[0]]
    else:
        reason, failure = "NO_RESPONSE", FailureClass.BROKEN
    return Outcome(
        key=key,
        status=Status.FAILED,
        failure=failure,
        reason=reason,
        message=(text_of(fields.get("message")) or text_of(error))[:MESSAGE_LIMIT],
        billed=not error,
    )


def _names(*values: object) -> list[str]:
    """The names of gRPC statuses at the beginnings of these texts, as in "503 UNAVAILABLE. …"."""
    words = (word for value in values for word in _WORD.findall(text_of(value)[:80].upper()))
    return [word for word in words if word in GRPC_NAMES]


_WORD = re.compile(r"[A-Z_]+")


class _Answer:
    """The parts of a GenerateContentResponse that matter; what has the wrong type is not there."""

    def __init__(self, response: dict[str, Any]) -> None:
        candidates = dicts_of(response.get("candidates"))
        parts = [
            part
            for candidate in candidates
            for part in dicts_of(dict_of(candidate.get("content")).get("parts"))
            if part.get("thought") not in (True, "true")
        ]
        blobs = [dict_of(field(part, "inlineData")) for part in parts]
        # The last one first: those before it are interim.
        self.offers = [
            (data, text_of(field(blob, "mimeType")))
            for blob in reversed(blobs)
            if (data := text_of(blob.get("data")))
        ]
        self.text = "".join(text_of(part.get("text")) for part in parts)
        first = candidates[0] if candidates else {}
        self.finish = _constant(field(first, "finishReason"))
        self.finish_message = text_of(field(first, "finishMessage"))
        feedback = dict_of(field(response, "promptFeedback"))
        self.block = _constant(field(feedback, "blockReason"))
        self.block_message = text_of(field(feedback, "blockReasonMessage"))
        self.usage = field(response, "usageMetadata")


def _answer(key: str | None, answer: _Answer, values: LongValues, expects_image: bool) -> Outcome:
    usage = read_usage(
        answer.usage, drawn=bool(answer.offers), wrote=bool(answer.text), note=values.note
    )
    if expects_image and answer.offers:
        if len(answer.offers) > 1:
            values.note("several pieces of data; the last that is a picture is kept")
        if found := values.picture(answer.offers):
            image, mime = found
            return Outcome(key=key, status=Status.IMAGE, image=image, mime=mime, usage=usage)
    if not expects_image and answer.text and answer.finish in _FINISHED:
        return Outcome(key=key, status=Status.TEXT, text=answer.text, usage=usage)
    if answer.block:
        return Outcome(
            key=key,
            status=Status.REFUSED,
            failure=FailureClass.REFUSED,
            reason=f"PROMPT_{answer.block}",
            message=answer.block_message[:MESSAGE_LIMIT],
            usage=usage,
        )
    reason, message = answer.finish, answer.finish_message or answer.text
    if values.spoiled:
        reason, message = "INVALID_BASE64", "the image cannot be decoded"
    elif reason in _FINISHED:
        reason = "TEXT_ONLY" if answer.text else "EMPTY"
    status, failure = WITHOUT_ANSWER.get(reason, BROKEN)
    return Outcome(
        key=key,
        status=status,
        failure=failure,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
        usage=usage,
        billed=True,
    )


def _constant(value: object) -> str:
    """A reason's name, without that of its kind before it; "" for one that is not specified."""
    name = _KIND.sub("", name_of(value), count=1)
    return "" if name == "UNSPECIFIED" else name


_KIND = re.compile(r"(?:FINISH|BLOCK|BLOCKED)_REASON_")
