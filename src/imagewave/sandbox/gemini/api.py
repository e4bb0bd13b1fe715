"""The Gemini API's routes: models, files, batches and generateContent."""

import asyncio
import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from imagewave.sandbox.answers.answering import answer
from imagewave.sandbox.batches.faulty import faulty_call, faulty_create, faulty_get, raise_armed
from imagewave.sandbox.batches.jobs import Job
from imagewave.sandbox.batches.order import newest_first
from imagewave.sandbox.batches.results import count_lines
from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.files import new_id
from imagewave.sandbox.core.http import json_body, json_response
from imagewave.sandbox.core.ledger import Entry
from imagewave.sandbox.core.models import draws, listed
from imagewave.sandbox.core.prices import bill
from imagewave.sandbox.gemini import files as gemini_files
from imagewave.sandbox.gemini.views import batch_view, cut_page, model_view
from imagewave.sandbox.gemini.wire import CreateBatchRequest, parse, to_ask

VERSIONS = ("v1", "v1beta", "v1alpha")
_INLINE_LIMIT = 20_000_000
_JSON_LINES = ("application/jsonl", "jsonl")


def routes(service: Service) -> list[Route]:
    """All routes, for every version of the API in the path."""
    api = _Gemini(service)
    return [*gemini_files.routes(service, VERSIONS), *(r for v in VERSIONS for r in api.routes(v))]


class _Gemini:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._calls: Counter[str] = Counter()

    def routes(self, version: str) -> list[Route]:
        root = f"/{version}"
        return [
            Route(f"{root}/models", self.list_models),
            Route(f"{root}/models/{{name}}:generateContent", self.generate, methods=["POST"]),
            Route(f"{root}/models/{{name}}:batchGenerateContent", self.create, methods=["POST"]),
            Route(f"{root}/models/{{name}}", self.get_model),
            Route(f"{root}/batches", self.list_batches),
            Route(f"{root}/batches/{{name}}:cancel", self.cancel, methods=["POST"]),
            Route(f"{root}/batches/{{name}}", self.get_batch, methods=["GET"]),
            Route(f"{root}/batches/{{name}}", self.delete_batch, methods=["DELETE"]),
        ]

    async def list_models(self, request: Request) -> Response:
        models = listed("google", self._service.config)
        page, token = cut_page(request, models, lambda m: (0.0, m.id), default=50)
        return json_response({"models": [model_view(m) for m in page], **token})

    async def get_model(self, request: Request) -> Response:
        return json_response(model_view(self._service.model(_name(request), "getModel")))

    async def generate(self, request: Request) -> Response:
        async def answer() -> object:
            _check_size(len(await request.body()))
            payload = await json_body(request)
            return await asyncio.to_thread(self._answer, _name(request), payload)

        return await faulty_call(self._service.faults, _fault_error, answer)

    def _answer(self, name: str, payload: object) -> dict[str, Any]:
        service = self._service
        model = service.model(name, "generateContent")
        ask = to_ask(payload, model, service.read_file)
        # A call has no key: what it asks stands in for one.
        asked = f"{model.id}\0{ask.system}\0{ask.prompt}\0{ask.seed}"
        key = hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()
        defects = service.config.defects.choose(
            seed=service.config.seed,
            key=key,
            prompt=ask.prompt,
            wants_image=draws(model),
            has_references=bool(ask.images),
            asked_before=self._calls[key],
        )
        self._calls[key] += 1
        answered = answer(ask, key=key, defects=defects, tiny=service.config.tiny)
        entry = Entry(
            time=time.time(),
            job=f"calls/{new_id()}",
            line=0,
            key=None,
            model=model.id,
            batch=False,
            outcome=answered.outcome,
            reason=answered.reason,
            tokens=answered.tokens,
            usd=bill(model.id, answered.tokens, batch=False),
            defects=tuple(sorted(defects)),
        )
        service.ledger.record([entry])
        if answered.error is not None:
            code, message = answered.error
            raise ApiError(
                {3: "INVALID_ARGUMENT", 8: "RESOURCE_EXHAUSTED"}.get(code, "INTERNAL"), message
            )
        assert answered.response is not None
        return answered.response

    async def create(self, request: Request) -> Response:
        async def accept() -> Job:
            return await self._accept(_name(request), await json_body(request))

        view = partial(batch_view, self._service)
        return await faulty_create(self._service.faults, _fault_error, accept, view)

    async def _accept(self, name: str, payload: Any) -> Job:
        service = self._service
        model = service.model(name, "batchGenerateContent")
        batch = parse(CreateBatchRequest, payload).batch
        if service.jobs.open_count() >= service.config.max_jobs:
            raise _quota_error(
                f"You exceeded your quota of {service.config.max_jobs} concurrent batch jobs.",
                "BatchGenerateContentConcurrentJobsPerProject",
            )
        job_id = new_id()
        source = batch.input_config
        if source.requests is not None:
            rows = source.requests.requests
            encoded = b"".join(orjson.dumps(row) + b"\n" for row in rows)
            _check_size(len(encoded))
            service.jobs.input_path(job_id).write_bytes(encoded)
            file_id = ""
        elif source.file_name:
            stored = service.files.get(source.file_name.removeprefix("files/"))
            if stored.mime_type not in _JSON_LINES:
                raise ApiError(
                    "INVALID_ARGUMENT",
                    f"Unsupported MIME type of the input file: {stored.mime_type}",
                )
            file_id = stored.id
            # The job keeps its input, whatever becomes of the uploaded file.
            os.link(service.files.path(file_id), service.jobs.input_path(job_id))
        else:
            raise ApiError("INVALID_ARGUMENT", "batch.input_config: no input is given.")
        return service.jobs.create(
            job_id=job_id,
            model=model.id,
            display_name=batch.display_name,
            source=file_id,
            count=await asyncio.to_thread(count_lines, service.jobs.input_path(job_id)),
        )

    async def get_batch(self, request: Request) -> Response:
        faulty_get(self._service.faults, _fault_error)
        job = self._job(request)
        view = batch_view(self._service, job)
        if job.end and self._service.faults.take("output_unnamed"):
            view["metadata"].pop("output", None)
            view.pop("response", None)
        return json_response(view)

    async def list_batches(self, request: Request) -> Response:
        raise_armed(self._service.faults, "list_500", "INTERNAL", _fault_error)
        now = time.time()
        jobs = self._service.jobs.all()
        listed = [job for job in jobs if not job.endpoint and job.listed_from <= now]
        page, token = cut_page(request, listed, newest_first, default=50)
        operations = [batch_view(self._service, job, inline=False) for job in page]
        # An empty page is an empty object, without the list.
        return json_response({**({"operations": operations} if operations else {}), **token})

    async def cancel(self, request: Request) -> Response:
        self._service.jobs.cancel(self._job(request).id)
        return json_response({})

    async def delete_batch(self, request: Request) -> Response:
        self._service.jobs.delete(self._job(request).id)
        return json_response({})

    def _job(self, request: Request) -> Job:
        job = self._service.jobs.get(_name(request))
        if job is None or job.endpoint:
            raise ApiError("NOT_FOUND", "Requested entity was not found.")
        return job


def _check_size(size: int) -> None:
    if size > _INLINE_LIMIT:
        raise ApiError(
            "INVALID_ARGUMENT", f"Request payload size exceeds the limit: {_INLINE_LIMIT} bytes."
        )


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _fault_error(status: str, fault: Mapping[str, Any]) -> ApiError:
    if status == "RESOURCE_EXHAUSTED":
        return _quota_error("You exceeded your current quota.", "", fault.get("retry_after"))
    message = {"INTERNAL": "Internal error encountered."}.get(
        status, "The model is overloaded. Please try again later."
    )
    return ApiError(status, message, _retry_info(fault.get("retry_after")))


def _quota_error(message: str, quota_id: str, retry_after: float | None = None) -> ApiError:
    details = _retry_info(retry_after)
    if quota_id:
        failure = {"violations": [{"quotaId": quota_id}]}
        details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", **failure})
    return ApiError("RESOURCE_EXHAUSTED", message, details)


def _retry_info(retry_after: float | None) -> list[dict[str, Any]]:
    if retry_after is None:
        return []
    delay = f"{retry_after:g}s"
    return [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
