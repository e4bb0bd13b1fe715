"""Gemini's wire format: a request as a line of a batch's input, a result line as an outcome."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson
import pybase64

from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import Usage
from imagewave.storage.images import sniff
from imagewave.storage.requests import FailureClass, Request, Status
from imagewave.tasks.failures import GRPC, of_http
from imagewave.tasks.providers.aside import (
    MESSAGE_LIMIT,
    Format,
    SetAside,
    broken,
    count_of,
    dict_of,
    dicts_of,
    read,
    text_of,
)
from imagewave.tasks.providers.jsonl import Line
from imagewave.tasks.providers.protocol import Outcome

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
    found = sniff(image)
    data = pybase64.b64encode(image).decode("ascii")
    return {"inlineData": {"mimeType": found.mime if found else "image/jpeg", "data": data}}


def read_line(line: Line, wants_image: Callable[[str], bool]) -> Outcome:
    """What one result line says; a line that says nothing legible is a broken outcome.

    `wants_image(key)` says whether that request asked for an image, else for text.
    """
    return read(line, _FORMAT, partial(_outcome, wants_image=wants_image))


_FORMAT = Format.of(long="data", key="key")


def _outcome(line: Any, values: SetAside, wants_image: Callable[[str], bool]) -> Outcome:
    if not isinstance(line, dict):
        return broken(None, "NO_OBJECT", "the line is not a JSON object")
    key = line.get("key")
    key = key if isinstance(key, str) and key else None
    response = line.get("response")
    if isinstance(response, dict):
        expects_image = key is None or wants_image(key)
        return _answer(key, _Answer(response), values, expects_image)
    return _line_error(key, line.get("error"))


def _line_error(key: str | None, error: object) -> Outcome:
    fields = error if isinstance(error, dict) else {}
    code = fields.get("code")
    if isinstance(code, int) and code in GRPC:
        reason, failure = GRPC[code]
    elif isinstance(code, int) and code >= 400:
        reason, failure = f"HTTP_{code}", of_http(code)
    else:
        reason, failure = "NO_RESPONSE", FailureClass.BROKEN
    return Outcome(
        key=key,
        status=Status.FAILED,
        failure=failure,
        reason=reason,
        message=text_of(fields.get("message"))[:MESSAGE_LIMIT],
    )


class _Answer:
    """The parts of a GenerateContentResponse that matter; what has the wrong type is not there."""

    def __init__(self, response: dict[str, Any]) -> None:
        candidates = dicts_of(response.get("candidates"))
        parts = [
            part
            for candidate in candidates
            for part in dicts_of(dict_of(candidate.get("content")).get("parts"))
            if part.get("thought") is not True
        ]
        self.pictures = [dict_of(part["inlineData"]) for part in parts if "inlineData" in part]
        self.text = "".join(text_of(part.get("text")) for part in parts)
        first = candidates[0] if candidates else {}
        self.finish = text_of(first.get("finishReason"))
        self.finish_message = text_of(first.get("finishMessage"))
        feedback = dict_of(response.get("promptFeedback"))
        self.block = text_of(feedback.get("blockReason"))
        self.block_message = text_of(feedback.get("blockReasonMessage"))
        self._usage = response.get("usageMetadata")

    def usage(self) -> Usage | None:
        """Tokens as reported.

        A picture without a count of image tokens is taken to have cost all answer tokens, which
        are dearer as an image than as text: a bill may not turn out lower than the provider's.
        """
        if not isinstance(self._usage, dict):
            return None
        answer = count_of(self._usage.get("candidatesTokenCount"))
        image = sum(
            count_of(detail.get("tokenCount"))
            for detail in dicts_of(self._usage.get("candidatesTokensDetails"))
            if detail.get("modality") == "IMAGE"
        )
        if self.pictures and image == 0:
            image = answer
        return Usage(
            prompt_tokens=count_of(self._usage.get("promptTokenCount")),
            image_tokens=image,
            text_tokens=max(answer - image, 0),
            thought_tokens=count_of(self._usage.get("thoughtsTokenCount")),
        )


def _answer(key: str | None, answer: _Answer, values: SetAside, expects_image: bool) -> Outcome:
    usage = answer.usage()
    if expects_image and answer.pictures:
        picture = answer.pictures[-1]
        image = values.decoded(text_of(picture.get("data")))
        if image:
            mime = text_of(picture.get("mimeType"))
            return Outcome(key=key, status=Status.IMAGE, image=image, mime=mime, usage=usage)
        return _failed(key, "INVALID_BASE64", "the image cannot be decoded", usage)
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
    reason = answer.finish
    if reason in _FINISHED:
        reason = "TEXT_ONLY" if answer.text else "EMPTY"
    return _failed(key, reason, answer.finish_message or answer.text, usage)


def _failed(key: str | None, reason: str, message: str, usage: Usage | None) -> Outcome:
    status, failure = WITHOUT_ANSWER.get(reason, BROKEN)
    return Outcome(
        key=key,
        status=status,
        failure=failure,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
        usage=usage,
    )
