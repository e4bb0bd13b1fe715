"""An image server on your own GPUs, as vLLM-Omni and SGLang-Diffusion are: `/gpu/v1/images/…`.

It needs no key, knows models by the names of their weights, draws the same picture for the same
seed, and answers errors as `{"detail": …}`. Nothing costs anything here but time.
"""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from imagewave.sandbox.answers.answering import Answer
from imagewave.sandbox.batches.calls import answer_call
from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.ask import Ask
from imagewave.sandbox.core.errors import ApiError, answer_to
from imagewave.sandbox.core.http import Hangup, json_body, json_response
from imagewave.sandbox.core.models import served
from imagewave.sandbox.openai import wire as openai_wire
from imagewave.storage.catalog import Model

PREFIX = "/gpu/"
_STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "INTERNAL": 500}


class ImageRequest(BaseModel):
    """The body of a generation; an edit's form has the same fields."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    model: str | None = None
    n: int = 1
    size: str = "1024x1024"
    response_format: Literal["b64_json", "url"] = "url"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    # SGLang-Diffusion's default, which draws the same picture for everybody who says nothing.
    seed: int = 1024
    num_inference_steps: int | None = Field(default=None, ge=1, le=200)
    guidance_scale: float | None = Field(default=None, ge=0, le=20)
    negative_prompt: str | None = None


def build_app(service: Service) -> Starlette:
    """The server as an application of its own, for paths that begin with `PREFIX`."""
    server = _ImageServer(service)
    return Starlette(
        routes=[
            Route("/gpu/v1/models", server.list_models),
            Route("/gpu/v1/images/generations", server.draw, methods=["POST"]),
            Route("/gpu/v1/images/edits", server.draw, methods=["POST"]),
        ],
        exception_handlers={ApiError: _api_error, OSError: _api_error, HTTPException: _http_error},
    )


def key_error(request: Request) -> Response | None:
    """The answer to a key that is none: those that begin with `bad`."""
    if request.headers.get("authorization", "").removeprefix("Bearer ").startswith("bad"):
        return json_response({"error": "Unauthorized"}, 401)
    return None


class _ImageServer:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._calls: Counter[str] = Counter()

    async def list_models(self, request: Request) -> Response:
        data = [{"id": model.weights, "object": "model"} for model in served("self")]
        return json_response({"object": "list", "data": data})

    async def draw(self, request: Request) -> Response:
        faults = self._service.faults
        if faults.take("call_429"):
            raise ApiError("RESOURCE_EXHAUSTED", "The queue is full.")
        if faults.take("call_500"):
            raise ApiError("INTERNAL", "CUDA out of memory.")
        images: tuple[bytes, ...] = ()
        if request.url.path.endswith("/edits"):
            payload, images = await _form(request)
        else:
            payload = await json_body(request)
        answered = await asyncio.to_thread(self._answer, payload, images)
        return Hangup() if faults.take("call_dropped") else json_response(answered)

    def _answer(self, payload: object, images: tuple[bytes, ...]) -> dict[str, Any]:
        try:
            wanted = ImageRequest.model_validate(payload)
        except ValidationError as error:
            raise ApiError("INVALID_ARGUMENT", str(error.errors(include_url=False))) from error
        if wanted.response_format != "b64_json":
            message = "response_format='url' requires cloud storage to be configured."
            raise ApiError("INVALID_ARGUMENT", message)
        answered = answer_call(self._service, self._calls, _ask(wanted, images), _settled)
        if answered.error is not None:
            code, message = answered.error
            words = {3: "INVALID_ARGUMENT", 8: "RESOURCE_EXHAUSTED"}
            raise ApiError(words.get(code, "INTERNAL"), message)
        assert answered.response is not None
        return answered.response


def _ask(wanted: ImageRequest, images: tuple[bytes, ...]) -> Ask:
    model = _model_of(wanted.model)
    width, _, height = wanted.size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ApiError("INVALID_ARGUMENT", f"Invalid size format: '{wanted.size}'.")
    return Ask(
        model=model,
        prompt=wanted.prompt,
        images=images,
        pixels=(int(width), int(height)),
        output_format=wanted.output_format,
        seed=wanted.seed,
    )


def _model_of(name: str | None) -> Model:
    models = {model.weights: model for model in served("self")}
    if name is None or name not in models:
        raise ApiError("NOT_FOUND", f"The model `{name}` does not exist.")
    return models[name]


def _settled(ask: Ask | None, answered: Answer) -> Answer:
    """Gemini's answer as such a server would have given it: pictures, and no objections."""
    if answered.error is not None:
        return answered
    assert ask is not None, "only errors come without an ask"
    assert answered.response is not None
    parts = (answered.response.get("candidates") or [{}])[0].get("content", {}).get("parts", [])
    data = [
        {"b64_json": openai_wire.as_format(part["inlineData"]["data"], ask.output_format)}
        for part in parts
        if "inlineData" in part and not part.get("thought")
    ]
    return replace(answered, response={"created": 0, "data": data, "inference_time_s": 0.1})


async def _form(request: Request) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """An edit's fields, and its pictures in order."""
    fields: dict[str, Any] = {}
    images = []
    async with request.form() as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                images.append(await value.read())
            else:
                fields[name] = value
    if not images:
        raise ApiError("INVALID_ARGUMENT", "Field 'image' or 'url' is required")
    return fields, tuple(images)


async def _api_error(_: Request, error: Exception) -> Response:
    answer = answer_to(error)
    return json_response({"detail": answer.message}, _STATUS[answer.status])


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return json_response({"detail": error.detail}, error.status_code)
