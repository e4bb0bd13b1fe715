"""Takes providers' webhooks, so that a wave goes on as soon as its job has ended.

A webhook is only ever a reason to look sooner: it starts `watch`, which asks the provider itself.
A forged, repeated or lost one changes nothing. Signatures are those of Standard Webhooks
(https://www.standardwebhooks.com), as Gemini and OpenAI send them.
"""

import base64
from collections.abc import Callable

import httpx
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imagewave.errors import ImagewaveError
from imagewave.storage.store import Store

MAX_BYTES = 1_000_000
MIN_KEY_BYTES = 16
"""Standard Webhooks asks for 24 bytes or more; what is shorter than this can be guessed."""

Notify = Callable[[str], None]


class BadSecret(ImagewaveError):
    """The secret is not one that a provider gave out."""


class NoWatch(ImagewaveError):
    """There is nothing on the Prefect server for webhooks to start."""


class _TooLarge(Exception):
    """The body has more bytes than any webhook."""


def app(secret: str, notify: Notify) -> Starlette:
    """An application with `POST /webhook`; `notify` is called with the id of each true webhook.

    Answers 401 to what is not signed with the secret or older than five minutes, 413 to what is
    too large, and 503 when Prefect does not answer, so that the provider sends it again.

    Raises:
        BadSecret: the secret is not base64, with or without `whsec_` before it, or is cut short.
    """
    hook = Webhook(_key(secret))

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


WATCH = "watch/watch"


def require_watch() -> None:
    """Makes sure that there is what webhooks start.

    Raises:
        NoWatch: the Prefect server does not have it.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(WATCH)
        except ObjectNotFound:
            raise NoWatch(
                f"There is no deployment {WATCH}, which webhooks would start.",
                "`imagewave deploy` makes it.",
            ) from None


def start_watch(store: Store) -> Notify:
    """Starts the deployment `watch/watch` on the store, once per webhook id."""

    def notify(webhook_id: str) -> None:
        run_deployment(
            WATCH,
            parameters={"store": store.url},
            # A provider's webhook may be meant for several stores on one server.
            idempotency_key=f"webhook-{store.id}-{webhook_id}",
            timeout=0,
            as_subflow=False,
        )

    return notify


def _key(secret: str) -> bytes:
    """The bytes that webhooks are signed with. Spaces around the secret are copied by accident."""
    text = secret.strip().removeprefix("whsec_")
    try:
        # Strictly: what is no base64 would else be passed over, and each true webhook refused.
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise _bad_secret("is not base64") from None
    if len(key) < MIN_KEY_BYTES:
        raise _bad_secret("is cut short" if key else "is empty")
    return key


def _bad_secret(how: str) -> BadSecret:
    return BadSecret(
        f"The webhook secret {how}.", "Copy it whole, as the provider shows it: whsec_…"
    )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise _TooLarge
    return bytes(body)
