"""All money arithmetic: what a request will cost, and what it did cost. USD, as decimals.

Token prices, with their dated changes, come from the package genai-prices; image tokens, batch
multipliers and prices per image from the catalog. A price that nobody knows is an error that
names it, never zero.
"""

import math
import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, ROUND_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING

from imagewave.errors import ImagewaveError
from imagewave.storage.catalog import USER_FILE, Model
from imagewave.storage.catalog.lanes import draws_on_your_gpus, is_batch

# Imported where a price is asked for: it brings an HTTP client along.
if TYPE_CHECKING:
    from genai_prices import types as tokens

CHARS_PER_TOKEN = 3
"""Characters of a prompt per token. English has about four; the estimate errs upwards."""

TEXT_ANSWER_TOKENS = 1024
"""Output tokens assumed for a text answer where the caller knows nothing better."""

GPU_HOUR_VARIABLE = "IMAGEWAVE_GPU_USD_PER_HOUR"
"""Environment variable: USD that an hour of your GPU costs, unless the model's row says so."""

MOST_PER_HOUR = 1_000_000
"""USD; more for an hour is taken for a mistake."""

_NANO = Decimal("1e-9")


class UnknownPrice(ImagewaveError):
    """A price is needed that neither genai-prices nor the catalog has."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens a provider reports for one request; what it left out is 0.

    `image_tokens` are output tokens of images, `text_tokens` all other answer tokens,
    `thought_tokens` those of thinking. `reference_tokens` are those of the prompt's tokens that
    stand for images, where the provider bills them apart. On your GPUs there are no tokens, but
    `gpu_seconds` of a GPU, loading shared out, at `gpu_usd_per_hour`.
    """

    prompt_tokens: int
    image_tokens: int
    text_tokens: int
    thought_tokens: int
    reference_tokens: int = 0
    gpu_seconds: Decimal | None = None
    gpu_usd_per_hour: Decimal | None = None


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
    aspect_ratio: str | None = None,
    steps: int | None = None,
    today: date | None = None,
) -> Decimal:
    """USD that one request is expected to cost, rather a little too much than too little.

    `prompt_chars` counts prompt and system instruction, `references` the images sent along.
    `output_tokens` matters for text models only. `quality` is for models that have several,
    `aspect_ratio` (None: 1:1) for those whose tokens depend on it, `steps` (None: the model's) for
    those on your GPUs.

    Raises:
        UnknownPrice: some price or token count that it needs is not known.
    """
    today = today or datetime.now(UTC).date()
    model = model.on(lane)
    multiplier = _batch_multiplier(model, lane)
    if model.usd_per_image:
        return (_usd_per_image(model, size, quality) * multiplier).quantize(_NANO, ROUND_UP)
    if draws_on_your_gpus(model):
        hourly = gpu_usd_per_hour(model)
        return (gpu_seconds(model, size, steps) * hourly / 3600).quantize(_NANO, ROUND_UP)
    prompt, seen = math.ceil(prompt_chars / CHARS_PER_TOKEN), 0
    if references:
        if model.reference_tokens is None:
            raise _unknown(model, "the input tokens of a reference image", "reference_tokens")
        seen = references * model.reference_tokens
    cost = _token_cost(model, Usage(prompt + seen, 0, 0, 0, seen), today)
    if model.kind == "text":
        answer = TEXT_ANSWER_TOKENS if output_tokens is None else output_tokens
        cost += _token_cost(model, Usage(0, 0, answer, 0), today)
    else:
        drawn = image_tokens(model, size, quality, aspect_ratio)
        image = _token_cost(model, Usage(0, drawn, 0, 0), today)
        cost += image * (1 + (0 if thinking == "minimal" else model.thinking_share))
    return (cost * multiplier).quantize(_NANO, ROUND_UP)


def metered(model: Model, usage: Usage, *, lane: str, at: date) -> Decimal:
    """USD that a request did cost, by the tokens its provider reported and the prices of that day.

    prompt · in + image · img + (text + thoughts) · out, times the multiplier of a batch lane; on
    your GPUs seconds · USD per hour ÷ 3600.

    Raises:
        UnknownPrice: no token price, or none for batches.
    """
    if usage.gpu_seconds is not None:
        hourly = usage.gpu_usd_per_hour
        if hourly is None:
            hourly = gpu_usd_per_hour(model)
        return (usage.gpu_seconds * hourly / 3600).quantize(_NANO, ROUND_HALF_UP)
    model = model.on(lane)
    cost = _token_cost(model, usage, at) * _batch_multiplier(model, lane)
    return cost.quantize(_NANO, ROUND_HALF_UP)


def image_tokens(
    model: Model,
    size: str | None = None,
    quality: str | None = None,
    aspect_ratio: str | None = None,
) -> int:
    """Output tokens of one image of this size ("2K", "1024x1024"; None: the default) and quality.

    Raises:
        UnknownPrice: they are not published.
    """
    size = size or model.default_size
    if model.image_token_formula == "gpt-image-2" and size and quality:
        pixels = model.pixels.get((aspect_ratio or "1:1", size))
        width, _, height = size.partition("x")
        if width.isdecimal() and height.isdecimal():
            pixels = int(width), int(height)
        if pixels:
            return gpt_image_2_tokens(*pixels, quality)
    if size is None or size not in model.image_tokens:
        what = f"the output tokens of an image of size {size}"
        raise _unknown(model, what + (f" and quality {quality}" if quality else ""), "image_tokens")
    return model.image_tokens[size]


def gpt_image_2_tokens(width: int, height: int, quality: str) -> int:
    """Output tokens of gpt-image-2: a formula that somebody fitted to its answers.

    Raises:
        ValueError: the size is one that the model refuses, or the quality is none of its three.
    """
    factor = {"low": 16, "medium": 48, "high": 96}.get(quality)
    if factor is None:
        raise ValueError(f"gpt-image-2 has low, medium and high quality, not {quality!r}")
    long, short = max(width, height), min(width, height)
    if short < 16 or width % 16 or height % 16 or long > 3840 or long > 3 * short:
        raise ValueError(f"gpt-image-2 does not draw {width}x{height}")
    rows = (2 * factor * short + long) // (2 * long)
    return -(-factor * rows * (2_000_000 + width * height) // 4_000_000)


def token_rates(model: Model, at: date) -> tuple[Decimal, Decimal, Decimal | None]:
    """USD per million tokens of input, of text output and of image output, outside of batches.

    Image output is None where the model has no rate of its own for it. Rates that rise with the
    prompt's length are those of short prompts.

    Raises:
        UnknownPrice: the model has no token prices.
    """
    rates = _rates(model, at)
    return (
        _base(rates.input_mtok),
        _base(rates.output_mtok),
        _optional(rates.output_image_mtok),
    )


def _base(rate: "Decimal | tokens.TieredPrices | None") -> Decimal:
    assert rate is not None  # _rates has seen to it
    return rate if isinstance(rate, Decimal) else rate.base


def _optional(rate: "Decimal | tokens.TieredPrices | None") -> Decimal | None:
    return None if rate is None else _base(rate)


def gpu_usd_per_hour(model: Model) -> Decimal:
    """USD that an hour of the GPU costs on which this model runs.

    Raises:
        UnknownPrice: nobody has said, or not as a number.
    """
    if model.gpu_usd_per_hour is not None:
        return model.gpu_usd_per_hour
    said = os.environ.get(GPU_HOUR_VARIABLE, "").strip()
    try:
        hourly = Decimal(said)
    except InvalidOperation:
        hourly = Decimal("NaN")
    if not (hourly.is_finite() and 0 <= hourly <= MOST_PER_HOUR):
        shown = f"{GPU_HOUR_VARIABLE}={said[:40]!r} is no price" if said else "nobody has said it"
        raise UnknownPrice(
            f"The cost of {model.id!r} needs the hourly price of the GPU, and {shown}.",
            f"Set {GPU_HOUR_VARIABLE} to USD per hour (0: it costs nothing), or gpu_usd_per_hour"
            f" for the model in the file that ${USER_FILE} names.",
        )
    return hourly


def gpu_seconds(model: Model, size: str | None, steps: int | None) -> Decimal:
    """Seconds that one picture takes on a GPU, in proportion to its steps (None: the model's).

    Raises:
        UnknownPrice: nobody has said.
    """
    size = size or model.default_size
    if size is None or size not in model.gpu_seconds:
        raise _unknown(model, f"the GPU seconds of an image of size {size}", "gpu_seconds")
    seconds = model.gpu_seconds[size]
    return seconds * steps / model.steps if steps and model.steps else seconds


def _batch_multiplier(model: Model, lane: str) -> Decimal:
    if not is_batch(lane):
        return Decimal(1)
    if model.batch_multiplier is None:
        raise _unknown(model, "the batch price", "batch_multiplier")
    return model.batch_multiplier


def _usd_per_image(model: Model, size: str | None, quality: str | None) -> Decimal:
    for key in (quality, size, "any"):
        if key is not None and key in model.usd_per_image:
            return model.usd_per_image[key]
    raise _unknown(model, f"the price of an image of size {size}", "usd_per_image")


def _token_cost(model: Model, usage: Usage, at: date) -> Decimal:
    """USD at standard prices; genai-prices splits input and output into images and the rest."""
    from genai_prices import types as tokens

    counts = tokens.Usage(
        input_tokens=usage.prompt_tokens,
        input_image_tokens=usage.reference_tokens,
        output_tokens=usage.image_tokens + usage.text_tokens + usage.thought_tokens,
        output_image_tokens=usage.image_tokens,
    )
    return _rates(model, at).calc_price(counts)["total_price"]


def _rates(model: Model, at: date) -> "tokens.ModelPrice":
    """The token prices of that day: the catalog's own, else those of genai-prices."""
    from genai_prices import types as tokens

    if model.token_prices:
        in_force = [price for price in model.token_prices if price.since <= at]
        if not in_force:
            first = model.token_prices[0].since
            raise _unknown(model, f"the token prices before {first}", "token_prices")
        own = in_force[-1]
        return tokens.ModelPrice(
            input_mtok=own.input, output_mtok=own.output, output_image_mtok=own.image
        )
    rates = _package_rates(model.price, at) if model.price else None
    if rates is None or rates.input_mtok is None or rates.output_mtok is None:
        raise _unknown(model, "the token prices", "token_prices")
    return rates


@lru_cache(maxsize=256)
def _package_rates(price: str, at: date) -> "tokens.ModelPrice | None":
    from genai_prices.data_snapshot import get_snapshot

    provider, _, name = price.partition(":")
    try:
        _, info = get_snapshot().find_provider_model(name, None, provider, None)
    except LookupError:
        return None
    return info.get_prices(datetime.combine(at, time(12), UTC))


def _unknown(model: Model, what: str, key: str) -> UnknownPrice:
    return UnknownPrice(
        f"Nobody knows {what} of {model.id!r}, so its cost cannot be told.",
        f"Add {key} for it in the file that ${USER_FILE} names, or choose another model.",
    )
