"""What the sandbox bills: tokens times its own price table."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What one answer used. `text` is output that is neither image nor thought.

    `seen` are input tokens of pictures, where they have a price of their own; else they are part
    of `prompt`.
    """

    prompt: int = 0
    seen: int = 0
    image: int = 0
    text: int = 0
    thoughts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One model's prices in USD per million tokens, and its habits."""

    since: date
    input: Decimal
    seen: Decimal
    text: Decimal
    image: Decimal
    image_tokens: Mapping[str, int]
    thoughts: int


@cache
def _table() -> tuple[Decimal, dict[str, list[Price]]]:
    raw = tomllib.loads(files(__package__).joinpath("prices.toml").read_text("utf-8"))
    prices: dict[str, list[Price]] = {}
    for row in raw["price"]:
        price = Price(
            since=row.get("since", date.min),
            input=Decimal(row["input"]),
            seen=Decimal(row.get("seen", row["input"])),
            text=Decimal(row["text"]),
            image=Decimal(row.get("image", "0")),
            image_tokens=row.get("image_tokens", {}),
            thoughts=row.get("thoughts", 0),
        )
        prices.setdefault(row["model"], []).append(price)
    return Decimal(raw["batch"]), prices


def is_priced(model_id: str) -> bool:
    """Whether the sandbox can bill the model, and so serves it."""
    return model_id in _table()[1]


def price_of(model_id: str) -> Price:
    """The model's prices as of today."""
    day = datetime.now(UTC).date()
    return max((p for p in _table()[1][model_id] if p.since <= day), key=lambda p: p.since)


def bill(model_id: str, tokens: Tokens, *, batch: bool) -> Decimal:
    """USD for one answer, exact; one that used nothing costs nothing, whoever gave it."""
    if tokens == Tokens():
        return Decimal(0)
    price = price_of(model_id)
    usd = (
        tokens.prompt * price.input
        + tokens.seen * price.seen
        + tokens.image * price.image
        + (tokens.text + tokens.thoughts) * price.text
    ) / _MILLION
    return usd * _table()[0] if batch else usd


def thought_tokens(model_id: str, level: str | None) -> int:
    """How long the model thinks at a level; None is its own default."""
    habit = price_of(model_id).thoughts
    shares = {None: habit, "minimal": 0, "low": habit // 4, "medium": habit // 2, "high": habit}
    return shares[level]
