"""`imagewave import`: pictures that were made elsewhere, as drafts of a brief."""

import os
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from imagewave.cli.terminal.advice import command
from imagewave.cli.terminal.options import StoreOption
from imagewave.cli.terminal.printing import say, tell
from imagewave.errors import ImagewaveError
from imagewave.providers.environment import realm_here
from imagewave.storage.realms import Realm, money_note
from imagewave.tasks.stores import store_to_fill
from imagewave.words import counted, redacted

_SHOWN = 10

UNKNOWN = "imported"
"""The source, in the catalog, of pictures of which nothing else is known."""


def import_(
    folder: Annotated[
        Path, typer.Argument(help="A folder of pictures, or one picture.", metavar="DIR")
    ],
    wave: Annotated[str, typer.Option(help="The wave file: a path or URL.")],
    brief: Annotated[str, typer.Option(help="The id of the brief that they were made for.")],
    source: Annotated[
        str, typer.Option(help="Where they come from: midjourney, … or imported.")
    ] = UNKNOWN,
    cost_usd: Annotated[
        float, typer.Option(help="What each did cost elsewhere, in USD.", min=0, max=1000)
    ] = 0,
    store: StoreOption = None,
) -> None:
    """Bring in pictures that were made elsewhere, as a brief's drafts.

    `imagewave run` then screens, judges and selects them like its own, before it asks for drafts:
    each that passes is one less to pay for. Bringing a picture in again changes nothing. Files that
    are no pictures are named and left out.

    Examples:

      imagewave import ~/midjourney --wave covers.toml --brief tulip-market --source midjourney

      imagewave import photos --wave covers.toml --brief tulip-market --cost-usd 0.05
    """
    from imagewave.providers.lanes import providers_of
    from imagewave.storage.waves.checks import nearest
    from imagewave.storage.waves.editions import choose
    from imagewave.storage.waves.wave_file import load_wave
    from imagewave.tasks.drafting.imports import bring_in, find_source

    made_by = find_source(source)
    of_file = load_wave(wave)
    ids = [each.id for each in of_file.briefs]
    if brief not in ids:
        raise ImagewaveError(f"{wave} has no brief {brief!r}.", nearest(brief, ids))
    files = _files(folder)
    providers = providers_of(of_file)
    opened = store_to_fill(store, providers)
    loaded = choose(opened, of_file)
    usd = Decimal(str(cost_usd))
    found = bring_in(opened, loaded, brief, files, source=made_by, usd_each=usd)
    for file, reason in list(found.refused.items())[:_SHOWN]:
        tell(f"No picture: {file}: {reason}.")
    if len(found.refused) > _SHOWN:
        tell(f"… and {len(found.refused) - _SHOWN} more.")
    if not found.new + found.known:
        raise ImagewaveError(f"There is no picture in {folder}.")
    # Before a store's first job, what a run from here would make it.
    realm = opened.realm or realm_here(providers) or Realm.SANDBOX
    cost = f", ${usd * found.new:.4f}{money_note(realm)}" if usd else ""
    before = f"; {found.known} were there before" if found.known else ""
    by = f" by {made_by.name}" if made_by.id != UNKNOWN else ""
    say(f"{counted(found.new, 'picture')}{by} for {brief}{cost}{before}.")
    if found.new:
        again = command(opened, f"run {shlex.quote(redacted(wave))}")
        say(f"{again} looks at them before it asks for drafts.")


def _files(folder: Path) -> list[Path]:
    """The files below the folder, hidden ones left out; a picture by itself is a folder of one."""
    # Not Path's own: a name that is too long, or that may not be looked at, is no file.
    if os.path.isfile(folder):
        return [folder]
    if not os.path.isdir(folder):
        raise ImagewaveError(f"There is no folder {folder}.")
    return [
        file
        for file in sorted(folder.rglob("*"))
        if os.path.isfile(file)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
