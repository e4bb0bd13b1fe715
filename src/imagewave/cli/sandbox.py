"""`imagewave sandbox`: the stand-in for the providers' APIs, run alone."""

from pathlib import Path
from typing import Annotated

import typer

from imagewave.cli.terminal.printing import say

app = typer.Typer(
    help="A stand-in for the APIs of Gemini, OpenAI and Claude, for those who write clients.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_SERVE_HELP = """Serve the APIs of Gemini, OpenAI and Claude on a port, without those who run them.

It draws its own pictures, plants defects at known rates, and keeps a ledger of what a real
service would have billed. Any key is accepted, except an empty one and those that begin with
"bad". Everything lives in the state folder and survives a restart.
"""

_SERVE_EXAMPLES = """\b
Examples:
  imagewave sandbox serve
  imagewave sandbox serve --port 8765 --state ./sandbox --defects harsh
  imagewave sandbox serve --defects none --tiny 16 --pending 0 --running 0

\b
Point a client at it:
  export GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8765 GEMINI_API_KEY=any
  export OPENAI_BASE_URL=http://127.0.0.1:8765/v1 OPENAI_API_KEY=any
  export ANTHROPIC_BASE_URL=http://127.0.0.1:8765 ANTHROPIC_API_KEY=any
  export IMAGEWAVE_GPU_BASE_URL=http://127.0.0.1:8765/gpu/v1 IMAGEWAVE_GPU_USD_PER_HOUR=1

\b
While it runs:
  curl localhost:8765/sandbox/ledger/summary
  curl -X PUT localhost:8765/sandbox/config -d '{"defects": {"blank": 0.2}}'
  curl -X PUT localhost:8765/sandbox/faults -d '{"get_500": 2, "job_stuck": 1}'

\b
A file for --defects has settings at the top and rates in a table:
  pending_s = 2.0
  [defects]
  blank = 0.05
"""


@app.callback()
def sandbox() -> None:
    """A stand-in for the APIs of Gemini, OpenAI and Claude, for those who write clients."""


@app.command("serve", help=_SERVE_HELP, epilog=_SERVE_EXAMPLES)
def serve_command(
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65_535)
    ] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    state: Annotated[Path, typer.Option(help="Folder for jobs, files and the ledger.")] = Path(
        "imagewave-sandbox"
    ),
    defects: Annotated[
        str, typer.Option(help="What goes wrong: none, mild, harsh, or a TOML file.")
    ] = "mild",
    seed: Annotated[
        int | None, typer.Option(help="Deals the defects; another seed, others.")
    ] = None,
    tiny: Annotated[int | None, typer.Option(help="Divide the pictures' edges by this.")] = None,
    pending: Annotated[float | None, typer.Option(help="Seconds a job is PENDING.")] = None,
    running: Annotated[float | None, typer.Option(help="Seconds a job is RUNNING.")] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help='Write {"url": …} here once requests are taken.')
    ] = None,
    exit_with_parent: Annotated[
        bool, typer.Option("--exit-with-parent", help="Stop when standard input is closed.")
    ] = False,
) -> None:
    """Runs the server until it is told to stop."""
    from imagewave.errors import ImagewaveError
    from imagewave.sandbox.core.config import BadConfig, Config, read_config
    from imagewave.sandbox.core.defects import UnknownDefect
    from imagewave.sandbox.core.disk import FolderInUse
    from imagewave.sandbox.server import listen, serve, write_ready_file

    given = {"seed": seed, "tiny": tiny, "pending_s": pending, "running_s": running}
    settings = {name: value for name, value in given.items() if value is not None}
    try:
        if defects.endswith(".toml"):
            config = Config().merged(read_config(Path(defects))).merged(settings)
        else:
            config = Config().merged({**settings, "defects": defects})
    except (BadConfig, UnknownDefect, OSError) as error:
        raise ImagewaveError(f"The sandbox cannot be set up: {error}.") from error

    def ready(url: str) -> None:
        say(f"sandbox ready at {url}", flush=True)
        if ready_file is not None:
            write_ready_file(ready_file, url)

    try:
        listener = listen(host, port)
    except OSError as error:
        raise ImagewaveError(
            f"The sandbox cannot listen on {host}:{port}: {error.strerror}.",
            "Choose another --port; 0 picks a free one.",
        ) from error
    try:
        serve(state, config, listener=listener, on_ready=ready, exit_with_parent=exit_with_parent)
    except FolderInUse as error:
        raise ImagewaveError(f"The sandbox cannot start: {error}.") from error
    except OSError as error:
        raise ImagewaveError(
            f"The sandbox cannot keep its state in {state}: {error.strerror or error}.",
            "Name a folder that can be written with --state.",
        ) from error
