"""What the sandbox bills: tokens times its own price table."""

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files

from imagewave.sandbox.models import SandboxModel

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What one answer used. `text` is output that is neither image nor thought."""

    prompt: int = 0
    image: int = 0
    text: int = 0
    thoughts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One model's prices in USD per million tokens, and its habits."""

    input: Decimal
    text: Decimal
    image: Decimal
    image_tokens: dict[str, int]
    thoughts: int


@cache
def _table() -> tuple[Decimal, dict[str, Price]]:
    raw = tomllib.loads(files("imagewave.sandbox").joinpath("prices.toml").read_text("utf-8"))
    prices = {
        name: Price(
            input=Decimal(row["input"]),
            text=Decimal(row["text"]),
            image=Decimal(row.get("image", "0")),
            image_tokens=row.get("image_tokens", {}),
            thoughts=row.get("thoughts", 0),
        )
        for name, row in raw["models"].items()
    }
    return Decimal(raw["batch"]), prices


def price_of(model: SandboxModel) -> Price:
    """The model's row; a KeyError is a defect of `prices.toml`."""
    return _table()[1][model.id]


def bill(model: SandboxModel, tokens: Tokens, *, batch: bool) -> Decimal:
    """USD for one answer, exact."""
    price = price_of(model)
    usd = (
        tokens.prompt * price.input
        + tokens.image * price.image
        + (tokens.text + tokens.thoughts) * price.text
    ) / MILLION
    return usd * _table()[0] if batch else usd


def thought_tokens(model: SandboxModel, level: str | None) -> int:
    """How long the model thinks at a level; None is its own default."""
    habit = price_of(model).thoughts
    return {None: habit, "minimal": 0, "low": habit // 4, "medium": habit // 2, "high": habit}[
        level
    ]
