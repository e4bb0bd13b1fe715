"""Gemini's request and error formats, checked as strictly as the real service checks them."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from imagewave.sandbox.models import draws
from imagewave.storage.catalog import Model

_GRPC = {
    "INVALID_ARGUMENT": 3,
    "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
}
_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}
T = TypeVar("T", bound=BaseModel)
_STANDARD_ALPHABET = str.maketrans("-_", "+/")
THINKING_LEVELS = ("minimal", "low", "medium", "high")


class ApiError(Exception):
    """An answer in Google's error format."""

    def __init__(self, status: str, message: str, details: list[dict[str, Any]] | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details or []

    @property
    def http_code(self) -> int:
        """The HTTP status."""
        return _HTTP[self.status]

    @property
    def grpc_code(self) -> int:
        """The code as it stands in a batch's result line."""
        return _GRPC[self.status]

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        error: dict[str, Any] = {
            "code": self.http_code,
            "message": self.message,
            "status": self.status,
        }
        if self.details:
            error["details"] = self.details
        return {"error": error}


def answer_to(error: Exception) -> ApiError:
    """The error as it is answered: what the disk refused is told as the server's own fault."""
    if isinstance(error, ApiError):
        return error
    return ApiError("INTERNAL", f"Internal error encountered: {error}.")


class _Wire(BaseModel):
    # Protobuf's JSON takes both spellings of a field and refuses what it does not know.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Blob(_Wire):
    mime_type: str
    data: str


class FileData(_Wire):
    file_uri: str
    mime_type: str | None = None


class Part(_Wire):
    text: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    thought: bool | None = None
    thought_signature: str | None = None


class Content(_Wire):
    role: str | None = None
    parts: list[Part] = []


class ImageConfig(_Wire):
    aspect_ratio: str | None = None
    image_size: str | None = None


class ThinkingConfig(_Wire):
    thinking_level: str | None = None
    thinking_budget: int | None = None
    include_thoughts: bool | None = None


class GenerationConfig(_Wire):
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: Any = None
    response_modalities: list[str] | None = None
    media_resolution: str | None = None
    thinking_config: ThinkingConfig | None = None
    image_config: ImageConfig | None = None


class SafetySetting(_Wire):
    category: str
    threshold: str
    method: str | None = None


class GenerateContentRequest(_Wire):
    model: str | None = None
    contents: list[Content] = []
    system_instruction: Content | None = None
    generation_config: GenerationConfig = GenerationConfig()
    safety_settings: list[SafetySetting] | None = None
    tools: list[Any] | None = None
    tool_config: Any = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None
    service_tier: str | None = None


class Requests(_Wire):
    requests: list[dict[str, Any]]


class InputConfig(_Wire):
    file_name: str | None = None
    requests: Requests | None = None


class Batch(_Wire):
    model: str | None = None
    name: str | None = None
    display_name: str = ""
    input_config: InputConfig
    priority: int | None = None


class UploadedFile(_Wire):
    name: str = ""
    display_name: str = ""
    mime_type: str = ""
    size_bytes: int | str | None = None


class UploadRequest(_Wire):
    file: UploadedFile = UploadedFile()


class CreateBatchRequest(_Wire):
    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, freed of its wire format. `images` are encoded pictures, in order.

    `pixels` and `image_tokens` stand in for ratio and size where the API is asked in pixels.
    """

    model: Model
    prompt: str
    system: str = ""
    images: tuple[bytes, ...] = ()
    ratio: str = "1:1"
    size: str = "1K"
    pixels: tuple[int, int] | None = None
    image_tokens: int | None = None
    output_format: str = "jpeg"
    thinking: str | None = None
    seed: int | None = None
    max_output_tokens: int | None = None
    schema: dict[str, Any] | None = None
    as_json: bool = False


def parse(kind: type[T], payload: object) -> T:
    """Reads a JSON payload as Google's API does.

    Raises:
        ApiError: INVALID_ARGUMENT, naming the first field that is unknown or wrong.
    """
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _field_error(first["type"], first["loc"], first["msg"]) from error


def _field_error(kind: str, location: tuple[int | str, ...], message: str) -> ApiError:
    names = [_snake(str(step)) for step in location if isinstance(step, str)]
    path = ".".join(names)
    if kind == "extra_forbidden":
        parent = ".".join(names[:-1])
        at = f" at '{parent}'" if parent else ""
        text = (
            f'Invalid JSON payload received. Unknown name "{location[-1]}"{at}: Cannot find field.'
        )
        path = parent
    else:
        text = f"Invalid value at '{path}': {message}"
    violation: dict[str, Any] = {"description": text}
    if path:
        violation["field"] = path
    return ApiError(
        "INVALID_ARGUMENT",
        text,
        [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}],
    )


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def to_ask(payload: object, model: Model, read_file: Callable[[str], bytes]) -> Ask:
    """Checks a GenerateContentRequest against the model and takes what answering needs.

    `read_file(uri)` gives an uploaded file's bytes.

    Raises:
        ApiError: the request is one that the real model would refuse.
    """
    request = parse(GenerateContentRequest, payload)
    config = request.generation_config
    parts = [part for content in request.contents for part in content.parts]
    if not parts:
        raise ApiError(
            "INVALID_ARGUMENT", "* GenerateContentRequest.contents: contents is not specified\n"
        )
    modalities = [m.upper() for m in config.response_modalities or ()]
    if unknown := [m for m in modalities if m not in ("TEXT", "IMAGE", "AUDIO")]:
        raise ApiError("INVALID_ARGUMENT", f"Invalid response modality: {unknown[0]}")
    if "IMAGE" in modalities and not draws(model):
        raise ApiError(
            "INVALID_ARGUMENT",
            "Model does not support the requested response modalities: image",
        )
    if request.tools or request.cached_content:
        raise ApiError("INVALID_ARGUMENT", "The sandbox has neither tools nor cached content.")
    image_config = config.image_config or ImageConfig()
    schema = config.response_json_schema or config.response_schema
    if schema is not None and config.response_mime_type != "application/json":
        raise ApiError(
            "INVALID_ARGUMENT",
            "Response schema is only supported with response mime type: 'application/json'.",
        )
    return Ask(
        model=model,
        prompt="\n".join(part.text for part in parts if part.text),
        system="\n".join(p.text or "" for p in (request.system_instruction or Content()).parts),
        images=tuple(_image(part, read_file) for part in parts if _carries_data(part)),
        ratio=_ratio(model, image_config.aspect_ratio),
        size=_size(model, image_config.image_size),
        thinking=_thinking(config.thinking_config),
        seed=config.seed,
        max_output_tokens=config.max_output_tokens,
        schema=schema,
        as_json=config.response_mime_type == "application/json",
    )


def _carries_data(part: Part) -> bool:
    return part.inline_data is not None or part.file_data is not None


def _image(part: Part, read_file: Callable[[str], bytes]) -> bytes:
    if part.inline_data is None:
        assert part.file_data is not None
        return read_file(part.file_data.file_uri)
    # Protobuf's JSON takes both base64 alphabets, padded or not; the SDK sends the URL-safe one.
    data = part.inline_data.data.translate(_STANDARD_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise ApiError(
            "INVALID_ARGUMENT", "Invalid value at 'inline_data.data': Base64 decoding failed"
        ) from error


def _ratio(model: Model, ratio: str | None) -> str:
    if ratio is None:
        return "1:1"
    if ratio not in model.ratios:
        allowed = ", ".join(model.ratios) or "none"
        raise ApiError(
            "INVALID_ARGUMENT",
            f"Aspect ratio {ratio} is not supported by {model.id}. Supported: {allowed}.",
        )
    return ratio


def _size(model: Model, size: str | None) -> str:
    if size is None:
        return "1K"
    if size not in model.sizes:
        allowed = ", ".join(model.sizes) or "none"
        raise ApiError(
            "INVALID_ARGUMENT",
            f"Image size {size} is not supported by {model.id}. Supported: {allowed}.",
        )
    return size


def _thinking(config: ThinkingConfig | None) -> str | None:
    if config is None or config.thinking_level is None:
        return None
    level = config.thinking_level.lower().removeprefix("thinking_level_")
    if level not in THINKING_LEVELS:
        raise ApiError("INVALID_ARGUMENT", f"Invalid thinking level: {config.thinking_level}")
    return level
