"""The front door: `imagewave COMMAND …`. A command's module is imported when it is called.

Prefect alone takes a second to import, so each command is known here by name and line of help
only.
"""

import atexit
import importlib
import importlib.metadata
import keyword
import logging
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from imagewave.cli.terminal import printing
from imagewave.errors import ImagewaveError
from imagewave.loopback import spare_loopback
from imagewave.words import legible

# Name, what `imagewave --help` says of it, and whether its module holds several commands (`app`)
# or one (a function of the command's name).
_COMMANDS = {
    "run": "Run a wave: briefs in, accepted images out.",
    "once": "Make a few pictures of one prompt, now.",
    "import": "Bring in pictures that were made elsewhere, as a brief's drafts.",
    "plan": "Estimate what a wave will cost; spends nothing.",
    "rerun": "Make again what failed in a wave, and nothing else.",
    "status": "Show where waves stand and what is with the provider.",
    "watch": "Go on with waves that were left to it.",
    "deploy": "Put imagewave on a Prefect server: deployments, schedules, automations.",
    "upkeep": "Compact the facts, apply the retention policy, report orphans.",
    "webhook": "Take providers' webhooks, so that waves go on at once.",
    "report": "Write a wave's report again and print its path.",
    "sql": "Ask the facts: SQL over everything that was ever done.",
    "models": "List the models that are known, with prices and dates.",
    "doctor": "Check this machine, its keys and the catalog against the providers.",
    "sandbox": "Serve the stand-in for the providers' APIs, for those who write clients.",
}
_GROUPS = {"webhook", "models", "sandbox"}


class _Lazy(TyperGroup):
    """A group of stand-ins, whose names and lines of help are known without an import."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself in place of its stand-in."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name != "import":  # a folder of pictures may be called anything
            for word in rest:
                _require_utf8(word)
        return name, stand_in and _command(args[0]), rest


def _require_utf8(word: str) -> None:
    try:
        word.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(
            f"{legible(word)} is not UTF-8, which facts and reports could not name. Rename it."
        ) from None


def _command(name: str) -> Any:
    python_name = f"{name}_" if keyword.iskeyword(name) else name
    module = importlib.import_module(f"imagewave.cli.{python_name}")
    if name in _GROUPS:
        return typer.main.get_command(module.app)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    function = getattr(module, python_name)
    single.command(name=name, help=function.__doc__)(function)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=_Lazy,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Commands inherit it.
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _stand_in() -> None:
    """Is never called: `_Lazy` puts the command in its place."""


for _name, _help in _COMMANDS.items():
    app.command(_name, short_help=_help)(_stand_in)


def _print_version(wanted: bool) -> None:
    if wanted:
        printing.say(f"imagewave {importlib.metadata.version('imagewave')}")
        raise typer.Exit


@app.callback(epilog="First steps: imagewave run examples/spring-covers.toml")
def imagewave(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Turns a file of creative briefs into accepted, delivered images."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Runs the command line; errors with an owner are one message and exit status 1."""
    printing.set_up()
    spare_loopback()
    status = _Status()
    # Registered first, so that it runs last: after Prefect has sent what it still had to say.
    atexit.register(status.leave)
    # Retries are how it goes on; where they do not help, the error says so.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    try:
        app(argv)
    except SystemExit as exit:
        status.code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        raise
    except ImagewaveError as error:
        printing.tell(f"Error: {error}", lines=True)
        status.code = error.exit_code
        sys.exit(error.exit_code)
    except BaseException:
        status.code = 1
        raise
    sys.exit(0)


class _Status:
    """The exit status that the process will end with."""

    code = 0

    def leave(self) -> None:
        """Ends the process without tearing the interpreter down.

        That saves a quarter of the time of a light command. And with Prefect, whose daemon threads
        keep frames alive, DuckDB's bindings would print pages of leaked objects.
        """
        lost = printing.end()
        if lost is not None:
            printing.tell(f"Error: not all of it could be printed: {lost.strerror}.")
        os._exit(self.code or int(lost is not None))
