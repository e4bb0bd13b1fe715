"""All money arithmetic: what a request will cost, and what it did cost. USD, as decimals.

Token prices, with their dated changes, come from the package genai-prices; image tokens, batch
multipliers and prices per image from the catalog. A price that nobody knows is an error that
names it, never zero.
"""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, ROUND_UP, Decimal
from functools import cache

from genai_prices import types as tokens
from genai_prices.data_snapshot import get_snapshot

from imagewave.errors import ImagewaveError
from imagewave.storage.catalog import Model

CHARS_PER_TOKEN = 3
"""Characters of a prompt per token. English has about four; the estimate errs upwards."""

TEXT_ANSWER_TOKENS = 1024
"""Output tokens assumed for a text answer where the caller knows nothing better."""

_NANO = Decimal("1e-9")


class UnknownPrice(ImagewaveError):
    """A price is needed that neither genai-prices nor the catalog has."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens a provider reports for one request; what it left out is 0.

    `image_tokens` are output tokens of images, `text_tokens` all other answer tokens,
    `thought_tokens` those of thinking.
    """

    prompt_tokens: int
    image_tokens: int
    text_tokens: int
    thought_tokens: int


def estimate(
    model: Model,
    *,
    lane: str,
    size: str | None = None,
    prompt_chars: int,
    references: int = 0,
    thinking: str | None = None,
    output_tokens: int | None = None,
    quality: str | None = None,
    today: date | None = None,
) -> Decimal:
    """USD that one request is expected to cost, rather a little too much than too little.

    Raises:
        UnknownPrice: some price or token count that it needs is not known.
    """
    today = today or datetime.now(UTC).date()
    multiplier = _multiplier(model, lane)
    prompt = math.ceil(prompt_chars / CHARS_PER_TOKEN)
    if references:
        if model.reference_tokens is None:
            raise _unknown(model, "the input tokens of a reference image")
        prompt += references * model.reference_tokens
    if model.kind == "text":
        answer = TEXT_ANSWER_TOKENS if output_tokens is None else output_tokens
        cost = _token_cost(model, Usage(prompt, 0, answer, 0), today)
    else:
        image = Usage(0, image_tokens(model, size, quality), 0, 0)
        share = 0 if thinking == "minimal" else model.thinking_share
        cost = _token_cost(model, image, today) * (1 + share)
        cost += _token_cost(model, Usage(prompt, 0, 0, 0), today)
    return (cost * multiplier).quantize(_NANO, ROUND_UP)


def metered(model: Model, usage: Usage, *, lane: str, at: date) -> Decimal:
    """USD that a request did cost, by the tokens its provider reported and the prices of that day.

    Raises:
        UnknownPrice: no token price, or none for batches.
    """
    return (_token_cost(model, usage, at) * _multiplier(model, lane)).quantize(
        _NANO, ROUND_HALF_UP
    )


def image_tokens(model: Model, size: str | None, quality: str | None = None) -> int:
    """Output tokens of one image of this size."""
    size = size or model.default_size
    if size is None or size not in model.image_tokens:
        raise _unknown(model, f"the output tokens of an image of size {size}")
    return model.image_tokens[size]


def _multiplier(model: Model, lane: str) -> Decimal:
    if not lane.endswith("-batch"):
        return Decimal(1)
    if model.batch_multiplier is None:
        raise _unknown(model, "the batch price")
    return model.batch_multiplier


def _token_cost(model: Model, usage: Usage, at: date) -> Decimal:
    """The formula prompt·in + image·img + (text + thoughts)·out, as genai-prices computes it."""
    provider, info = _price_row(model.price)
    counts = tokens.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.image_tokens + usage.text_tokens + usage.thought_tokens,
        output_image_tokens=usage.image_tokens,
    )
    moment = datetime.combine(at, time(12), UTC)
    return info.calc_price(counts, provider, genai_request_timestamp=moment).total_price


@cache
def _price_row(price: str) -> tuple[tokens.Provider, tokens.ModelInfo]:
    provider, _, name = price.partition(":")
    return get_snapshot().find_provider_model(name, None, provider, None)


def _unknown(model: Model, what: str) -> UnknownPrice:
    return UnknownPrice(
        f"Nobody knows {what} of {model.id!r}, so its cost cannot be told.",
        "Add it in the file that $IMAGEWAVE_MODELS names.",
    )
