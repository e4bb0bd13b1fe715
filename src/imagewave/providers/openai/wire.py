"""OpenAI's wire format: a request as a line of a batch's input, a result line as an outcome.

Drafts are generations, requests with a reference are edits, text is a chat completion.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson
import pybase64

from imagewave.providers.failures import of_http
from imagewave.providers.protocol import Outcome
from imagewave.providers.wire.fields import count_of, dict_of, dicts_of, field, object_of, text_of
from imagewave.providers.wire.jsonl import Line
from imagewave.providers.wire.long_values import MESSAGE_LIMIT, Format, LongValues, broken, read
from imagewave.providers.wire.references import accepted
from imagewave.providers.wire.usage import read_usage
from imagewave.storage.catalog import Model, find_model
from imagewave.storage.catalog.prices import Usage
from imagewave.storage.requests import FailureClass, Request, Status

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
COMPLETIONS = "/v1/chat/completions"

REFUSALS = frozenset({"moderation_blocked", "content_policy_violation", "content_filter"})
"""Error codes of a policy's no: the same prompt is not sent again."""

UNANSWERED: Mapping[str, FailureClass] = MappingProxyType(
    {
        "batch_expired": FailureClass.TRANSIENT,
        "batch_cancelled": FailureClass.TRANSIENT,
        "request_timeout": FailureClass.TRANSIENT,
    }
)
"""Codes of lines that the batch did not get to."""

BY_NAME: Mapping[str, FailureClass] = MappingProxyType(
    {
        "rate_limit_exceeded": FailureClass.TRANSIENT,
        "rate_limit_error": FailureClass.TRANSIENT,
        "requests": FailureClass.TRANSIENT,
        "tokens": FailureClass.TRANSIENT,
        "server_error": FailureClass.TRANSIENT,
        "internal_error": FailureClass.TRANSIENT,
        "internal_server_error": FailureClass.TRANSIENT,
        "service_unavailable": FailureClass.TRANSIENT,
        "overloaded": FailureClass.TRANSIENT,
        "overloaded_error": FailureClass.TRANSIENT,
        "timeout": FailureClass.TRANSIENT,
        "insufficient_quota": FailureClass.INVALID,
        "invalid_request_error": FailureClass.INVALID,
        "invalid_api_key": FailureClass.INVALID,
        "authentication_error": FailureClass.INVALID,
        "permission_error": FailureClass.INVALID,
        "model_not_found": FailureClass.INVALID,
        "not_found_error": FailureClass.INVALID,
    }
)
"""The class of an error that comes with its code or type and without a status."""

_FORMAT = Format.of(long="b64_json", key="custom_id")


def endpoint_of(request: Request) -> str:
    """The endpoint that answers such a request."""
    if not request.kind.wants_image:
        return COMPLETIONS
    return EDITS if request.references else GENERATIONS


def request_line(request: Request, reference: Callable[[str, int | None], bytes]) -> bytes:
    """One line of a batch's input, newline included.

    `reference(sha256, edge)` gives the bytes of a reference image, reduced to that longest edge.
    """
    model = find_model(request.model)
    urls = [_data_url(reference(sha256, request.reference_edge)) for sha256 in request.references]
    drawn = request.kind.wants_image
    body = _picture(request, model, urls) if drawn else _completion(request, model, urls)
    line = {
        "custom_id": request.id,
        "method": "POST",
        "url": endpoint_of(request),
        "body": body,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _picture(request: Request, model: Model, urls: list[str]) -> dict[str, Any]:
    prompt = f"{request.system}\n\n{request.prompt}" if request.system else request.prompt
    size = request.size or model.default_size or ""
    pixels = model.pixels.get((request.aspect_ratio or "1:1", size))
    # A quality that is left to the model leaves it the bill, too.
    quality = request.quality or (model.qualities[0] if model.qualities else None)
    body = {
        "model": model.id,
        "prompt": prompt,
        "size": "{}x{}".format(*pixels) if pixels else size,
        "quality": quality,
        "output_format": "jpeg",
        "images": [{"image_url": url} for url in urls],
    }
    return {name: value for name, value in body.items() if value}


def _completion(request: Request, model: Model, urls: list[str]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": request.prompt}]
    content += ({"type": "image_url", "image_url": {"url": url}} for url in urls)
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    body: dict[str, Any] = {"model": model.id, "messages": messages}
    effort = request.thinking or (model.thinking[0] if model.thinking else None)
    if effort:
        body["reasoning_effort"] = effort
    # A model that thinks takes no temperature.
    if request.temperature is not None and effort in (None, "none"):
        body["temperature"] = request.temperature
    if request.seed is not None:
        body["seed"] = request.seed
    if request.response_schema:
        schema = orjson.loads(request.response_schema)
        named = {"name": "answer", "strict": _is_closed(schema), "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


def _is_closed(schema: object) -> bool:
    """Whether strict mode takes the schema: its objects leave no property open or optional."""
    if isinstance(schema, list):
        return all(map(_is_closed, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        named = set(schema.get("properties", ()))
        if schema.get("additionalProperties") is not False:
            return False
        if set(schema.get("required", ())) != named:
            return False
    return all(map(_is_closed, schema.values()))


def _data_url(image: bytes) -> str:
    image, mime = accepted(image)
    return f"data:{mime};base64,{pybase64.b64encode(image).decode('ascii')}"


def read_line(line: Line, wants_image: Callable[[str], bool]) -> Outcome:
    """What a line of an output or error file says; one that says nothing legible is broken.

    `wants_image(key)` says whether that request asked for an image, else for text.
    """
    return read(line, _FORMAT, partial(_outcome, wants_image=wants_image))


def _outcome(line: Any, values: LongValues, wants_image: Callable[[str], bool]) -> Outcome:
    if not isinstance(line, dict):
        return broken(None, "NO_OBJECT", "the line is not a JSON object", billed=True)
    key = text_of(field(line, "custom_id")) or None
    response = object_of(line.get("response"))
    if response is None:
        return _unanswered(key, line.get("error"))
    body = object_of(response.get("body"))
    if body is None:  # the answer itself, without what a batch puts around it
        body = response
    status = count_of(field(response, "status_code"))
    fine = status // 100 == 2
    if (status and not fine) or not _answers(body, fine=fine):
        error = body.get("error") or line.get("error")
        return _refused_or_failed(key, 0 if fine else status, error)
    if key is None or wants_image(key):
        return _drawn(key, body, values)
    return _written(key, body, values)


def _answers(body: Mapping[str, Any], *, fine: bool) -> bool:
    """Whether the body is an answer, by what it holds; a `fine` status may have an error, too."""
    return bool(body.get("data") or body.get("choices")) or (fine and not body.get("error"))


def _unanswered(key: str | None, error: object) -> Outcome:
    said = _Error(error)
    if said.name not in UNANSWERED:
        return _refused_or_failed(key, 0, error)
    return Outcome(
        key=key,
        status=Status.MISSING,
        failure=UNANSWERED[said.name],
        reason=said.name.upper(),
        message=said.message,
    )


class _Error:
    """An error object, or text in its place; `name` is its code, else its type."""

    def __init__(self, error: object) -> None:
        fields = dict_of(error)
        fields = dict_of(fields.get("error")) or fields
        code = fields.get("code")
        self.code = (text_of(code) or text_of(error)[:80]).strip().lower()
        self.number = count_of(code) or count_of(error)
        self.name = self.code or text_of(fields.get("type")).strip().lower()
        self.message = (text_of(fields.get("message")) or text_of(error))[:MESSAGE_LIMIT]


def _refused_or_failed(key: str | None, status: int, error: object) -> Outcome:
    said = _Error(error)
    if said.name in REFUSALS:
        return _refused(key, said.name.upper(), said.message, None)
    if status := status or said.number:
        named = said.code and not said.number
        reason, failure = said.code.upper() if named else f"HTTP_{status}", of_http(status)
    elif said.name in BY_NAME:
        reason, failure = said.name.upper(), BY_NAME[said.name]
    else:
        named = said.name and isinstance(error, dict)
        reason = said.name.upper() if named else "NO_RESPONSE"
        return broken(key, reason, said.message, billed=not error)
    return Outcome(
        key=key, status=Status.FAILED, failure=failure, reason=reason, message=said.message
    )


def _refused(key: str | None, reason: str, message: str, usage: Usage | None) -> Outcome:
    return Outcome(
        key=key,
        status=Status.REFUSED,
        failure=FailureClass.REFUSED,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
        usage=usage,
    )


def _drawn(key: str | None, body: Mapping[str, Any], values: LongValues) -> Outcome:
    data = dicts_of(body.get("data"))
    mime = f"image/{text_of(field(dict_of(body), 'output_format')) or 'png'}"
    urls = [text_of(item.get("url")) for item in data]
    offers = [
        (encoded, mime)
        for item, url in zip(data, urls, strict=True)
        if (encoded := text_of(field(item, "b64_json")) or (url if _is_data(url) else ""))
    ]
    usage = read_usage(
        body.get("usage"),
        drawn=bool(data),
        wrote=False,
        pictures_apart=True,
        note=values.note,
    )
    if len(data) > 1:
        values.note("several pieces of data; the first that is a picture is kept")
    if found := values.picture(offers):
        return Outcome(key=key, status=Status.IMAGE, image=found[0], mime=found[1], usage=usage)
    if values.spoiled:
        return _broken(key, "INVALID_BASE64", "the image cannot be decoded", usage)
    elsewhere = next((f", but an address: {url}" for url in urls if url), "")
    return _broken(key, "NO_IMAGE", f"the answer holds no picture{elsewhere}", usage)


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _broken(key: str | None, reason: str, message: str, usage: Usage | None) -> Outcome:
    return replace(broken(key, reason, message, billed=True), usage=usage)


def _written(key: str | None, body: Mapping[str, Any], values: LongValues) -> Outcome:
    choices = dicts_of(body.get("choices"))
    message = dict_of(choices[0].get("message")) if choices else {}
    text = _text(message.get("content"))
    refusal = text_of(message.get("refusal"))
    usage = read_usage(
        body.get("usage"), drawn=False, wrote=bool(text or refusal), note=values.note
    )
    if not choices:
        return _broken(key, "EMPTY", "the answer holds no choice", usage)
    finish = text_of(field(choices[0], "finish_reason")).lower()
    if refusal:
        return replace(_refused(key, "REFUSAL", refusal, usage), billed=True)
    if finish in REFUSALS:
        return replace(_refused(key, finish.upper(), "", usage), billed=True)
    if finish == "length":
        return Outcome(
            key=key,
            status=Status.FAILED,
            failure=FailureClass.INVALID,
            reason="MAX_TOKENS",
            message=text[:MESSAGE_LIMIT],
            usage=usage,
            billed=True,
        )
    if not text:
        return _broken(key, "EMPTY", f"the answer holds no text ({finish})", usage)
    return Outcome(key=key, status=Status.TEXT, text=text, usage=usage)


def _text(content: object) -> str:
    """A message's words, in one piece or in several."""
    return text_of(content) or "".join(text_of(part.get("text")) for part in dicts_of(content))
