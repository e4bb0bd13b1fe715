"""`imagewave webhook`: takes providers' webhooks."""

import os
import sys
from typing import Annotated

import typer

from imagewave.errors import ImagewaveError
from imagewave.storage.store import DEFAULT_STORE, Store

SECRET_VARIABLE = "IMAGEWAVE_WEBHOOK_SECRET"

app = typer.Typer(
    help="Take providers' webhooks, so that waves go on at once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def webhook() -> None:
    """Take providers' webhooks, so that waves go on at once."""


@app.command()
def serve(
    store: Annotated[str, typer.Option(help="Folder or URL of the store.")] = DEFAULT_STORE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65_535)] = 8787,
) -> None:
    """Serve POST /webhook; each signed one starts `watch` on the Prefect server.

    The provider's signing secret is read from IMAGEWAVE_WEBHOOK_SECRET. Listens on this machine
    only, unless --host says otherwise; put TLS in front of it. `watch` stays the truth: a webhook
    that is lost costs minutes, nothing else.

    Example:

      IMAGEWAVE_WEBHOOK_SECRET=whsec_… imagewave webhook serve --store s3://team/imagewave
    """
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret:
        raise ImagewaveError(
            f"{SECRET_VARIABLE} is not set: webhooks could not be told from forgeries.",
            "Set it to the signing secret that the provider showed when the webhook was made.",
        )
    import uvicorn

    from imagewave.deployments.server import require_server
    from imagewave.flows.webhook import app as application
    from imagewave.flows.webhook import start_watch

    opened = Store.open(store, create=False)
    built = application(secret, start_watch(opened.url))
    require_server()
    print(f"POST http://{host}:{port}/webhook starts watch on {opened.url}", file=sys.stderr)
    uvicorn.run(built, host=host, port=port, log_level="warning")
