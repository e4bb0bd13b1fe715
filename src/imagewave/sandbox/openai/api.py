"""The OpenAI API's routes: models, files, batches, images and chat completions."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pybase64
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from imagewave.sandbox.batches.calls import answer_call
from imagewave.sandbox.batches.faulty import (
    faulty_call,
    faulty_create,
    faulty_get,
    raise_armed,
    retry_details,
)
from imagewave.sandbox.batches.jobs import CANCELLED, EXPIRED, FAILED, PENDING, SUCCEEDED, Job
from imagewave.sandbox.batches.order import newest_first
from imagewave.sandbox.batches.results import count_lines
from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.errors import ApiError, answer_to
from imagewave.sandbox.core.files import new_id
from imagewave.sandbox.core.http import json_body, json_response
from imagewave.sandbox.core.models import listed
from imagewave.sandbox.openai import files as openai_files
from imagewave.sandbox.openai.results import first_model
from imagewave.sandbox.openai.wire import (
    CHAT,
    EDITS,
    ENDPOINTS,
    IMAGES,
    error_body,
    error_of,
    model_of,
    settled,
    to_ask,
)

_STATES = {
    PENDING: "validating",
    SUCCEEDED: "completed",
    FAILED: "failed",
    CANCELLED: "cancelled",
    EXPIRED: "expired",
}
_ENDED_AT = {SUCCEEDED: "completed_at", FAILED: "failed_at", CANCELLED: "cancelled_at"}
_WINDOW_S = 24 * 3600
_BATCH_FIELDS = {
    "completion_window",
    "endpoint",
    "input_file_id",
    "metadata",
    "output_expires_after",
}
_PAIRS, _KEY_LENGTH, _VALUE_LENGTH = 16, 64, 512
# The last part of a batch's running time, in which OpenAI puts its files together.
_FINALIZING = 0.8
# An edit's pictures come as one file or as several.
_FORM_PICTURES = ("image", "image[]")


def build_app(service: Service) -> Starlette:
    """The API as an application of its own, for requests that carry a bearer token."""
    api = _OpenAI(service)
    return Starlette(
        routes=[
            *openai_files.routes(service),
            Route("/v1/models", api.list_models),
            Route("/v1/models/{name}", api.get_model),
            Route(IMAGES, api.call, methods=["POST"]),
            Route(EDITS, api.call, methods=["POST"]),
            Route(CHAT, api.call, methods=["POST"]),
            Route("/v1/batches", api.create, methods=["POST"]),
            Route("/v1/batches", api.list_batches, methods=["GET"]),
            Route("/v1/batches/{name}", api.get_batch, methods=["GET"]),
            Route("/v1/batches/{name}/cancel", api.cancel, methods=["POST"]),
        ],
        exception_handlers={ApiError: _api_error, OSError: _api_error, HTTPException: _http_error},
    )


def key_error(request: Request) -> Response | None:
    """The answer to a key that is none: those that begin with `bad`."""
    if request.headers["authorization"].partition(" ")[2].startswith("bad"):
        return json_response(error_body(401, "Incorrect API key provided."), 401)
    return None


class _OpenAI:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._calls: Counter[str] = Counter()

    async def list_models(self, request: Request) -> Response:
        data = [_model_view(model.id) for model in listed("openai", self._service.config)]
        return json_response({"object": "list", "data": data})

    async def get_model(self, request: Request) -> Response:
        return json_response(_model_view(model_of(request.path_params["name"]).id))

    async def call(self, request: Request) -> Response:
        """A synchronous request."""

        async def answer() -> object:
            form = "multipart/form-data" in request.headers.get("content-type", "")
            payload = await _form_payload(request) if form else await json_body(request)
            return await asyncio.to_thread(self._answer, request.url.path, payload)

        return await faulty_call(self._service.faults, _fault_error, answer)

    def _answer(self, endpoint: str, payload: object) -> dict[str, Any]:
        service = self._service
        ask = to_ask(endpoint, payload, service.read_file)
        answered = answer_call(service, self._calls, ask, settled)
        if answered.error is not None:
            status, message = answered.error
            words = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED"}
            raise ApiError(words.get(status, "INTERNAL"), message)
        assert answered.response is not None
        return answered.response

    async def create(self, request: Request) -> Response:
        """Accepts a batch; what is wrong with its input shows when it is validated."""

        async def accept() -> Job:
            return await self._accept(await json_body(request))

        return await faulty_create(self._service.faults, _fault_error, accept, _batch_view)

    async def _accept(self, payload: Any) -> Job:
        service = self._service
        fields = payload if isinstance(payload, dict) else {}
        endpoint, metadata = fields.get("endpoint"), fields.get("metadata") or {}
        if endpoint not in ENDPOINTS:
            raise ApiError("INVALID_ARGUMENT", f"Invalid value: '{endpoint}' for 'endpoint'.")
        if fields.get("completion_window") != "24h":
            raise ApiError("INVALID_ARGUMENT", "Invalid value for 'completion_window'.")
        if unknown := fields.keys() - _BATCH_FIELDS:
            raise ApiError("INVALID_ARGUMENT", f"Unknown parameter: '{min(unknown)}'.")
        if (
            not isinstance(metadata, dict)
            or len(metadata) > _PAIRS
            or any(
                len(name) > _KEY_LENGTH or not isinstance(text, str) or len(text) > _VALUE_LENGTH
                for name, text in metadata.items()
            )
        ):
            raise ApiError("INVALID_ARGUMENT", "Invalid 'metadata'.")
        stored = service.files.get(str(fields.get("input_file_id", "")))
        if stored.mime_type != "batch":
            raise ApiError("INVALID_ARGUMENT", "The file's purpose is not 'batch'.")
        if service.jobs.open_count() >= service.config.max_jobs:
            raise _fault_error("RESOURCE_EXHAUSTED", {})
        job_id = new_id()
        source = service.jobs.input_path(job_id)
        os.link(service.files.path(stored.id), source)
        return service.jobs.create(
            job_id=job_id,
            model=await asyncio.to_thread(first_model, source),
            display_name="",
            source=stored.id,
            count=await asyncio.to_thread(count_lines, source),
            endpoint=endpoint,
            metadata=metadata,
        )

    async def get_batch(self, request: Request) -> Response:
        faulty_get(self._service.faults, _fault_error)
        job = self._job(request)
        view = _batch_view(job)
        if job.end and self._service.faults.take("output_unnamed"):
            view["output_file_id"] = view["error_file_id"] = None
        return json_response(view)

    async def list_batches(self, request: Request) -> Response:
        """One page, newest first, after the batch that `after` names."""
        raise_armed(self._service.faults, "list_500", "INTERNAL", _fault_error)
        query = request.query_params
        limit = query.get("limit", "20")
        if not limit.isdecimal() or not 1 <= int(limit) <= 100:
            raise ApiError("INVALID_ARGUMENT", "Invalid 'limit': it is between 1 and 100.")
        now = time.time()
        jobs = self._service.jobs.all()
        mine = [job for job in jobs if job.endpoint in ENDPOINTS and job.listed_from <= now]
        if after := query.get("after"):
            last = self._named(after)
            mine = [job for job in mine if newest_first(job) > newest_first(last)]
        page = mine[: int(limit)]
        return json_response(
            {
                "object": "list",
                "data": [_batch_view(job) for job in page],
                "first_id": _id(page[0]) if page else None,
                "last_id": _id(page[-1]) if page else None,
                "has_more": len(mine) > len(page),
            }
        )

    async def cancel(self, request: Request) -> Response:
        job = self._job(request)
        if job.end and job.end != CANCELLED:
            raise ApiError(
                "INVALID_ARGUMENT", f"Cannot cancel a batch with status '{_STATES[job.end]}'."
            )
        self._service.jobs.cancel(job.id)
        return json_response(_batch_view(self._job(request)))

    def _job(self, request: Request) -> Job:
        return self._named(str(request.path_params["name"]))

    def _named(self, name: str) -> Job:
        job = self._service.jobs.get(name.removeprefix("batch_"))
        if job is None or job.endpoint not in ENDPOINTS:
            raise ApiError("NOT_FOUND", f"No batch found with id '{name}'.")
        return job


async def _form_payload(request: Request) -> dict[str, Any]:
    """An edit that came as a form, as the JSON that says the same."""
    payload: dict[str, Any] = {}
    images = []
    async with request.form() as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name not in _FORM_PICTURES:
                    raise ApiError("INVALID_ARGUMENT", f"The sandbox takes no '{name}'.")
                data = pybase64.b64encode(await value.read()).decode("ascii")
                kind = value.content_type or "image/png"
                images.append({"image_url": f"data:{kind};base64,{data}"})
            else:
                payload[name] = int(value) if name in ("n", "output_compression") else value
    return {**payload, "images": images}


def _model_view(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "openai"}


def _id(job: Job) -> str:
    return f"batch_{job.id}"


def _batch_view(job: Job) -> dict[str, Any]:
    now = time.time()
    state = job.state(now)
    view: dict[str, Any] = {
        "id": _id(job),
        "object": "batch",
        "endpoint": job.endpoint,
        "errors": None,
        "input_file_id": job.source,
        "completion_window": "24h",
        "status": _STATES.get(state, "in_progress"),
        "output_file_id": job.result or None,
        "error_file_id": job.errors or None,
        "created_at": int(job.created),
        "expires_at": int(job.created + _WINDOW_S),
        "request_counts": {
            "total": job.count,
            "completed": job.succeeded,
            "failed": job.failed,
        },
        "metadata": job.metadata or None,
        "model": job.model or None,
    }
    if not job.end and now >= job.starts + _FINALIZING * (job.due - job.starts):
        view["status"] = "finalizing" if state != PENDING else view["status"]
    if job.end:
        view[_ENDED_AT.get(job.end, "expired_at")] = int(job.ended)
    if job.end == FAILED:
        line = {"code": "invalid_request", "line": None, "message": job.message, "param": None}
        view["errors"] = {"object": "list", "data": [line]}
    return view


def _fault_error(status: str, fault: Mapping[str, Any]) -> ApiError:
    if status == "RESOURCE_EXHAUSTED":
        message = "Rate limit reached for requests."
        return ApiError(status, message, retry_details(fault.get("retry_after")))
    return ApiError("INTERNAL", "The server had an error while processing your request.")


async def _api_error(_: Request, error: Exception) -> Response:
    status, body, headers = error_of(answer_to(error))
    return json_response(body, status, headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return json_response(error_body(404, "Invalid URL"), 404)
