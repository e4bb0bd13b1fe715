"""`imagewave once`: one prompt, a few pictures, now."""

import sys
from decimal import Decimal
from typing import Annotated

import typer

from imagewave.errors import ImagewaveError
from imagewave.storage.ledger import BudgetExceeded
from imagewave.storage.store import DEFAULT_STORE, Store
from imagewave.words import counted


class TooDear(ImagewaveError):
    """It would cost more than --max-usd; nothing was sent."""

    exit_code = BudgetExceeded.exit_code


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
    store: Annotated[
        str, typer.Option(help="Where everything is kept: a folder or s3://bucket/prefix.")
    ] = DEFAULT_STORE,
) -> None:
    """Make a few pictures of one prompt, now, at the full price.

    Prints their paths and the bill. What was asked for before is free.

    Examples:

      imagewave once "a red bicycle in rain"

      imagewave once "a red bicycle in rain" --model nano-banana-2.1 --n 4 --aspect-ratio 16:9

      imagewave once "the word OPEN in neon" --model "gpt image" --quality medium --max-usd 0.10
    """
    from imagewave.cli.display import paid_by
    from imagewave.cli.run import provider
    from imagewave.flows.once import once as make
    from imagewave.flows.once import once_wave
    from imagewave.tasks.lanes import providers_of

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
        print(f"Warning: {warning}", file=sys.stderr)
    opened = Store.open(store)
    before = paid_by(opened, wave.name)
    with provider(opened, providers_of(wave)):
        try:
            paths, missing = make(opened, wave, _tell)
        except BudgetExceeded as error:
            before_that = error.spent + error.held
            also = f" on top of the ${before_that:f} that it has cost" if before_that else ""
            raise TooDear(
                f"{counted(n, 'picture')} would cost about ${error.wanted:f}{also}, and --max-usd"
                f" is ${error.limit:f}.",
                "Nothing was sent. Raise it, or ask for fewer pictures or a cheaper model.",
            ) from error
    for path in paths:
        print(opened.url_of(path))
    for reason, times in missing.items():
        print(f"{times} of {n} did not come: {reason}.", file=sys.stderr)
    spent = paid_by(opened, wave.name).usd - before.usd
    each = f", ${spent / len(paths):.4f} each" if paths and spent else ""
    print(f"{counted(len(paths), 'picture')} by {wave.draft.model}: ${spent:.4f}{each}.")
    print(f"Report: {opened.url_of(f'reports/{wave.name}.html')}")
    if not paths:
        raise typer.Exit(1)


def _tell(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} ", end="\n" if done == total else "", file=sys.stderr)
