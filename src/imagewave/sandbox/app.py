"""The ASGI application: routes, keys and errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from imagewave.sandbox import control
from imagewave.sandbox.anthropic import api as anthropic
from imagewave.sandbox.anthropic import results as anthropic_results
from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.config import Config
from imagewave.sandbox.core.errors import ApiError, answer_to
from imagewave.sandbox.core.http import json_response
from imagewave.sandbox.gemini import api as gemini
from imagewave.sandbox.gemini import results as gemini_results
from imagewave.sandbox.gpu import image_server
from imagewave.sandbox.openai import api as openai
from imagewave.sandbox.openai import results as openai_results

_FORMATS = {**gemini_results.FORMATS, **openai_results.FORMATS, **anthropic_results.FORMATS}


def build_app(root: Path, config: Config) -> Starlette:
    """The application over a state folder. One process per folder."""
    service = Service(root, config, _FORMATS)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.jobs.resume()
        yield
        await service.jobs.stop()

    app = Starlette(
        routes=[*control.routes(service), *gemini.routes(service)],
        lifespan=lifespan,
        exception_handlers={
            ApiError: _google_error,
            OSError: _google_error,
            HTTPException: _http_error,
        },
    )
    app.add_middleware(
        _Keys,
        openai_app=openai.build_app(service),
        anthropic_app=anthropic.build_app(service),
        image_server=image_server.build_app(service),
    )
    return app


class _Keys:
    """Refuses callers without a key, and keys that begin with `bad`.

    Who names a version of Claude's API is passed on to that, and who brings a bearer token else to
    OpenAI's: the APIs share paths. The image server has its own.
    """

    def __init__(
        self, app: ASGIApp, openai_app: ASGIApp, anthropic_app: ASGIApp, image_server: ASGIApp
    ) -> None:
        self._app = app
        self._openai_app = openai_app
        self._anthropic_app = anthropic_app
        self._image_server = image_server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            if request.url.path.startswith(image_server.PREFIX):
                refused = image_server.key_error(request)
                await (refused or self._image_server)(scope, receive, send)
                return
            if anthropic.is_for_claude(request):
                refused = anthropic.key_error(request)
                await (refused or self._anthropic_app)(scope, receive, send)
                return
            if request.headers.get("authorization", "").startswith("Bearer "):
                refused = openai.key_error(request)
                await (refused or self._openai_app)(scope, receive, send)
                return
            error = _key_error(request)
            if error is not None:
                await json_response(error.body(), error.http_code)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _key_error(request: Request) -> ApiError | None:
    if request.url.path.startswith("/sandbox") or "upload_id" in request.query_params:
        return None
    key = request.headers.get("x-goog-api-key") or request.query_params.get("key") or ""
    if not key:
        return ApiError(
            "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API.",
        )
    if key.startswith("bad"):
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }
        message = "API key not valid. Please pass a valid API key."
        return ApiError("INVALID_ARGUMENT", message, [info])
    return None


async def _google_error(_: Request, error: Exception) -> Response:
    answer = answer_to(error)
    return json_response(answer.body(), answer.http_code)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    # Google knows no wrong methods, only paths that are not there.
    missing = ApiError("NOT_FOUND", str(error.detail))
    return json_response(missing.body(), missing.http_code)
