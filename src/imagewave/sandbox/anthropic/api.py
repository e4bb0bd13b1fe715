"""The Claude API's routes: models, messages and Message Batches."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from imagewave.sandbox.anthropic import results as anthropic_results
from imagewave.sandbox.anthropic.wire import (
    MAX_BYTES,
    MESSAGES,
    error_body,
    error_of,
    model_of,
    settled,
    status_of_line,
    to_ask,
)
from imagewave.sandbox.batches.calls import answer_call
from imagewave.sandbox.batches.faulty import (
    faulty_call,
    faulty_create,
    faulty_download,
    faulty_get,
    raise_armed,
    retry_details,
)
from imagewave.sandbox.batches.jobs import CANCELLED, EXPIRED, Job
from imagewave.sandbox.batches.order import newest_first
from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.disk import write_atomically
from imagewave.sandbox.core.errors import ApiError, answer_to
from imagewave.sandbox.core.files import new_id
from imagewave.sandbox.core.http import json_body, json_response
from imagewave.sandbox.core.models import listed

_BATCHES = f"{MESSAGES}/batches"
_WINDOW = timedelta(hours=24)
_MOST_LISTED = 1000
_VERSION = "anthropic-version"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def build_app(service: Service) -> Starlette:
    """The API as an application of its own, for requests that name a version of it."""
    api = _Anthropic(service)
    return Starlette(
        routes=[
            Route("/v1/models", api.list_models),
            Route("/v1/models/{name}", api.get_model),
            Route(MESSAGES, api.call, methods=["POST"]),
            Route(_BATCHES, api.create, methods=["POST"]),
            Route(_BATCHES, api.list_batches, methods=["GET"]),
            Route(_BATCHES + "/{name}", api.get_batch, methods=["GET"]),
            Route(_BATCHES + "/{name}/cancel", api.cancel, methods=["POST"]),
            Route(_BATCHES + "/{name}/results", api.results, methods=["GET"]),
        ],
        exception_handlers={ApiError: _api_error, OSError: _api_error, HTTPException: _http_error},
    )


def is_for_claude(request: Request) -> bool:
    """Whether the request is for this API: no other wants its version named."""
    return _VERSION in request.headers


def key_error(request: Request) -> Response | None:
    """The answer to a key that is none, or begins with `bad`, and to a version that is none."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    key = request.headers.get("x-api-key") or bearer
    if not key or key.startswith("bad"):
        return json_response(error_body("authentication_error", "invalid API key"), 401)
    version = request.headers[_VERSION]
    if not _DATE.fullmatch(version):
        message = f"anthropic-version: {version!r} is not a valid version"
        return json_response(error_body("invalid_request_error", message), 400)
    return None


class _Anthropic:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._calls: Counter[str] = Counter()

    async def list_models(self, request: Request) -> Response:
        data = [_model_view(model.id) for model in listed("anthropic", self._service.config)]
        return json_response({"data": data, "has_more": False, **_ends(data)})

    async def get_model(self, request: Request) -> Response:
        return json_response(_model_view(model_of(request.path_params["name"]).id))

    async def call(self, request: Request) -> Response:
        """A synchronous message."""

        async def answer() -> object:
            if len(await request.body()) > MAX_BYTES:
                raise ApiError("TOO_LARGE", "Request exceeds the maximum size")
            return await asyncio.to_thread(self._answer, await json_body(request))

        return await faulty_call(self._service.faults, _fault_error, answer)

    def _answer(self, payload: object) -> dict[str, Any]:
        answered = answer_call(self._service, self._calls, to_ask(payload), settled)
        if answered.error is not None:
            raise status_of_line(answered.error)
        assert answered.response is not None
        return answered.response

    async def create(self, request: Request) -> Response:
        """Accepts a batch; what is wrong with a request's `params` shows in its result."""

        async def accept() -> Job:
            return await self._accept(await request.body())

        view = partial(self._view, request=request)
        return await faulty_create(self._service.faults, _fault_error, accept, view)

    async def _accept(self, body: bytes) -> Job:
        service = self._service
        try:
            fields = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise ApiError(
                "INVALID_ARGUMENT", f"The request body is not valid JSON: {error}"
            ) from error
        if not isinstance(fields, dict) or fields.keys() != {"requests"}:
            raise ApiError("INVALID_ARGUMENT", "requests: Field required")
        requests = fields["requests"]
        anthropic_results.check(requests, len(body))
        if service.jobs.open_count() >= service.config.max_jobs:
            raise _fault_error("RESOURCE_EXHAUSTED", {})
        job_id = new_id()
        lines = b"".join(orjson.dumps(row) + b"\n" for row in requests)
        write_atomically(service.jobs.input_path(job_id), lines)
        return service.jobs.create(
            job_id=job_id,
            model=str(requests[0]["params"].get("model", "")),
            display_name="",
            source="",
            count=len(requests),
            endpoint=MESSAGES,
        )

    async def get_batch(self, request: Request) -> Response:
        faulty_get(self._service.faults, _fault_error)
        job = self._job(request)
        view = self._view(job, request)
        if job.end and self._service.faults.take("output_unnamed"):
            view["results_url"] = None
        return json_response(view)

    async def list_batches(self, request: Request) -> Response:
        """One page, newest first, after the batch that `after_id` names, or before another."""
        raise_armed(self._service.faults, "list_500", "INTERNAL", _fault_error)
        query = request.query_params
        limit = query.get("limit", "20")
        if not limit.isdecimal() or not 1 <= int(limit) <= _MOST_LISTED:
            raise ApiError("INVALID_ARGUMENT", "limit: Input should be between 1 and 1000")
        now = time.time()
        jobs = self._service.jobs.all()
        mine = [job for job in jobs if job.endpoint == MESSAGES and job.listed_from <= now]
        if after := query.get("after_id"):
            last = newest_first(self._named(after))
            mine = [job for job in mine if newest_first(job) > last]
        if before := query.get("before_id"):
            first = newest_first(self._named(before))
            mine = [job for job in mine if newest_first(job) < first]
            page = mine[-int(limit) :]
        else:
            page = mine[: int(limit)]
        data = [self._view(job, request) for job in page]
        return json_response({"data": data, "has_more": len(mine) > len(page), **_ends(data)})

    async def cancel(self, request: Request) -> Response:
        job = self._job(request)
        if job.end and job.end != CANCELLED:
            raise ApiError("INVALID_ARGUMENT", "Batch cannot be canceled: it has already ended.")
        self._service.jobs.cancel(job.id)
        return json_response(self._view(self._job(request), request))

    async def results(self, request: Request) -> Response:
        """The result file, streamed."""

        def find() -> Path:
            job = self._job(request)
            path = self._service.files.path(job.result or "none")
            if not path.exists():
                raise ApiError("NOT_FOUND", "The batch has no results available.")
            return path

        return faulty_download(self._service.faults, find, "application/x-jsonl", request)

    def _job(self, request: Request) -> Job:
        return self._named(str(request.path_params["name"]))

    def _named(self, name: str) -> Job:
        job = self._service.jobs.get(name.removeprefix("msgbatch_"))
        if job is None or job.endpoint != MESSAGES:
            raise ApiError("NOT_FOUND", f"Batch {name} not found.")
        return job

    def _view(self, job: Job, request: Request) -> dict[str, Any]:
        name = f"msgbatch_{job.id}"
        there = bool(job.end) and self._service.files.path(job.result).exists()
        left = job.count - job.succeeded - job.failed
        created = datetime.fromtimestamp(job.created, UTC)
        ended = datetime.fromtimestamp(job.ended, UTC).isoformat() if job.end else None
        return {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended" if job.end else "in_progress",
            "request_counts": {
                "processing": 0 if job.end else job.count,
                "succeeded": job.succeeded,
                "errored": job.failed,
                "canceled": left if job.end == CANCELLED else 0,
                "expired": left if job.end == EXPIRED else 0,
            },
            "created_at": created.isoformat(),
            "expires_at": (created + _WINDOW).isoformat(),
            "ended_at": ended,
            "archived_at": ended if job.end and not there else None,
            "cancel_initiated_at": ended if job.end == CANCELLED else None,
            "results_url": f"{request.base_url}{_BATCHES[1:]}/{name}/results" if there else None,
        }


def _ends(data: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _model_view(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def _fault_error(status: str, fault: Mapping[str, Any]) -> ApiError:
    if status == "RESOURCE_EXHAUSTED":
        message = "This request would exceed your organization's rate limit."
        return ApiError(status, message, retry_details(fault.get("retry_after")))
    return ApiError("INTERNAL", "Internal server error")


async def _api_error(_: Request, error: Exception) -> Response:
    status, body, headers = error_of(answer_to(error))
    return json_response(body, status, headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return json_response(error_body("not_found_error", "Not Found"), 404)
