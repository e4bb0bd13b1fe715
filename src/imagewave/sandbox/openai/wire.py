"""OpenAI's request and answer formats: images, edits and chat completions, as one `Ask` each.

Errors are `ApiError`s inside the sandbox and put into OpenAI's words on the way out.
"""

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import cv2
import pybase64
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagewave.sandbox.answers import pictures
from imagewave.sandbox.answers.answering import Answer, seen_tokens
from imagewave.sandbox.answers.incoming import GIF, JPEG, PNG, WEBP, kind_of
from imagewave.sandbox.core.ask import Ask
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.models import known, today
from imagewave.sandbox.core.prices import Tokens, is_priced
from imagewave.storage.catalog import Model

IMAGES, EDITS, CHAT = "/v1/images/generations", "/v1/images/edits", "/v1/chat/completions"
ENDPOINTS = (IMAGES, EDITS, CHAT)

_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 404,  # a file that is not there
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}
_WORDS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}
_OF_GRPC = {3: 400, 5: 404, 7: 404, 8: 429, 9: 400, 13: 500, 14: 503}
MODERATION = "moderation_blocked"
_BLOCKED = "Your request was rejected by the safety system."
_EFFORTS = {"none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium"}
_QUALITY = {"low": 16, "medium": 48, "high": 96, "auto": 96}
_FINE_QUALITY = {"low": 16, "medium": 24, "high": 48, "xhigh": 64, "max": 96, "auto": 96}
_FINE = ("gpt-image-2.5-flare", "gpt-image-2.5-sunburst")
_LEAST_PIXELS, _MOST_PIXELS = 655_360, 8_294_400
_LARGEST_PICTURE = 50_000_000
_DRAWN_FROM = (PNG, JPEG, WEBP)
_LOOKED_AT = (PNG, JPEG, WEBP, GIF)
# Reasons for which a picture is missing without anybody having objected to it.
_NO_OBJECTION = frozenset(
    {"NO_IMAGE", "OTHER", "IMAGE_OTHER", "RECITATION", "IMAGE_RECITATION", "MAX_TOKENS"}
)


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Reference(_Wire):
    image_url: str | None = None
    file_id: str | None = None


class ImageRequest(_Wire):
    """The body of a generation, or of an edit sent as JSON."""

    model: str
    prompt: Annotated[str, Field(min_length=1, max_length=32_000)]
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: str = "auto"
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto"] = "auto"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    moderation: Literal["low", "auto"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    images: list[_Reference] = []


class _Url(_Wire):
    url: str
    detail: str | None = None


class _ContentPart(_Wire):
    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: _Url | None = None


class _Message(_Wire):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_ContentPart]
    name: str | None = None


class _JsonSchema(_Wire):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema_: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None

    model_config = ConfigDict(extra="forbid", alias_generator=lambda name: name.rstrip("_"))


class _Format(_Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None


class ChatRequest(_Wire):
    """The body of a chat completion."""

    model: str
    messages: Annotated[list[_Message], Field(min_length=1)]
    response_format: _Format | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    store: bool | None = None


def error_of(error: ApiError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of an error answer."""
    status = _STATUS[error.status]
    headers = {}
    for detail in error.details:
        if "retryDelay" in detail:
            headers["retry-after"] = detail["retryDelay"].removesuffix("s")
    return status, error_body(status, error.message), headers


def error_body(status: int, message: str) -> dict[str, Any]:
    """An error in OpenAI's format; a refusal is known by its message."""
    kind, code = _WORDS[status]
    if message == MODERATION:
        kind, code, message = "image_generation_user_error", MODERATION, _BLOCKED
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def model_of(name: object) -> Model:
    """The living OpenAI model of that id.

    Raises:
        ApiError: NOT_FOUND.
    """
    model = known("openai").get(str(name))
    if model is None or not model.alive(today()) or not is_priced(model.id):
        raise ApiError("NOT_FOUND", f"The model `{name}` does not exist or you do not have access.")
    return model


def to_ask(endpoint: str, payload: object, read_file: Callable[[str], bytes]) -> Ask:
    """Checks a request's body and takes what answering needs.

    Raises:
        ApiError: the request is one that the real model would refuse.
    """
    if endpoint == CHAT:
        return _chat_ask(_parse(ChatRequest, payload))
    request = _parse(ImageRequest, payload)
    if endpoint == EDITS and not request.images:
        raise ApiError("INVALID_ARGUMENT", "Missing required parameter: 'images'.")
    if endpoint == IMAGES and request.images:
        raise ApiError("INVALID_ARGUMENT", "Unknown parameter: 'images'.")
    return _image_ask(request, read_file)


def settled(ask: Ask | None, answered: Answer) -> Answer:
    """Gemini's answer as OpenAI would have given it, body and bill.

    `error` holds an HTTP status and a message then.
    """
    if answered.error is not None:
        code, message = answered.error
        return replace(answered, error=(_OF_GRPC[code], message))
    assert ask is not None, "only errors come without an ask"
    if ask.model.kind == "image":
        return _settled_image(ask, answered)
    return _settled_chat(ask, answered)


def _settled_image(ask: Ask, answered: Answer) -> Answer:
    assert answered.response is not None
    if _objects(answered):
        return replace(answered, response=None, error=(400, MODERATION), tokens=Tokens())
    seen = seen_tokens(ask)
    tokens = Tokens(prompt=answered.tokens.prompt - seen, seen=seen, image=answered.tokens.image)
    data = [
        {"b64_json": as_format(part["inlineData"]["data"], ask.output_format)}
        for part in _parts(answered)
        if "inlineData" in part and not part.get("thought")
    ]
    assert ask.pixels is not None
    body: dict[str, Any] = {
        "created": int(time.time()),
        "data": data,
        "output_format": ask.output_format,
        "size": "{}x{}".format(*ask.pixels),
        "usage": {
            "input_tokens": tokens.prompt + tokens.seen,
            "input_tokens_details": {"text_tokens": tokens.prompt, "image_tokens": tokens.seen},
            "output_tokens": tokens.image,
            "output_tokens_details": {"image_tokens": tokens.image, "text_tokens": 0},
            "total_tokens": tokens.prompt + tokens.seen + tokens.image,
        },
    }
    metadata = answered.response.get("usageMetadata")
    if metadata is None:
        del body["usage"]
    elif data and "candidatesTokensDetails" not in metadata:
        del body["usage"]["output_tokens_details"]
    return replace(answered, response=body, tokens=tokens)


def _objects(answered: Answer) -> bool:
    """Whether the model declined, rather than failed."""
    assert answered.response is not None
    blocked = "promptFeedback" in answered.response
    return answered.outcome == "refused" and (blocked or answered.reason not in _NO_OBJECTION)


def _settled_chat(ask: Ask, answered: Answer) -> Answer:
    assert answered.response is not None
    tokens = answered.tokens
    text = "".join(part.get("text", "") for part in _parts(answered) if not part.get("thought"))
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    finish = "length" if answered.reason == "MAX_TOKENS" else "stop"
    if _objects(answered):
        message |= {"content": None, "refusal": "I'm sorry, I can't assist with that request."}
    completion = tokens.text + tokens.thoughts
    body: dict[str, Any] = {
        "id": f"chatcmpl-{answered.response['responseId']}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": ask.model.id,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {
            "prompt_tokens": tokens.prompt,
            "completion_tokens": completion,
            "total_tokens": tokens.prompt + completion,
            "completion_tokens_details": {"reasoning_tokens": tokens.thoughts},
        },
    }
    if "usageMetadata" not in answered.response:
        del body["usage"]
    return replace(answered, response=body)


def _parts(answered: Answer) -> list[dict[str, Any]]:
    assert answered.response is not None
    candidates = answered.response.get("candidates") or [{}]
    parts: list[dict[str, Any]] = candidates[0].get("content", {}).get("parts", [])
    return parts


def as_format(encoded: str, wanted: str) -> str:
    """The picture in the wanted format; what is spoiled on purpose stays as it is."""
    if wanted == "jpeg":
        return encoded
    try:
        picture = pictures.decode(pybase64.b64decode(encoded, validate=True))
    except binascii.Error:
        return encoded
    if picture is None:
        return encoded
    data = cv2.imencode(f".{wanted}", picture)[1].tobytes()
    return pybase64.b64encode(data).decode("ascii")


def _parse(kind: type[Any], payload: object) -> Any:
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(step) for step in first["loc"])
        words = {
            "extra_forbidden": f"Unknown parameter: '{name}'.",
            "missing": f"Missing required parameter: '{name}'.",
        }
        text = words.get(first["type"], f"Invalid value for '{name}': {first['msg']}.")
        raise ApiError("INVALID_ARGUMENT", text) from error


def _image_ask(request: ImageRequest, read_file: Callable[[str], bytes]) -> Ask:
    model = model_of(request.model)
    if model.kind != "image":
        raise ApiError("INVALID_ARGUMENT", f"The model '{model.id}' does not draw.")
    if request.n != 1:
        raise ApiError("INVALID_ARGUMENT", "The sandbox draws one picture per request: n = 1.")
    factors = _FINE_QUALITY if model.id in _FINE else _QUALITY
    if request.quality not in factors:
        raise ApiError("INVALID_ARGUMENT", f"Invalid value for 'quality': '{request.quality}'.")
    if request.output_compression is not None and request.output_format == "png":
        raise ApiError("INVALID_ARGUMENT", "'output_compression' is not supported for png.")
    if request.background == "transparent" and request.output_format == "jpeg":
        raise ApiError("INVALID_ARGUMENT", "Transparent backgrounds are not supported for jpeg.")
    if len(request.images) > model.reference_limit:
        raise ApiError(
            "INVALID_ARGUMENT", f"Invalid 'images': at most {model.reference_limit} are supported."
        )
    width, height = _pixels(request.size)
    return Ask(
        model=model,
        prompt=request.prompt,
        images=tuple(_reference(image, read_file) for image in request.images),
        pixels=(width, height),
        image_tokens=_drawn_tokens(width, height, factors[request.quality]),
        output_format=request.output_format,
    )


def _pixels(size: str) -> tuple[int, int]:
    if size == "auto":
        return 1024, 1024
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ApiError("INVALID_ARGUMENT", f"Invalid size '{size}'.")
    w, h = int(width), int(height)
    long, short = max(w, h), min(w, h)
    fits = w % 16 == h % 16 == 0 and short >= 16 and long <= min(3840, 3 * short)
    if not fits or not _LEAST_PIXELS <= w * h <= _MOST_PIXELS:
        raise ApiError(
            "INVALID_ARGUMENT",
            f"Invalid size '{size}'. Width and height must be multiples of 16, at most 3840, no"
            f" more than 3:1, and {_LEAST_PIXELS} to {_MOST_PIXELS} pixels together.",
        )
    return w, h


def _drawn_tokens(width: int, height: int, across: int) -> int:
    """Output tokens of a picture; the sandbox's own arithmetic, for its ledger audits imagewave."""
    long, short = max(width, height), min(width, height)
    down = (2 * across * short + long) // (2 * long)
    return -(-(across * down * (2_000_000 + width * height)) // 4_000_000)


def _reference(image: _Reference, read_file: Callable[[str], bytes]) -> bytes:
    if (image.image_url is None) == (image.file_id is None):
        raise ApiError("INVALID_ARGUMENT", "Give exactly one of 'image_url' and 'file_id'.")
    data = read_file(image.file_id) if image.file_id else _data_url(image.image_url or "")
    if len(data) > _LARGEST_PICTURE:
        raise ApiError("INVALID_ARGUMENT", "Invalid image: it is larger than 50 MB.")
    return _taken(data, _DRAWN_FROM)


def _taken(data: bytes, kinds: tuple[str, ...]) -> bytes:
    if kind_of(data) not in kinds:
        raise ApiError(
            "INVALID_ARGUMENT",
            f"Invalid image: unsupported mimetype ('{kind_of(data) or 'unknown'}'). Supported are"
            f" {', '.join(kinds)}.",
        )
    return data


def _data_url(url: str) -> bytes:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise ApiError("INVALID_ARGUMENT", "The sandbox reads images from data URLs only.")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ApiError("INVALID_ARGUMENT", "Invalid base64 image_url.") from error


def _chat_ask(request: ChatRequest) -> Ask:
    model = model_of(request.model)
    if model.kind != "text":
        raise ApiError("INVALID_ARGUMENT", "This is not a chat model.")
    if request.max_tokens is not None:
        raise ApiError(
            "INVALID_ARGUMENT",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
        )
    if request.n not in (None, 1):
        raise ApiError("INVALID_ARGUMENT", "The sandbox gives one choice per request: n = 1.")
    effort = request.reasoning_effort or "medium"
    if request.temperature not in (None, 1) and effort != "none":
        raise ApiError(
            "INVALID_ARGUMENT",
            "Unsupported value: 'temperature' does not support "
            f"{request.temperature:g} with this model. Only the default (1) value is supported.",
        )
    system: list[str] = []
    prompt: list[str] = []
    images: list[bytes] = []
    for message in request.messages:
        parts = message.content
        if isinstance(parts, str):
            parts = [_ContentPart(type="text", text=parts)]
        words = [part.text for part in parts if part.text]
        (system if message.role in ("system", "developer") else prompt).extend(words)
        images += [
            _taken(_data_url(part.image_url.url), _LOOKED_AT) for part in parts if part.image_url
        ]
    wanted = request.response_format or _Format(type="text")
    schema = wanted.json_schema.schema_ if wanted.json_schema else None
    if schema is not None and wanted.json_schema and wanted.json_schema.strict:
        _check_strict(schema)
    return Ask(
        model=model,
        prompt="\n".join(prompt),
        system="\n".join(system),
        images=tuple(images),
        thinking=_EFFORTS.get(effort, effort),
        seed=request.seed,
        max_output_tokens=request.max_completion_tokens,
        schema=schema,
        as_json=wanted.type != "text",
    )


def _check_strict(schema: object) -> None:
    """Refuses what OpenAI's strict mode refuses: objects that leave something open."""
    if isinstance(schema, list):
        for item in schema:
            _check_strict(item)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        named = set(schema.get("properties", {}))
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != (
            named
        ):
            raise ApiError(
                "INVALID_ARGUMENT",
                "Invalid schema for response_format: 'additionalProperties' is required to be "
                "supplied and to be false, and every property to be required.",
            )
    for value in schema.values():
        _check_strict(value)
