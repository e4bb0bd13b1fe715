"""Models as data: what lives, what is gone, what each can do.

Lookup reads `models.toml` with the standard library alone, so `imagewave models` starts at once.
Money is the business of `imagewave.storage.catalog.prices`.
"""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from imagewave.errors import ImagewaveError

USER_FILE = "IMAGEWAVE_MODELS"
"""Environment variable: path of a TOML file that adds models or overrides keys of known ones."""

NOTICE = timedelta(days=30)
"""A model that retires within this time is still used, with a warning."""


class UnknownModel(ImagewaveError):
    """No model of the catalog has this id or alias."""


class RetiredModel(ImagewaveError):
    """The provider has shut the model down."""


class CatalogError(ImagewaveError):
    """A user's models file cannot be used; names the file, the model and the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a group of facts comes from; `grade` is official, copy, measured, third-party, …"""

    facts: str
    reference: str
    grade: str
    date: date


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """USD per million tokens from a date on, for models that genai-prices lacks."""

    since: date
    input: Decimal
    output: Decimal
    image: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One row of the catalog.

    `send_size` is False for models that refuse a size on the wire though they have exactly one.
    `image_tokens` are output tokens of one image per size; `reference_tokens` are input tokens of
    one reference image, at the most. `thinking_share` is the part of an image's price by which
    thinking at its default level raises the bill. `batch_multiplier` is None where no batch price
    is known. `price` names provider and model in genai-prices; `token_prices` (USD per million
    tokens) and `usd_per_image` (per size, or under "any") stand in where that package has none.
    `pixels` maps (aspect ratio, size) to (width, height). `by_lane` has what is otherwise where
    the model is reached by that lane, such as its end or its price; see `on`.

    For models on your GPUs: `weights` is a repository of the Hugging Face hub or a folder,
    `revision` its commit; `steps` and `guidance` are what its authors advise; `batch` pictures of
    its default size are rendered together. `gpu_seconds` are those that one picture of a size takes
    at `steps`, `gpu_usd_per_hour` what an hour of the GPU costs.
    """

    id: str
    name: str
    provider: str
    kind: str
    aliases: tuple[str, ...] = ()
    lanes: tuple[str, ...] = ()
    by_lane: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sizes: tuple[str, ...] = ()
    default_size: str | None = None
    send_size: bool = True
    ratios: tuple[str, ...] = ()
    pixels: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    qualities: tuple[str, ...] = ()
    reference_limit: int = 0
    reference_tokens: int | None = None
    image_tokens: Mapping[str, int] = field(default_factory=dict)
    image_token_formula: str = ""
    thinking: tuple[str, ...] = ()
    thinking_share: Decimal = Decimal(0)
    licence: str = "provider's terms"
    commercial_use: bool = True
    released: date | None = None
    shutdown: date | None = None
    replacement: str = ""
    price: str = ""
    batch_multiplier: Decimal | None = None
    token_prices: tuple[TokenPrice, ...] = ()
    usd_per_image: Mapping[str, Decimal] = field(default_factory=dict)
    weights: str = ""
    revision: str = ""
    steps: int | None = None
    guidance: float | None = None
    batch: int = 4
    gpu_seconds: Mapping[str, Decimal] = field(default_factory=dict)
    gpu_usd_per_hour: Decimal | None = None
    notes: str = ""
    sources: tuple[Source, ...] = ()

    def on(self, lane: str) -> "Model":
        """The model as it is on this lane."""
        return replace(self, **self.by_lane[lane]) if lane in self.by_lane else self

    def alive(self, today: date | None = None) -> bool:
        """Whether the provider still serves it; on its shutdown day it no longer does."""
        return self.shutdown is None or (today or _today()) < self.shutdown


def models() -> tuple[Model, ...]:
    """Every model known, dead ones included, in the order of the catalog.

    Raises:
        CatalogError: the file named by $IMAGEWAVE_MODELS cannot be used.
    """
    return _catalog(os.environ.get(USER_FILE, ""))


def find_model(name: str) -> Model:
    """The model of this id or alias; case and separators make no difference.

    Raises:
        UnknownModel: none; the message names the nearest.
    """
    known = _names(os.environ.get(USER_FILE, ""))
    model = known.get(plain_name(name))
    if model is not None:
        return model
    fix = "`imagewave models` lists those that it knows."
    for candidates in ([n for n, m in known.items() if m.alive()], list(known)):
        near = difflib.get_close_matches(plain_name(name), candidates, n=1, cutoff=0.6)
        if near:
            fix = f"Did you mean {known[near[0]].id!r}?"
            break
    raise UnknownModel(f"There is no model {name[:80]!r} in the catalog.", fix)


def require_alive(model: Model, today: date | None = None) -> str | None:
    """Refuses a retired model; returns a warning for one that retires within 30 days, else None.

    Raises:
        RetiredModel: it is shut down; the fix names the replacement.
    """
    today = today or _today()
    if model.shutdown is None or model.shutdown - today > NOTICE:
        return None
    heir = replacement_of(model, today)
    instead = f"Use {heir.id!r} instead." if heir else ""
    if not model.alive(today):
        raise RetiredModel(f"The model {model.id!r} was shut down on {model.shutdown}.", instead)
    days = (model.shutdown - today).days
    when = f"on {model.shutdown}, in {days} day" + ("s." if days > 1 else ".")
    return f"The model {model.id!r} is shut down {when} {instead}".rstrip()


def replacement_of(model: Model, today: date | None = None) -> Model | None:
    """The living model that the provider names instead, through dead ones; None: there is none."""
    seen = {model.id}
    while model.replacement and model.replacement not in seen:
        seen.add(model.replacement)
        model = find_model(model.replacement)
        if model.alive(today):
            return model
    return None


def _today() -> date:
    return datetime.now(UTC).date()


def plain_name(name: str) -> str:
    """A name as lookup compares it: lower case, any separators as one dash."""
    return re.sub(r"[\s_.-]+", "-", name.strip().lower())


@cache
def _catalog(user_file: str) -> tuple[Model, ...]:
    from imagewave.storage.catalog.data import load

    return load(user_file)


@cache
def _names(user_file: str) -> dict[str, Model]:
    catalog = _catalog(user_file)
    names = {
        plain_name(alias): model for model in catalog for alias in (model.name, *model.aliases)
    }
    return names | {plain_name(model.id): model for model in catalog}
