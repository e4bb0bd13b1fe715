"""The front door: `imagewave COMMAND …`. A command's module is imported when it is called.

Prefect alone takes a second to import, so each command is known here by name and line of help
only.
"""

import atexit
import importlib
import keyword
import logging
import os
import sys
from typing import NoReturn

import typer
from typer._click.core import Command, Context
from typer._click.formatting import HelpFormatter
from typer.core import TyperGroup

from imagewave.errors import ImagewaveError

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
    """A group that knows its commands by name and imports one when it is wanted."""

    def list_commands(self, ctx: Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        if cmd_name not in _COMMANDS:
            return None
        python_name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f"imagewave.cli.{python_name}")
        if cmd_name in _GROUPS:
            return typer.main.get_command(module.app)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        function = getattr(module, python_name)
        single.command(name=cmd_name, help=function.__doc__)(function)
        return typer.main.get_command(single)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


app = typer.Typer(
    cls=_Lazy,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(epilog="First steps: imagewave run examples/spring-covers.toml")
def imagewave() -> None:
    """Turns a file of creative briefs into accepted, delivered images."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Runs the command line; errors with an owner are one message and exit status 1."""
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
        print(f"Error: {error}", file=sys.stderr)
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
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.code)
