"""The front door: help, version, completion, and hints after a slip of the keys."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from imagewave.cli import app

COMMANDS = [
    *("run", "once", "import", "plan", "rerun", "status", "watch", "deploy", "upkeep", "webhook"),
    *("report", "sql", "models", "doctor", "sandbox"),
]


def ask(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, prog_name="imagewave")
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command_whole(option: str) -> None:
    listed = ask(option).split("Commands:")[1]
    names = [line.split()[0] for line in listed.splitlines() if line[2:3].strip()]
    assert names[: len(COMMANDS)] == COMMANDS
    assert "..." not in listed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_short_and_long_help(command: str) -> None:
    said = ask(command, "-h")
    assert said == ask(command, "--help")
    assert f"imagewave {command}" in said
    assert "-h, --help" in said


def test_commands_of_commands_have_it_too() -> None:
    for words in (("sandbox", "serve"), ("models", "show"), ("webhook", "serve")):
        assert "-h, --help" in ask(*words, "-h")


def test_the_version() -> None:
    assert ask("--version") == "imagewave 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("pln", "w.toml"), "Did you mean 'plan'?"),
        (("statsu",), "Did you mean 'status'?"),
        (("run", "w.toml", "--stoer", "x"), "--store"),
        (("models", "shwo"), "Did you mean 'show'?"),
        (("sql", "--format", "cvs"), "'table', 'csv', 'json', 'parquet'"),
    ],
)
def test_a_slip_of_the_keys_is_wrong_usage_with_a_hint(
    arguments: tuple[str, ...], hint: str
) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert hint in result.stderr
    assert result.stdout == ""


COMPLETING = "import sys; sys.argv[0] = 'imagewave'; from imagewave.cli import main; main()"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("imagewave", "re"), ["rerun", "report"]),
        (("imagewave", "run", "--e"), ["--edition"]),
        (("imagewave", "sql", "--format", "c"), ["csv"]),
        (("imagewave", "sandbox", "s"), ["serve"]),
    ],
)
def test_the_shell_completes_commands_options_and_choices(
    words: tuple[str, ...], offered: list[str]
) -> None:
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETING],
        env={**os.environ, "_IMAGEWAVE_COMPLETE": "complete_bash", **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == offered
