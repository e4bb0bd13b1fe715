"""The sandbox's own endpoints, under `/sandbox`: what a test turns and reads."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.config import BadConfig
from imagewave.sandbox.core.defects import UnknownDefect
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.faults import UnknownFault
from imagewave.sandbox.core.http import json_body, json_response
from imagewave.sandbox.gemini.views import batch_view


def routes(service: Service) -> list[Route]:
    """What it is, `config`, `faults`, `ledger`, `ledger/summary`, `jobs`, `jobs/{id}:release`."""
    control = _Control(service)
    return [
        Route("/sandbox", control.identity, methods=["GET"]),
        Route("/sandbox/config", control.config, methods=["GET", "PUT"]),
        Route("/sandbox/faults", control.faults, methods=["GET", "PUT", "DELETE"]),
        Route("/sandbox/ledger", control.ledger, methods=["GET"]),
        Route("/sandbox/ledger/summary", control.summary, methods=["GET"]),
        Route("/sandbox/jobs", control.jobs, methods=["GET"]),
        Route("/sandbox/jobs/{name}:release", control.release, methods=["POST"]),
    ]


class _Control:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def identity(self, request: Request) -> Response:
        """Says that this is a stand-in, so that nobody takes its pictures or its bill for real."""
        return json_response({"sandbox": "imagewave"})

    async def config(self, request: Request) -> Response:
        """Shows the settings; PUT changes those that are named."""
        if request.method == "PUT":
            try:
                merged = self._service.config.merged(await _object(request))
            except (BadConfig, UnknownDefect) as error:
                raise ApiError("INVALID_ARGUMENT", str(error)) from error
            self._service.configure(merged)
        return json_response(self._service.config.to_json())

    async def faults(self, request: Request) -> Response:
        """Shows what is armed; PUT arms, DELETE disarms all."""
        if request.method == "DELETE":
            self._service.faults.clear()
        if request.method == "PUT":
            try:
                self._service.faults.arm(await _object(request))
            except UnknownFault as error:
                raise ApiError("INVALID_ARGUMENT", str(error)) from error
        return json_response(self._service.faults.armed())

    async def ledger(self, request: Request) -> Response:
        """The whole ledger, as JSON Lines."""
        return Response(self._service.ledger.read(), media_type="application/jsonl")

    async def summary(self, request: Request) -> Response:
        """The ledger's totals."""
        return json_response(self._service.ledger.summary())

    async def jobs(self, request: Request) -> Response:
        """Every job, also those that the API's list does not show yet."""
        jobs = self._service.jobs.all()
        return json_response([batch_view(self._service, job, inline=False) for job in jobs])

    async def release(self, request: Request) -> Response:
        """Lets a stuck job start."""
        job = self._service.jobs.get(request.path_params["name"])
        if job is None or job.end:
            raise ApiError("NOT_FOUND", "There is no such open job.")
        self._service.jobs.release(job.id)
        return json_response({})


async def _object(request: Request) -> dict[str, Any]:
    body = await json_body(request)
    if not isinstance(body, dict):
        raise ApiError("INVALID_ARGUMENT", "The body must be a JSON object.")
    return body
