"""`imagewave doctor`: what is wrong here, before a wave finds out."""

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from imagewave.cli.terminal import printing
from imagewave.cli.terminal.options import StoreOption
from imagewave.storage.realms import Realm
from imagewave.tasks.stores import default_store

_WIDTH = 19


def doctor(
    store: StoreOption = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Ask the embedded sandbox, whatever keys there are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Check this machine, its keys, and the catalog against the providers' lists of models.

    One line per check: ok, warn or fail, what was seen, and the fix. Asks every provider whose key
    is in the environment for its models, which costs nothing; without any key, the embedded
    sandbox. Keys are never shown. Exits with 1 if a check fails.

    Examples:

      imagewave doctor

      imagewave doctor --store s3://team/imagewave --json
    """
    from imagewave.tasks.doctor import State, examine

    url = store or (Realm.SANDBOX.default_store if sandbox else default_store())
    failed = False
    findings = []
    with _surroundings(sandbox) as (environ, sandboxed):
        for finding in examine(url, environ, sandboxed=sandboxed):
            failed |= finding.state is State.FAIL
            if as_json:
                findings.append(dataclasses.asdict(finding))
                continue
            printing.say(f"{finding.state:<4}  {finding.check:<{_WIDTH}}  {finding.said}")
            if finding.fix:
                printing.say(f"{'':<4}  {'':<{_WIDTH}}  → {finding.fix}")
    if as_json:
        printing.answer(findings)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _surroundings(sandbox: bool) -> Iterator[tuple[Mapping[str, str], tuple[str, ...]]]:
    """The environment to ask providers with, and which of them the embedded sandbox plays."""
    from imagewave.providers.registry import with_keys

    listing = {name: each for name, each in with_keys().items() if each.list_models}
    if not sandbox and any(each.is_set_up(os.environ) for each in listing.values()):
        yield os.environ, ()
        return
    from imagewave.sandbox.embedded import EmbeddedSandbox

    with (
        tempfile.TemporaryDirectory(prefix="imagewave-doctor-") as folder,
        EmbeddedSandbox(Path(folder)) as running,
    ):
        yield {**os.environ, **running.environment()}, tuple(listing)
