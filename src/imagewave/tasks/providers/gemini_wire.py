"""Gemini's wire format: a request as a line of a batch's input, a result line as an outcome.

Result lines are almost wholly base64. The fast way finds the long `"data":"…"` values in the raw
bytes, sets them aside, reads the little that remains as JSON and decodes only the picture that
counts. Whatever does not fit that (escaped characters, broken text) goes the slow way, which reads
the whole line as JSON; both give the same outcome.
"""

import os
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import orjson
import pybase64

from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import Usage
from imagewave.storage.images import sniff
from imagewave.storage.requests import FailureClass, Request, Status
from imagewave.tasks.failures import GRPC, of_http
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

MESSAGE_LIMIT = 500
"""Characters kept of a provider's message."""


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
    if line.cut:
        return _illegible(line, "LINE_TOO_LONG", "longer than any line that a provider sends")
    try:
        return _outcome(*_set_aside(line), wants_image)
    except ValueError:
        pass  # the shortcut did not fit; the whole line decides
    try:
        return _outcome(line.copy(), _NOTHING_ASIDE, wants_image)
    except orjson.JSONDecodeError as error:
        return _illegible(line, "INVALID_JSON", str(error))


class _SetAside:
    """The long values that were taken out of a line, each known by the mark left in its place."""

    def __init__(self, values: list[memoryview]) -> None:
        self._values = values

    def decode(self, data: str) -> bytes:
        """The bytes of a base64 value, or of the one that this mark stands for.

        Raises:
            ValueError: not valid base64.
        """
        if data.startswith(_MARK):
            return pybase64.b64decode(self._values[int(data[len(_MARK) :])], validate=True)
        return pybase64.b64decode(data, validate=True)


_NOTHING_ASIDE = _SetAside([])

# Not base64, and random per process, so that no line can hold it by itself.
_MARK = f"~{os.urandom(12).hex()}:"

_LONG = 4096
_BACKSLASH = ord("\\")
_DATA = re.compile(rb'"data"\s*:\s*"')
_NEAR = 4096  # bytes from either end in which a broken line's key is looked for
_KEY = re.compile(rb'"key"\s*:\s*"((?:[^"\\]|\\.){1,256})"')


def _set_aside(line: Line) -> tuple[bytes, _SetAside]:
    # A JSON string holds no bare quote, so `"data":"` can only be where a string value begins, and
    # the value ends at the next quote that is not escaped.
    buffer, size = line.buffer, line.size
    whole = memoryview(buffer)[:size]
    values: list[memoryview] = []
    pieces: list[bytes | memoryview] = []
    done = at = 0
    while (at := buffer.find(b'"data"', at, size)) >= 0:
        opening = _DATA.match(buffer, at, size)
        at += len(b'"data"')
        if opening is None:
            continue
        start = opening.end()
        end = buffer.find(b'"', start, size)
        if end < 0 or buffer[end - 1] == _BACKSLASH:
            return line.copy(), _NOTHING_ASIDE
        at = end + 1
        if end - start >= _LONG:
            pieces += whole[done:start], f"{_MARK}{len(values)}".encode()
            values.append(whole[start:end])
            done = end
    pieces.append(whole[done:])
    return b"".join(pieces), _SetAside(values)


def _parse(document: bytes) -> Any:
    """The JSON value; bytes that are not UTF-8 are replaced, for the picture may still be whole."""
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        return orjson.loads(document.decode("utf-8", "replace"))


def _outcome(document: bytes, values: _SetAside, wants_image: Callable[[str], bool]) -> Outcome:
    line = _parse(document)
    if not isinstance(line, dict):
        return Outcome(
            key=None,
            status=Status.FAILED,
            failure=FailureClass.BROKEN,
            reason="NO_OBJECT",
            message="the line is not a JSON object",
        )
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
        message=_text(fields.get("message"))[:MESSAGE_LIMIT],
    )


class _Answer:
    """The parts of a GenerateContentResponse that matter; what has the wrong type is not there."""

    def __init__(self, response: dict[str, Any]) -> None:
        candidates = _dicts(response.get("candidates"))
        parts = [
            part
            for candidate in candidates
            for part in _dicts(_dict(candidate.get("content")).get("parts"))
            if part.get("thought") is not True
        ]
        self.pictures = [_dict(part["inlineData"]) for part in parts if "inlineData" in part]
        self.text = "".join(_text(part.get("text")) for part in parts)
        first = candidates[0] if candidates else {}
        self.finish = _text(first.get("finishReason"))
        self.finish_message = _text(first.get("finishMessage"))
        feedback = _dict(response.get("promptFeedback"))
        self.block = _text(feedback.get("blockReason"))
        self.block_message = _text(feedback.get("blockReasonMessage"))
        self._usage = response.get("usageMetadata")

    def usage(self) -> Usage | None:
        """Tokens as reported.

        A picture without a count of image tokens is taken to have cost all answer tokens, which
        are dearer as an image than as text: a bill may not turn out lower than the provider's.
        """
        if not isinstance(self._usage, dict):
            return None
        answer = _count(self._usage.get("candidatesTokenCount"))
        image = sum(
            _count(detail.get("tokenCount"))
            for detail in _dicts(self._usage.get("candidatesTokensDetails"))
            if detail.get("modality") == "IMAGE"
        )
        if self.pictures and image == 0:
            image = answer
        return Usage(
            prompt_tokens=_count(self._usage.get("promptTokenCount")),
            image_tokens=image,
            text_tokens=max(answer - image, 0),
            thought_tokens=_count(self._usage.get("thoughtsTokenCount")),
        )


def _answer(key: str | None, answer: _Answer, values: _SetAside, expects_image: bool) -> Outcome:
    usage = answer.usage()
    if expects_image and answer.pictures:
        picture = answer.pictures[-1]
        image = _decoded(values, _text(picture.get("data")))
        if image:
            mime = _text(picture.get("mimeType"))
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


def _decoded(values: _SetAside, data: str) -> bytes | None:
    try:
        return values.decode(data)
    except ValueError:
        if values is not _NOTHING_ASIDE:
            raise  # perhaps an escape in the value: the slow way tells
        return None


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


def _illegible(line: Line, reason: str, message: str) -> Outcome:
    """A line that is no JSON. Whose it was often stands at its beginning, else at its end."""
    found = _KEY.search(line.buffer, 0, min(line.size, _NEAR)) or _KEY.search(
        line.buffer, max(line.size - _NEAR, 0), line.size
    )
    key = found[1].decode("utf-8", "replace") if found else None
    return Outcome(
        key=key,
        status=Status.FAILED,
        failure=FailureClass.BROKEN,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
    )


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0
