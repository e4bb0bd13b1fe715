"""`imagewave rerun`: makes what failed again, and nothing else."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagewave.cli.run import conclude, make
from imagewave.cli.terminal import printing
from imagewave.cli.terminal.advice import command
from imagewave.cli.terminal.options import StoreOption
from imagewave.cli.terminal.shortfall import in_words
from imagewave.errors import ImagewaveError
from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store
from imagewave.tasks.reporting import standing
from imagewave.tasks.stores import store_to_go_on
from imagewave.words import redacted

if TYPE_CHECKING:
    from imagewave.storage.waves.wave import Wave
    from imagewave.tasks.rerun import Failure


def rerun(
    wave: Annotated[
        str,
        typer.Argument(help="A wave file, or the name of a wave of the store.", metavar="WAVE"),
    ],
    brief: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this brief; may be repeated. Left out: all that lack pictures.",
            metavar="ID",
        ),
    ] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="Send what was refused again, word for word.")
    ] = False,
    rejected: Annotated[
        bool,
        typer.Option("--rejected", help="Draw a further sample for each draft that was rejected."),
    ] = False,
    where: Annotated[
        str,
        typer.Option(help="SQL over these requests instead, such as \"reason = 'UNDECODABLE'\"."),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option(help="List it with its price, and send nothing.")
    ] = False,
    store: StoreOption = None,
    wait: Annotated[
        bool, typer.Option(help="Wait for the provider's jobs; else come back later.")
    ] = True,
    edition: Annotated[
        str, typer.Option(help="Of this edition; left out: the newest, or the one in WAVE's name.")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; progress goes to stderr.")
    ] = False,
) -> None:
    """Make again what failed in a wave, for briefs that lack pictures, and nothing else.

    What was refused stays refused until its words change, unless --refused sends it again. With
    --rejected, briefs whose drafts were screened out, or failed the judge, get as many further
    ones, whatever the wave file allows. What comes of all that goes on through screens, judge,
    finals and delivery; what is delivered already stays. Ends with 4 where the wave still has
    nothing to deliver.

    Examples:

      imagewave rerun covers.toml --dry-run

      imagewave rerun spring-covers --brief hero-1 --brief hero-2

      imagewave rerun covers.toml --refused --brief crowd

      imagewave rerun covers.toml --rejected --dry-run

      imagewave rerun covers.toml --where "status = 'refused' AND reason = 'IMAGE_SAFETY'"
    """
    if where and (brief or refused or rejected):
        raise typer.BadParameter("it goes without the other options.", param_hint="--where")
    with printing.answering_in_json(as_json):
        opened, file, loaded = _wave(store, wave, edition, brief or ())
        from imagewave.tasks.rerun import condition, failures, price, under_way

        where = where or condition(briefs=brief or (), refused=refused, rejected=rejected)
        picked = failures(opened, loaded.name, loaded.revision, where)
        costs = price(picked, loaded)
        more = {
            "picked": [_plain(each) for each in picked],
            "estimate_usd": costs.requests,
            "estimate_with_judging_and_finals_usd": costs.all,
            "dry_run": dry_run,
        }
        before = standing.paid(opened, loaded.name)
        # One that was killed goes on, though it has made again all that it picked.
        if not picked and not under_way(opened, loaded, where):
            printing.say(f"Nothing to make again: no failed request of {loaded.name} is picked.")
            for line in _others(opened, loaded, brief or ()):
                printing.say(line)
            if as_json:
                printing.answer({"wave": loaded.name, "state": "nothing picked", **more})
            return
        for each in picked:
            printing.say(_line(each))
        printing.say(f"{in_words(picked, costs, opened.realm)}.")
        if dry_run:
            printing.say("Nothing was sent.")
            if as_json:
                printing.answer({"wave": loaded.name, "state": "nothing sent", **more})
            return
        make(file, opened, loaded, wait=wait, rerun=where)
        conclude(opened, loaded, before, as_json=as_json, more=more)


def _wave(
    store: str | None, wave: str, edition: str, briefs: Sequence[str]
) -> "tuple[Store, str, Wave]":
    """The store and the wave file that are meant, and the wave, which has those briefs."""
    from imagewave.providers.lanes import providers_of
    from imagewave.storage.waves.checks import nearest
    from imagewave.storage.waves.editions import choose
    from imagewave.storage.waves.wave_file import load_wave

    if _is_file(wave):
        file, its_edition, of_file = wave, "", load_wave(wave)
        opened = store_to_go_on(store, providers_of(of_file))
    else:
        opened = store_to_go_on(store)
        file, its_edition = _remembered(opened, wave)
        of_file = load_wave(file)
    loaded = choose(opened, of_file, edition or its_edition, begin=False)
    ids = [each.id for each in loaded.briefs]
    for id in briefs:
        if id not in ids:
            raise ImagewaveError(f"{loaded.name} has no brief {id!r}.", nearest(id, ids))
    return opened, file, loaded


def _line(failure: "Failure") -> str:
    fate = f"{failure.status} {failure.reason}".strip()
    redo = failure.redo
    usd = f"${failure.estimate_usd:.4f}"
    return f"{redo.brief:<24} {redo.kind:<6} {failure.model:<30} {fate:<32} {usd}"


def _plain(failure: "Failure") -> dict[str, Any]:
    return {
        "brief": failure.redo.brief,
        "kind": failure.redo.kind,
        "model": failure.model,
        "status": failure.status,
        "reason": failure.reason,
        "estimate_usd": failure.estimate_usd,
    }


def _others(store: Store, wave: "Wave", briefs: Sequence[str]) -> Iterator[str]:
    """What else could be made again, and by which option."""
    from imagewave.tasks.rerun import condition, failures, price

    for option in ("refused", "rejected"):
        of = condition(briefs=briefs, refused=option == "refused", rejected=option == "rejected")
        if picked := failures(store, wave.name, wave.revision, of):
            priced = in_words(picked, price(picked, wave), store.realm)
            yield f"--{option} picks what was {option}: {priced}."


def _is_file(wave: str) -> bool:
    """Whether that is the address of a wave file, no wave's name."""
    return "://" in wave or (os.path.exists(wave) and not os.path.isdir(wave))


def _remembered(store: Store, wave: str) -> tuple[str, str]:
    """The file that the wave of that name was run from, and its edition."""
    rows = query(store, "SELECT file, edition FROM waves WHERE wave = ?", [wave])
    if not rows:
        raise ImagewaveError(
            f"There is no file {wave!r}, and no wave of that name in {store.url}.",
            f"Name the wave file, or see {command(store, 'status')} for the waves.",
        )
    printing.tell(redacted(f"The wave file is {rows[0]['file']}."))
    return rows[0]["file"], rows[0]["edition"]
