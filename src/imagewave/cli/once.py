"""`imagewave once`: one prompt, a few pictures, now."""

from decimal import Decimal
from typing import Annotated

import typer

from imagewave.cli.terminal import printing
from imagewave.cli.terminal.options import StoreOption
from imagewave.cli.terminal.printing import say, tell
from imagewave.storage.realms import money_note
from imagewave.tasks.stores import store_unless_refused
from imagewave.words import counted


def once(
    prompt: Annotated[str, typer.Argument(help="What the picture shows.", metavar="PROMPT")],
    model: Annotated[
        str, typer.Option(help="Model, by id or nickname; `imagewave models` lists them.")
    ] = "nano-banana-2-lite",
    n: Annotated[int, typer.Option(help="How many pictures.", min=1, max=100)] = 1,
    aspect_ratio: Annotated[str, typer.Option(help="Width to height, such as 16:9.")] = "1:1",
    size: Annotated[str | None, typer.Option(help="1K, 2K or 4K, as the model has it.")] = None,
    quality: Annotated[
        str | None, typer.Option(help="low, medium or high, where the model has several.")
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(help="Ask for nothing if it would cost more.")
    ] = None,
    lane: Annotated[
        str, typer.Option(help="interactive, or a batch lane: half the price, hours of patience.")
    ] = "interactive",
    store: StoreOption = None,
) -> None:
    """Make a few pictures of one prompt, now, at the full price.

    Prints their paths and the bill. What was asked for before is free.

    Examples:

      imagewave once "a red bicycle in rain"

      imagewave once "a red bicycle in rain" --model nano-banana-2.1 --n 4 --aspect-ratio 16:9

      imagewave once "the word OPEN in neon" --model "gpt image" --quality medium --max-usd 0.10
    """
    from imagewave.cli.run import provider
    from imagewave.flows.once import once as make
    from imagewave.flows.once import once_wave, require_budget
    from imagewave.providers.lanes import providers_of
    from imagewave.tasks.reporting import standing

    wave = once_wave(
        prompt,
        model=model,
        n=n,
        aspect_ratio=aspect_ratio,
        size=size,
        quality=quality,
        lane=lane,
        max_usd=Decimal(str(max_usd)) if max_usd is not None else None,
    )
    for warning in wave.warnings:
        printing.warn(warning)
    providers = providers_of(wave)
    with store_unless_refused(store, providers) as opened:
        require_budget(opened, wave)
        before = standing.paid(opened, wave.name)
        with provider(opened, providers):
            paths, missing = make(
                opened, wave, lambda done, total: printing.count(f"{done} of {total}")
            )
    for path in paths:
        say(opened.url_of(path))
    for reason, times in missing.items():
        tell(f"{times} of {n} did not come: {reason}.")
    spent = standing.paid(opened, wave.name).usd - before.usd
    note = money_note(opened.realm)
    each = f", ${spent / len(paths):.4f} each" if paths and spent else ""
    say(f"{counted(len(paths), 'picture')} by {wave.draft.model}: ${spent:.4f}{each}{note}.")
    say(f"Report: {opened.url_of(f'reports/{wave.name}.html')}")
    if not paths:
        raise typer.Exit(1)
