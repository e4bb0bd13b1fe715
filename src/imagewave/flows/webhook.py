"""Takes providers' webhooks, so that a wave goes on as soon as its job has ended.

A webhook is only ever a reason to look sooner: it starts `watch`, which asks the provider itself.
A forged, repeated or lost one changes nothing. Signatures are those of Standard Webhooks
(https://www.standardwebhooks.com), as Gemini and OpenAI send them.
"""

from collections.abc import Callable

import httpx
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imagewave.errors import ImagewaveError

MAX_BYTES = 1_000_000

Notify = Callable[[str], None]


class BadSecret(ImagewaveError):
    """The secret is not one that a provider gave out."""


class _TooLarge(Exception):
    """The body has more bytes than any webhook."""


def app(secret: str, notify: Notify) -> Starlette:
    """An application with `POST /webhook`; `notify` is called with the id of each true webhook.

    Answers 401 to what is not signed with the secret or older than five minutes, 413 to what is
    too large, and 503 when Prefect does not answer, so that the provider sends it again.

    Raises:
        BadSecret: the secret is not base64, with or without `whsec_` before it.
    """
    try:
        hook = Webhook(secret)
    except (ValueError, RuntimeError) as error:
        raise BadSecret(
            "The webhook secret is not base64.", "Copy it whole, as the provider shows it: whsec_…"
        ) from error

    async def take(request: Request) -> Response:
        try:
            body = await _body(request)
            hook.verify(body, dict(request.headers), json_parse=False)
        except _TooLarge:
            return JSONResponse({"error": "too large"}, status_code=413)
        except (WebhookVerificationError, ValueError):
            # Why it was refused would only help whoever forges.
            return JSONResponse({"error": "not signed by the provider"}, status_code=401)
        try:
            await run_in_threadpool(notify, request.headers["webhook-id"])
        except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound) as error:
            return JSONResponse({"error": f"Prefect: {error}"}, status_code=503)
        return JSONResponse({"ok": True})

    return Starlette(routes=[Route("/webhook", take, methods=["POST"])])


def start_watch(store: str) -> Notify:
    """Starts the deployment `watch/watch` on the store, once per webhook id."""

    def notify(webhook_id: str) -> None:
        run_deployment(
            "watch/watch",
            parameters={"store": store},
            idempotency_key=f"webhook-{webhook_id}",
            timeout=0,
            as_subflow=False,
        )

    return notify


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise _TooLarge
    return bytes(body)
