"""`imagewave import`: pictures that were made elsewhere, as drafts of a brief."""

import shlex
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from imagewave.cli.commands import command
from imagewave.errors import ImagewaveError
from imagewave.storage.store import DEFAULT_STORE, Store
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
    store: Annotated[
        str, typer.Option(help="Where everything is kept: a folder or s3://bucket/prefix.")
    ] = DEFAULT_STORE,
) -> None:
    """Bring in pictures that were made elsewhere, as a brief's drafts.

    `imagewave run` then screens, judges and selects them like its own, before it asks for drafts:
    each that passes is one less to pay for. Bringing a picture in again changes nothing. Files that
    are no pictures are named and left out.

    Examples:

      imagewave import ~/midjourney --wave covers.toml --brief tulip-market --source midjourney

      imagewave import photos --wave covers.toml --brief tulip-market --cost-usd 0.05
    """
    from imagewave.storage.wavecheck import nearest
    from imagewave.storage.wavefile import load_wave
    from imagewave.tasks.imports import bring_in, find_source

    made_by = find_source(source)
    loaded = load_wave(wave)
    ids = [each.id for each in loaded.briefs]
    if brief not in ids:
        raise ImagewaveError(f"{wave} has no brief {brief!r}.", nearest(brief, ids))
    files = _files(folder)
    opened = Store.open(store)
    usd = Decimal(str(cost_usd))
    found = bring_in(opened, loaded, brief, files, source=made_by, usd_each=usd)
    for file, reason in list(found.refused.items())[:_SHOWN]:
        print(f"No picture: {file}: {reason}.", file=sys.stderr)
    if len(found.refused) > _SHOWN:
        print(f"… and {len(found.refused) - _SHOWN} more.", file=sys.stderr)
    if not found.new + found.known:
        raise ImagewaveError(f"There is no picture in {folder}.")
    cost = f", ${usd * found.new:.4f}" if usd else ""
    before = f"; {found.known} were there before" if found.known else ""
    by = f" by {made_by.name}" if made_by.id != UNKNOWN else ""
    print(f"{counted(found.new, 'picture')}{by} for {brief}{cost}{before}.")
    if found.new:
        again = command(opened, f"run {shlex.quote(redacted(wave))}")
        print(f"{again} looks at them before it asks for drafts.")


def _files(folder: Path) -> list[Path]:
    """The files below the folder, hidden ones left out; a picture by itself is a folder of one."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ImagewaveError(f"There is no folder {folder}.")
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
