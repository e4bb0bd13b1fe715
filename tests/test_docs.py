"""README and docs/ name what there is: variables, commands, options, files, headings."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from imagewave.cli import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [
    path for path in (ROOT / "src").rglob("*") if path.suffix in (".py", ".yaml", ".env", ".toml")
]
VARIABLE = re.compile(r"\bIMAGEWAVE_[A-Z_]+\b")
# Fenced code, indented code, code within a line.
CODE = re.compile(r"^```.*?\n(.*?)^```|^ {4}(\S[^\n]*)$|`([^`]+)`", re.MULTILINE | re.DOTALL)
# A command line ends at a pipe, a comment, or wide spaces before what it does.
COMMAND = re.compile(
    r"(?:^|[\s/])(?<!import )imagewave ([a-z]+(?: .*?)?)(?=$|[|#;&]|  )", re.MULTILINE
)
# Code, where pages name files; those with a placeholder are no files of ours.
FILE = re.compile(
    r"`((?:src/imagewave|benchmarks|examples|tests|tasks|storage|flows|providers|deployments|cli"
    r"|pictures|sandbox)/[\w./-]+\.\w+)`"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    outside = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> dict[str, Any]:
    """Every command by the words that call it."""
    top: Any = typer.main.get_command(app)
    context = typer.Context(top)
    found = {}
    for name in top.list_commands(context):
        command: Any = top.resolve_command(context, [name])[1]
        found[name] = command
        for below, child in getattr(command, "commands", {}).items():
            found[f"{name} {below}"] = child
    return found


COMMANDS = commands()


def called() -> Iterator[tuple[str, str]]:
    """Each call of a command that a page shows as code, with the page's name."""
    for page in PAGES:
        for fenced, indented, within in CODE.findall(text_of(page)):
            code = fenced or indented or " ".join(within.split())
            for line in COMMAND.findall(code):
                yield page.name, line.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(text_of(page)):
        path, _, heading = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if heading:
            assert heading in anchors(target), link


def test_the_readme_leads_to_every_page() -> None:
    linked = {(ROOT / link).resolve() for link in LINK.findall(text_of(README))}
    assert set(PAGES) - {README} <= linked


def test_settings_has_every_variable_and_no_other() -> None:
    used = {name for path in SOURCES for name in VARIABLE.findall(path.read_text("utf-8"))}
    settings = set(VARIABLE.findall(text_of(ROOT / "docs" / "settings.md")))
    assert settings == used
    for page in PAGES:
        assert set(VARIABLE.findall(text_of(page))) <= used, page.name


def test_pages_show_commands() -> None:
    assert len(set(called())) > 50


@pytest.mark.parametrize(("page", "line"), sorted(set(called())))
def test_a_command_has_the_options_that_a_page_gives_it(page: str, line: str) -> None:
    words = line.split()
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    assert name in COMMANDS, f"{page} names `imagewave {line}`"
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    known |= {option for parameter in COMMANDS[name].params for option in parameter.secondary_opts}
    given = re.findall(r"(?<=\s)--?[a-z][a-z-]*", line)
    assert set(given) <= known | {"--help"}, f"{page}: `imagewave {line}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    for name in FILE.findall(text_of(page)):
        roots = (ROOT, ROOT / "src" / "imagewave", ROOT / "src" / "imagewave" / "tasks")
        assert any((root / name).exists() for root in roots), name
