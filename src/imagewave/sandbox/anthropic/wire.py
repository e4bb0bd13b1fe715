"""Claude's request and answer formats: one message each, as an `Ask` and back.

Errors are `ApiError`s inside the sandbox and put into Claude's words on the way out.
"""

import base64
import binascii
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagewave.sandbox.answers.answering import Answer
from imagewave.sandbox.answers.incoming import edge_of, kind_of
from imagewave.sandbox.core.ask import Ask
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.files import new_id
from imagewave.sandbox.core.models import known, today
from imagewave.sandbox.core.prices import is_priced
from imagewave.storage.catalog import Model

MESSAGES = "/v1/messages"
MAX_BYTES = 32_000_000
"""The longest body of one message."""
MOST_PICTURES = 100
_FEW, _EDGE, _EDGE_OF_MANY = 20, 8000, 2000

# Status and Claude's word for each of Google's.
_ERRORS = {
    "INVALID_ARGUMENT": (400, "invalid_request_error"),
    "TOO_LARGE": (413, "request_too_large"),
    "FAILED_PRECONDITION": (400, "invalid_request_error"),
    "UNAUTHENTICATED": (401, "authentication_error"),
    "PERMISSION_DENIED": (404, "not_found_error"),  # a file that is not there
    "NOT_FOUND": (404, "not_found_error"),
    "RESOURCE_EXHAUSTED": (429, "rate_limit_error"),
    "INTERNAL": (500, "api_error"),
    "UNAVAILABLE": (529, "overloaded_error"),
}
_OF_GRPC = {
    3: "INVALID_ARGUMENT",
    5: "NOT_FOUND",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    13: "INTERNAL",
    14: "UNAVAILABLE",
}
_STOPS = {"STOP": "end_turn", "MAX_TOKENS": "max_tokens"}
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_DEFAULT_EFFORT = "medium"
# What a schema may not say.
_UNSUPPORTED = ("minimum", "maximum", "multipleOf", "minLength", "maxLength", "maxItems")


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Source(_Wire):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class _Block(_Wire):
    type: Literal["text", "image"]
    text: Annotated[str, Field(min_length=1)] | None = None
    source: _Source | None = None
    cache_control: dict[str, Any] | None = None


class _Message(_Wire):
    role: Literal["user", "assistant"]
    content: Annotated[str, Field(min_length=1)] | Annotated[list[_Block], Field(min_length=1)]


class _Metadata(_Wire):
    user_id: Annotated[str, Field(max_length=256)] | None = None


class _Thinking(_Wire):
    type: Literal["adaptive", "disabled"]
    display: str | None = None


class _Format(_Wire):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class _OutputConfig(_Wire):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: _Format | None = None


class MessageRequest(_Wire):
    """The body of a message, or the `params` of a batch's request."""

    model: str
    max_tokens: int = Field(ge=1)
    messages: list[_Message] = Field(min_length=1)
    system: str | list[_Block] = ""
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    metadata: _Metadata | None = None
    stop_sequences: list[str] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    stream: Literal[False] | None = None


def error_of(error: ApiError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of an error answer."""
    headers = {}
    for detail in error.details:
        if "retryDelay" in detail:
            headers["retry-after"] = detail["retryDelay"].removesuffix("s")
    status, kind = _ERRORS[error.status]
    return status, error_body(kind, error.message), headers


def error_body(kind: str, message: str) -> dict[str, Any]:
    """An error in Claude's format."""
    error = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": f"req_{new_id()}"}


def error_of_line(error: tuple[int, str]) -> dict[str, Any]:
    """The error of a batch's result, of a gRPC code and message."""
    code, message = error
    return error_body(_ERRORS[_OF_GRPC[code]][1], message)


def status_of_line(error: tuple[int, str]) -> ApiError:
    """The same as the answer to a single call."""
    code, message = error
    return ApiError(_OF_GRPC[code], message)


def model_of(name: object) -> Model:
    """The living Claude model of that id.

    Raises:
        ApiError: NOT_FOUND.
    """
    model = known("anthropic").get(str(name))
    if model is None or not model.alive(today()) or not is_priced(model.id):
        raise ApiError("NOT_FOUND", f"model: {name}")
    return model


def to_ask(payload: object) -> Ask:
    """Checks a message's request and takes what answering needs.

    Raises:
        ApiError: the request is one that the real model would refuse.
    """
    request = parse(MessageRequest, payload)
    texts, images = [], []
    for message in request.messages:
        for block in _blocks(message.content):
            if (block.text is None) == (block.type == "text") or (
                (block.source is None) == (block.type == "image")
            ):
                raise ApiError("INVALID_ARGUMENT", f"messages.content.{block.type}: Field required")
            if block.source is not None:
                images.append(_picture(block.source))
            if block.text:
                texts.append(block.text)
    _check_pictures(images)
    if request.messages[0].role != "user":
        raise ApiError("INVALID_ARGUMENT", "messages: first message must use the 'user' role")
    if request.messages[-1].role != "user":
        raise ApiError("INVALID_ARGUMENT", "messages: final role must be 'user'")
    config = request.output_config or _OutputConfig()
    schema = config.format.schema_ if config.format else None
    if schema is not None:
        _check_schema(schema)
    effort = _EFFORTS[config.effort or _DEFAULT_EFFORT]
    off = request.thinking is not None and request.thinking.type == "disabled"
    return Ask(
        model=model_of(request.model),
        prompt="\n".join(texts),
        system="\n".join(block.text or "" for block in _blocks(request.system)),
        images=tuple(images),
        thinking="minimal" if off else effort,
        max_output_tokens=request.max_tokens,
        schema=schema,
        as_json=schema is not None,
    )


def parse(kind: type[Any], payload: object) -> Any:
    """Reads a JSON payload as Claude's API does.

    Raises:
        ApiError: naming the first field that is unknown or wrong.
    """
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        # Of a content that fits neither of its kinds, the innermost error says what is meant.
        first = max(error.errors(include_url=False), key=lambda found: len(found["loc"]))
        name = ".".join(str(step) for step in first["loc"])
        words = {
            "extra_forbidden": "Extra inputs are not permitted",
            "missing": "Field required",
        }
        text = words.get(first["type"], str(first["msg"]))
        raise ApiError("INVALID_ARGUMENT", f"{name}: {text}") from error


def _blocks(content: str | list[_Block]) -> list[_Block]:
    if isinstance(content, str):
        return [_Block(type="text", text=content)] if content else []
    return content


def _picture(source: _Source) -> bytes:
    try:
        data = base64.b64decode(source.data, validate=True)
    except binascii.Error as error:
        raise ApiError("INVALID_ARGUMENT", "image.source.base64: invalid base64 data") from error
    if (kind := kind_of(data)) != source.media_type:
        raise ApiError(
            "INVALID_ARGUMENT",
            f"The image was specified using the {source.media_type} media type, but it appears to"
            f" be {kind or 'none'}.",
        )
    return data


def _check_pictures(images: list[bytes]) -> None:
    if len(images) > MOST_PICTURES:
        raise ApiError("INVALID_ARGUMENT", f"Too much media: {len(images)} > {MOST_PICTURES}")
    most = _EDGE if len(images) <= _FEW else _EDGE_OF_MANY
    if any(edge_of(image) > most for image in images):
        raise ApiError(
            "INVALID_ARGUMENT",
            f"image.source: at least one of the image dimensions exceeds {most} pixels",
        )


def _check_schema(schema: object) -> None:
    """Refuses what structured outputs refuse."""
    if isinstance(schema, list):
        for item in schema:
            _check_schema(item)
    if not isinstance(schema, dict):
        return
    for name in _UNSUPPORTED:
        if name in schema and not isinstance(schema[name], dict):
            raise ApiError(
                "INVALID_ARGUMENT",
                "output_config.format.schema: For "
                f"'{schema.get('type')}' type, property '{name}' is not supported",
            )
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise ApiError(
            "INVALID_ARGUMENT",
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
            "explicitly set to false",
        )
    for value in schema.values():
        _check_schema(value)


def settled(ask: Ask | None, answered: Answer) -> Answer:
    """Gemini's answer as Claude would have given it: the same tokens, Claude's words.

    `error` keeps its gRPC code and message.
    """
    if answered.error is not None:
        return answered
    assert ask is not None, "only errors come without an ask"
    assert answered.response is not None
    parts = (answered.response.get("candidates") or [{}])[0].get("content", {}).get("parts", [])
    text = "".join(part.get("text", "") for part in parts if not part.get("thought"))
    stop = _STOPS.get(answered.reason, "refusal")
    refused = {"type": "refusal", "category": "general_harms", "explanation": answered.reason}
    tokens = answered.tokens
    body: dict[str, Any] = {
        "id": f"msg_{new_id()}",
        "type": "message",
        "role": "assistant",
        "model": ask.model.id,
        "content": [{"type": "text", "text": text}] if text and stop != "refusal" else [],
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": refused if stop == "refusal" else None,
        "usage": {
            "input_tokens": tokens.prompt,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": tokens.text + tokens.thoughts,
            "output_tokens_details": {"thinking_tokens": tokens.thoughts},
            "service_tier": "batch",
        },
    }
    if "usageMetadata" not in answered.response:
        del body["usage"]
    return replace(answered, response=body)
