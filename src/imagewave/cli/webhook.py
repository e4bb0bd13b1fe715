"""`imagewave webhook`: takes providers' webhooks."""

import os
from typing import Annotated

import typer

from imagewave.cli.terminal.options import StoreOption
from imagewave.cli.terminal.printing import tell
from imagewave.errors import ImagewaveError
from imagewave.tasks.stores import store_to_read

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
    store: StoreOption = None,
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
    secret = os.environ.get(SECRET_VARIABLE, "").strip()
    if not secret:
        raise ImagewaveError(
            f"{SECRET_VARIABLE} is not set: webhooks could not be told from forgeries.",
            "Set it to the signing secret that the provider showed when the webhook was made.",
        )
    import uvicorn

    from imagewave.deployments.deploy import require_server
    from imagewave.flows.prefect.webhook import app as application
    from imagewave.flows.prefect.webhook import require_watch, start_watch

    opened = store_to_read(store)
    built = application(secret, start_watch(opened))
    require_server()
    require_watch()
    tell(f"POST http://{host}:{port}/webhook starts watch on {opened.url}")
    uvicorn.run(built, host=host, port=port, log_level="warning")
