"""Gemini's request and error formats, checked as strictly as the real service checks them."""

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from imagewave.sandbox.answers.incoming import HEIC, HEIF, JPEG, PNG, WEBP, kind_of
from imagewave.sandbox.core.ask import Ask
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.models import draws
from imagewave.storage.catalog import Model

T = TypeVar("T", bound=BaseModel)
_STANDARD_ALPHABET = str.maketrans("-_", "+/")
THINKING_LEVELS = ("minimal", "low", "medium", "high")
_PICTURES = (PNG, JPEG, WEBP, HEIC, HEIF)
Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]


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
    role: Literal["user", "model"] | None = None
    parts: list[Part] = []


class ImageConfig(_Wire):
    aspect_ratio: str | None = None
    image_size: str | None = None


class ThinkingConfig(_Wire):
    thinking_level: str | None = None
    thinking_budget: Int32 | None = None
    include_thoughts: bool | None = None


class GenerationConfig(_Wire):
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: float | None = None
    candidate_count: Int32 | None = None
    max_output_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    stop_sequences: Annotated[list[str], Field(max_length=5)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: Int32 | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: Any = None
    response_modalities: list[str] | None = None
    media_resolution: (
        Literal[
            "MEDIA_RESOLUTION_UNSPECIFIED",
            "MEDIA_RESOLUTION_LOW",
            "MEDIA_RESOLUTION_MEDIUM",
            "MEDIA_RESOLUTION_HIGH",
        ]
        | None
    ) = None
    thinking_config: ThinkingConfig | None = None
    image_config: ImageConfig | None = None


class SafetySetting(_Wire):
    category: Literal[
        "HARM_CATEGORY_HARASSMENT",
        "HARM_CATEGORY_HATE_SPEECH",
        "HARM_CATEGORY_SEXUALLY_EXPLICIT",
        "HARM_CATEGORY_DANGEROUS_CONTENT",
        "HARM_CATEGORY_CIVIC_INTEGRITY",
    ]
    threshold: Literal[
        "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
        "BLOCK_LOW_AND_ABOVE",
        "BLOCK_MEDIUM_AND_ABOVE",
        "BLOCK_ONLY_HIGH",
        "BLOCK_NONE",
        "OFF",
    ]


class GenerateContentRequest(_Wire):
    model: str | None = None
    contents: list[Content] = []
    system_instruction: Content | None = None
    generation_config: GenerationConfig = GenerationConfig()
    safety_settings: list[SafetySetting] | None = None
    tools: list[Any] | None = None
    tool_config: Any = None
    cached_content: str | None = None
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
    if request.model and request.model.removeprefix("models/") != model.id:
        raise _invalid(f"The model {request.model} is not that of the call, models/{model.id}.")
    parts = [part for content in request.contents for part in content.parts]
    _check_parts(parts)
    _check_config(config, model)
    if request.tools or request.cached_content:
        raise _invalid("The sandbox has neither tools nor cached content.")
    pictures = [part for part in parts if _carries_data(part)]
    if draws(model) and len(pictures) > model.reference_limit:
        raise _invalid(
            f"The request has {len(pictures)} images; {model.id} takes {model.reference_limit}."
        )
    image_config = config.image_config or ImageConfig()
    schema = config.response_json_schema or config.response_schema
    return Ask(
        model=model,
        prompt="\n".join(part.text for part in parts if part.text),
        system="\n".join(p.text or "" for p in (request.system_instruction or Content()).parts),
        images=tuple(_image(part, read_file) for part in pictures),
        ratio=_ratio(model, image_config.aspect_ratio),
        size=_size(model, image_config.image_size),
        thinking=_thinking(model, config.thinking_config),
        seed=config.seed,
        max_output_tokens=config.max_output_tokens,
        schema=schema,
        as_json=config.response_mime_type == "application/json",
    )


def _invalid(message: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", message)


def _check_parts(parts: list[Part]) -> None:
    if not parts:
        raise _invalid("* GenerateContentRequest.contents: contents is not specified\n")
    for part in parts:
        given = [part.text, part.inline_data, part.file_data]
        if len(given) - given.count(None) != 1:
            raise _invalid(
                "* GenerateContentRequest.contents.parts.data: required oneof field 'data' must "
                "have one initialized field\n"
            )


def _check_config(config: GenerationConfig, model: Model) -> None:
    """Refuses what no model takes, and what this one does not."""
    modalities = [m.upper() for m in config.response_modalities or ()]
    if unknown := [m for m in modalities if m not in ("TEXT", "IMAGE", "AUDIO")]:
        raise _invalid(f"Invalid response modality: {unknown[0]}")
    missing = [m for m in modalities if m == "AUDIO" or (m == "IMAGE" and not draws(model))]
    if missing:
        raise _invalid(
            f"Model does not support the requested response modalities: {missing[0].lower()}"
        )
    if config.candidate_count not in (None, 1):
        raise _invalid("Multiple candidates is not enabled for this model")
    as_json = config.response_mime_type == "application/json"
    if draws(model) and as_json:
        raise _invalid(f"JSON mode is not enabled for models/{model.id}")
    if config.response_json_schema is not None and config.response_schema is not None:
        raise _invalid("response_json_schema must not be set when response_schema is set.")
    schema = config.response_json_schema or config.response_schema
    if schema is not None and not as_json:
        raise _invalid(
            "Response schema is only supported with response mime type: 'application/json'."
        )


def _carries_data(part: Part) -> bool:
    return part.inline_data is not None or part.file_data is not None


def _image(part: Part, read_file: Callable[[str], bytes]) -> bytes:
    if part.inline_data is not None:
        said, data = part.inline_data.mime_type, _decoded(part.inline_data.data)
    else:
        assert part.file_data is not None
        said, data = part.file_data.mime_type or "", read_file(part.file_data.file_uri)
    # Labels are believed first; bytes that are something else cannot be worked with.
    if said not in (*_PICTURES, "") or (not said and kind_of(data) not in _PICTURES):
        raise _invalid(f"Unsupported MIME type: {said or kind_of(data)}")
    if kind_of(data) not in _PICTURES:
        raise _invalid("Unable to process input image.")
    return data


def _decoded(data: str) -> bytes:
    # Protobuf's JSON takes both base64 alphabets, padded or not; the SDK sends the URL-safe one.
    data = data.translate(_STANDARD_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise _invalid("Invalid value at 'inline_data.data': Base64 decoding failed") from error


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
    if not model.send_size:
        raise _invalid(f"Image size {size} is not supported by {model.id}: leave imageSize out.")
    if size not in model.sizes:
        allowed = ", ".join(model.sizes) or "none"
        raise ApiError(
            "INVALID_ARGUMENT",
            f"Image size {size} is not supported by {model.id}. Supported: {allowed}.",
        )
    return size


def _thinking(model: Model, config: ThinkingConfig | None) -> str | None:
    if config is None or config.thinking_level is None:
        return None
    if config.thinking_budget is not None:
        raise _invalid("You can only set one of thinking budget and thinking level.")
    level = config.thinking_level.lower().removeprefix("thinking_level_")
    if level not in THINKING_LEVELS:
        raise _invalid(f"Invalid thinking level: {config.thinking_level}")
    if model.thinking and level not in model.thinking:
        raise _invalid(f"Thinking level {level} is not supported for this model.")
    return level
