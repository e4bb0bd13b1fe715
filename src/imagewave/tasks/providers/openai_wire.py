"""OpenAI's wire format: a request as a line of a batch's input, a result line as an outcome.

Drafts are generations, requests with a reference are edits, text is a chat completion.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson
import pybase64

from imagewave.storage.catalog import Model, find_model
from imagewave.storage.catalog.prices import Usage
from imagewave.storage.images import sniff
from imagewave.storage.requests import FailureClass, Request, Status
from imagewave.tasks.failures import of_http
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
    found = sniff(image)
    data = pybase64.b64encode(image).decode("ascii")
    return f"data:{found.mime if found else 'image/jpeg'};base64,{data}"


def read_line(line: Line, wants_image: Callable[[str], bool]) -> Outcome:
    """What a line of an output or error file says; one that says nothing legible is broken.

    `wants_image(key)` says whether that request asked for an image, else for text.
    """
    return read(line, _FORMAT, partial(_outcome, wants_image=wants_image))


def _outcome(line: Any, values: SetAside, wants_image: Callable[[str], bool]) -> Outcome:
    if not isinstance(line, dict):
        return broken(None, "NO_OBJECT", "the line is not a JSON object")
    key = text_of(line.get("custom_id")) or None
    response = line.get("response")
    if not isinstance(response, dict):
        return _unanswered(key, dict_of(line.get("error")))
    status = response.get("status_code")
    body = dict_of(response.get("body"))
    if status != 200:
        return _refused_or_failed(key, status, dict_of(body.get("error")))
    if key is None or wants_image(key):
        return _drawn(key, body, values)
    return _written(key, body)


def _unanswered(key: str | None, error: Mapping[str, Any]) -> Outcome:
    code = text_of(error.get("code"))
    if code not in UNANSWERED:
        return broken(key, code.upper() or "NO_RESPONSE", text_of(error.get("message")))
    return Outcome(
        key=key,
        status=Status.MISSING,
        failure=UNANSWERED[code],
        reason=code.upper(),
        message=text_of(error.get("message"))[:MESSAGE_LIMIT],
    )


def _refused_or_failed(key: str | None, status: object, error: Mapping[str, Any]) -> Outcome:
    code = text_of(error.get("code"))
    message = text_of(error.get("message"))
    if code in REFUSALS:
        return _refused(key, code.upper(), message, None)
    if not isinstance(status, int):
        return broken(key, "NO_STATUS", message)
    return Outcome(
        key=key,
        status=Status.FAILED,
        failure=of_http(status),
        reason=code.upper() or f"HTTP_{status}",
        message=message[:MESSAGE_LIMIT],
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


def _drawn(key: str | None, body: Mapping[str, Any], values: SetAside) -> Outcome:
    pictures = [text_of(item.get("b64_json")) for item in dicts_of(body.get("data"))]
    usage = _picture_usage(body.get("usage"), drawn=bool(pictures))
    if not pictures or not pictures[0]:
        return _broken(key, "NO_IMAGE", "the answer holds no picture", usage)
    image = values.decoded(pictures[0])
    if not image:
        return _broken(key, "INVALID_BASE64", "the image cannot be decoded", usage)
    mime = f"image/{text_of(body.get('output_format')) or 'png'}"
    return Outcome(key=key, status=Status.IMAGE, image=image, mime=mime, usage=usage)


def _broken(key: str | None, reason: str, message: str, usage: Usage | None) -> Outcome:
    return Outcome(
        key=key,
        status=Status.FAILED,
        failure=FailureClass.BROKEN,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
        usage=usage,
    )


def _picture_usage(usage: object, *, drawn: bool) -> Usage | None:
    """Tokens as reported.

    What is not told apart counts as image tokens, which are the dearer ones: a bill may not turn
    out lower than the provider's.
    """
    if not isinstance(usage, dict):
        return None
    shown = usage.get("input_tokens_details")
    prompt, output = count_of(usage.get("input_tokens")), count_of(usage.get("output_tokens"))
    seen = count_of(shown.get("image_tokens")) if isinstance(shown, dict) else prompt
    details = usage.get("output_tokens_details")
    image = count_of(details.get("image_tokens")) if isinstance(details, dict) else 0
    if drawn and image == 0:
        image = output
    return Usage(
        prompt_tokens=prompt,
        image_tokens=image,
        text_tokens=max(output - image, 0),
        thought_tokens=0,
        reference_tokens=min(seen, prompt),
    )


def _written(key: str | None, body: Mapping[str, Any]) -> Outcome:
    usage = _completion_usage(body.get("usage"))
    choices = dicts_of(body.get("choices"))
    if not choices:
        return _broken(key, "EMPTY", "the answer holds no choice", usage)
    message = dict_of(choices[0].get("message"))
    finish = text_of(choices[0].get("finish_reason"))
    if refusal := text_of(message.get("refusal")):
        return _refused(key, "REFUSAL", refusal, usage)
    if finish in REFUSALS:
        return _refused(key, finish.upper(), "", usage)
    text = text_of(message.get("content"))
    if finish == "length":
        return Outcome(
            key=key,
            status=Status.FAILED,
            failure=FailureClass.INVALID,
            reason="MAX_TOKENS",
            message=text[:MESSAGE_LIMIT],
            usage=usage,
        )
    if not text:
        return _broken(key, "EMPTY", f"the answer holds no text ({finish})", usage)
    return Outcome(key=key, status=Status.TEXT, text=text, usage=usage)


def _completion_usage(usage: object) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    completion = count_of(usage.get("completion_tokens"))
    details = dict_of(usage.get("completion_tokens_details"))
    thoughts = min(count_of(details.get("reasoning_tokens")), completion)
    return Usage(
        prompt_tokens=count_of(usage.get("prompt_tokens")),
        image_tokens=0,
        text_tokens=completion - thoughts,
        thought_tokens=thoughts,
    )
