"""`imagewave models`: the catalog, listed, filtered and explained."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from imagewave.cli.terminal import printing, tables
from imagewave.cli.terminal.numbers import finite
from imagewave.errors import ImagewaveError
from imagewave.storage import catalog
from imagewave.storage.catalog import Model, prices
from imagewave.storage.catalog.lanes import batch_lane, lane_kinds
from imagewave.words import counted

app = typer.Typer(
    help="List and explain the models that imagewave knows, alive and dead.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
)

Alive = Annotated[bool, typer.Option("--alive", help="Only models that are still served.")]
Lane = Annotated[
    str | None,
    typer.Option(help="Only models reached by this lane, such as gemini-batch."),
]
MaxUsd = Annotated[
    float | None,
    typer.Option(
        help="Only models with one image at the default size for at most this price.",
        min=0,
        callback=finite,
    ),
]
Provider = Annotated[
    str | None, typer.Option(help="Only models of google, openai, anthropic, self, …")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_EXAMPLES = """\b
Examples:
  imagewave models --alive --lane gemini-batch --max-usd 0.02
  imagewave models show "nano banana pro"

A TOML file named by $IMAGEWAVE_MODELS adds models or overrides single keys of known ones.
"""


@app.callback(epilog=_EXAMPLES)
def _models(
    context: typer.Context,
    alive: Alive = False,
    lane: Lane = None,
    max_usd: MaxUsd = None,
    provider: Provider = None,
    as_json: AsJson = False,
) -> None:
    """List the models that imagewave knows, alive and dead, or explain one with `show`."""
    if context.invoked_subcommand is None:
        list_models(alive, lane, max_usd, provider, as_json)


@app.command("list", epilog=_EXAMPLES)
def list_models(
    alive: Alive = False,
    lane: Lane = None,
    max_usd: MaxUsd = None,
    provider: Provider = None,
    as_json: AsJson = False,
) -> None:
    """List models with their state, lanes, sizes and price of one image."""
    today = datetime.now(UTC).date()
    every = catalog.models()
    _require("lane", lane, (*lane_kinds(), *(each for model in every for each in model.lanes)))
    _require("provider", provider, [model.provider for model in every])
    chosen = [
        model
        for model in every
        if (not alive or model.alive(today))
        and (lane is None or lane in model.lanes)
        and (provider is None or provider == model.provider)
    ]
    unpriced = 0
    if max_usd is not None:
        priced = {model.id: _cheapest(model, lane, today) for model in chosen}
        unpriced = sum(priced[m.id] is None for m in chosen if m.kind == "image")
        limit = Decimal(str(max_usd))
        chosen = [m for m in chosen if (usd := priced[m.id]) is not None and usd <= limit]
    if as_json:
        printing.answer([_plain(model, today) for model in chosen])
        return
    tables.show(_table(chosen, today))
    if unpriced:
        tables.say((f"{unpriced} more have no known price of an image.", "dim"))


@app.command("show", epilog='\b\nExample:\n  imagewave models show "nano banana 2 lite"')
def show_model(
    name: Annotated[str, typer.Argument(help="A model's id or one of its nicknames.")],
    as_json: AsJson = False,
) -> None:
    """Explain one model: what it can do, what it costs, until when it lives, who says so."""
    today = datetime.now(UTC).date()
    model = catalog.find_model(name)
    if as_json:
        printing.answer(_plain(model, today))
        return
    tables.say((model.id, "bold"), f" · {model.name}")
    facts = tables.Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    facts.add_column(style="dim")
    for label, value in _facts(model, today):
        if value:
            facts.add_row(label, value)
    tables.show(facts)


def _require(what: str, given: str | None, known: Iterable[str]) -> None:
    """Refuses a lane or provider that there is not."""
    names = list(dict.fromkeys(known))
    if given is not None and given not in names:
        raise ImagewaveError(f"There is no {what} {given!r}.", f"Known are {', '.join(names)}.")


def _table(chosen: list[Model], today: date) -> tables.Table:
    table = tables.Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("model", "also called", "state", "lanes", "sizes"):
        table.add_column(column, overflow="fold")
    table.add_column("USD in batch", justify="right")
    table.add_column("USD at once", justify="right")
    for model in chosen:
        batch = batch_lane(model)
        table.add_row(
            model.id,
            model.name,
            _state(model, today),
            ", ".join(model.lanes),
            ", ".join(model.sizes),
            _usd(model, batch, model.default_size, today) if batch else "",
            _usd(model, "interactive", model.default_size, today),
            style=None if model.alive(today) else "dim",
        )
    return table


def _state(model: Model, today: date) -> str:
    if model.shutdown is None:
        return "alive"
    heir = catalog.replacement_of(model, today)
    state = f"until {model.shutdown}" if model.alive(today) else f"gone since {model.shutdown}"
    return f"{state}, now {heir.id}" if heir and not model.alive(today) else state


def _image_usd(
    model: Model, lane: str, size: str | None, today: date, quality: str | None = None
) -> Decimal | None:
    """The list price of one image without its prompt; None if nobody knows it."""
    if model.kind != "image":
        return None
    try:
        return prices.estimate(
            model,
            lane=lane,
            size=size,
            quality=quality,
            prompt_chars=0,
            thinking="minimal",
            today=today,
        )
    except prices.UnknownPrice:
        return None


def _lowest_quality(model: Model) -> str | None:
    return model.qualities[0] if model.qualities else None


def _cheapest(model: Model, lane: str | None, today: date) -> Decimal | None:
    lanes = [lane] if lane else [*model.lanes, "interactive"]
    known = (
        _image_usd(model, each, model.default_size, today, _lowest_quality(model)) for each in lanes
    )
    return min((usd for usd in known if usd is not None), default=None)


def _usd(model: Model, lane: str, size: str | None, today: date) -> str:
    """A price as a table shows it; of several qualities, the lowest and the highest."""
    if model.kind == "text":
        return ""
    ends = dict.fromkeys((model.qualities[0], model.qualities[-1])) if model.qualities else [None]
    known = [_image_usd(model, lane, size, today, quality) for quality in ends]
    return " – ".join("unknown" if usd is None else f"{usd:.4f}" for usd in dict.fromkeys(known))


def _facts(model: Model, today: date) -> Iterator[tuple[str, str]]:
    yield "state", _state(model, today)
    yield "aliases", ", ".join(model.aliases)
    yield "provider", model.provider
    yield "released", str(model.released or "")
    yield (
        "licence",
        model.licence + ("" if model.commercial_use else " (not for commercial use)"),
    )
    yield "lanes", ", ".join(model.lanes) or "none yet"
    yield "ratios", ", ".join(model.ratios)
    yield (
        "references",
        f"up to {counted(model.reference_limit, 'image')}" if model.reference_limit else "",
    )
    yield "thinking", ", ".join(model.thinking)
    yield "weights", f"{model.weights} {model.revision}".rstrip()
    yield "steps", str(model.steps or "")
    yield "guidance", "" if model.guidance is None else f"{model.guidance:g}"
    for size in model.sizes or ((None,) if model.usd_per_image else ()):
        for lane in model.lanes or ("interactive",):
            yield (
                f"{size or 'image'} by {lane}",
                f"USD {_usd(model, lane, size, today)}",
            )
    yield "USD per million tokens", _rates(model, today)
    yield "note", model.notes
    for source in model.sources:
        yield (
            f"source of {source.facts}",
            f"{source.reference} ({source.grade}, {source.date})",
        )


def _rates(model: Model, today: date) -> str:
    try:
        given, text, image = prices.token_rates(model, today)
    except prices.UnknownPrice:
        return ""
    return f"{given} in, {text} out" + (f", {image} for images" if image is not None else "")


def _plain(model: Model, today: date) -> dict[str, Any]:
    """The model as JSON values; prices are texts, so that no digit is lost."""
    values = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    values["pixels"] = {f"{ratio} {size}": px for (ratio, size), px in model.pixels.items()}
    values["alive"] = model.alive(today)
    values["usd"] = [
        {"lane": lane, "size": size, "quality": quality, "usd": usd}
        for lane in model.lanes
        for size in model.sizes
        for quality in model.qualities or (None,)
        if (usd := _image_usd(model, lane, size, today, quality)) is not None
    ]
    plain: dict[str, Any] = json.loads(json.dumps(values, default=_json_value))
    return plain


def _json_value(value: object) -> Any:
    if isinstance(value, catalog.Source | catalog.TokenPrice):
        return dataclasses.asdict(value)
    return str(value)
