"""Money: worked examples of the providers' price lists, and what an unknown price does."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from genai_prices.data_snapshot import get_snapshot

from imagewave.storage.catalog import Model, TokenPrice, find_model, models
from imagewave.storage.catalog.prices import (
    GPU_HOUR_VARIABLE,
    UnknownPrice,
    Usage,
    estimate,
    gpt_image_2_tokens,
    image_tokens,
    metered,
    token_rates,
)

TODAY = date(2026, 11, 20)


def list_price(model: str, size: str, lane: str, **more: str) -> Decimal:
    """One image by itself: no prompt, no thinking."""
    return estimate(
        find_model(model),
        lane=lane,
        size=size,
        prompt_chars=0,
        thinking="minimal",
        today=TODAY,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("model", "size", "standard", "batch"),
    [
        ("gemini-3.1-flash-lite-image", "1K", ".0336", ".0168"),
        ("gemini-nano-banana-2.1", "1K", ".0336", ".0168"),
        ("gemini-nano-banana-2.1", "2K", ".0504", ".0252"),
        ("gemini-nano-banana-2.1", "4K", ".1134", ".0567"),
        ("gemini-3-pro-image", "1K", ".1344", ".0672"),
        ("gemini-3-pro-image", "2K", ".1344", ".0672"),
        ("gemini-3-pro-image", "4K", ".24", ".12"),
        ("gemini-2.5-flash-image", "1K", ".0387", ".01935"),
    ],
)
def test_gemini_images_cost_what_the_price_list_says(
    model: str, size: str, standard: str, batch: str
) -> None:
    assert list_price(model, size, "interactive") == Decimal(standard)
    assert list_price(model, size, "gemini-batch") == Decimal(batch)


@pytest.mark.parametrize(
    ("quality", "tokens", "usd"),
    [("low", 196, ".0059"), ("medium", 1756, ".0527"), ("high", 7024, ".2107")],
)
def test_gpt_image_2_tokens_reproduce_the_official_examples(
    quality: str, tokens: int, usd: str
) -> None:
    assert gpt_image_2_tokens(1024, 1024, quality) == tokens
    price = list_price("gpt-image-2", "1024x1024", "interactive", quality=quality)
    assert price.quantize(Decimal("1e-4")) == Decimal(usd)
    assert list_price("gpt-image-2", "1024x1024", "openai-batch", quality=quality) == price / 2


def test_gpt_image_2_costs_by_the_pixels_of_its_ratio() -> None:
    model = find_model("gpt-image-2")

    def cost(size: str, ratio: str | None = None) -> Decimal:
        return estimate(
            model,
            lane="interactive",
            prompt_chars=0,
            quality="low",
            size=size,
            aspect_ratio=ratio,
            today=TODAY,
        )

    assert cost("1K") == cost("1K", "1:1") == cost("1024x1024")
    assert cost("1K", "16:9") == cost("1536x864")
    assert cost("1K", "16:9") < cost("1K") < cost("2K")


def test_every_pixel_size_of_the_catalog_is_one_that_openai_draws() -> None:
    drawn = [
        pixels
        for model in models()
        if model.provider == "openai"
        for pixels in model.pixels.values()
    ]
    assert drawn
    for width, height in drawn:
        assert gpt_image_2_tokens(width, height, "low") > 0
        assert width * height <= 2048 * 2048


def test_pictures_that_a_model_is_shown_have_a_price_of_their_own() -> None:
    usage = Usage(1_000_000, 0, 0, 0, reference_tokens=400_000)
    model = find_model("gpt-image-2")
    assert metered(model, usage, lane="interactive", at=TODAY) == Decimal("0.6") * 5 + (
        Decimal("0.4") * 8
    )
    assert metered(model, usage, lane="openai-batch", at=TODAY) == Decimal("3.1")
    lite = find_model("gemini-3.1-flash-lite-image")
    assert metered(lite, usage, lane="interactive", at=TODAY) == metered(
        lite, Usage(1_000_000, 0, 0, 0), lane="interactive", at=TODAY
    )


def test_gpt_image_2_tokens_do_not_depend_on_orientation() -> None:
    assert gpt_image_2_tokens(1536, 1024, "high") == gpt_image_2_tokens(1024, 1536, "high")


@pytest.mark.parametrize(
    ("width", "height", "quality"),
    [
        (1000, 1024, "low"),
        (3856, 1936, "low"),
        (3200, 1024, "low"),
        (0, 0, "low"),
        (64, 64, "auto"),
    ],
)
def test_gpt_image_2_refuses_what_the_model_refuses(width: int, height: int, quality: str) -> None:
    with pytest.raises(ValueError, match="gpt-image-2"):
        gpt_image_2_tokens(width, height, quality)


def test_five_thousand_images_cost_195_at_once_and_97_50_in_batch() -> None:
    listed = replace(find_model("ideogram"), usd_per_image={"any": Decimal("0.039")})
    batched = replace(listed, batch_multiplier=Decimal("0.5"))

    at_once = 5000 * estimate(listed, lane="interactive", prompt_chars=400, today=TODAY)
    in_batch = 5000 * estimate(batched, lane="gemini-batch", prompt_chars=400, today=TODAY)

    assert (at_once, in_batch) == (Decimal(195), Decimal("97.5"))


def test_two_tiers_cost_175_where_one_costs_300() -> None:
    final = replace(find_model("ideogram"), usd_per_image={"any": Decimal(1)})
    draft = replace(final, usd_per_image={"any": Decimal(1) / 4})

    def price(model: Model) -> Decimal:
        return estimate(model, lane="interactive", prompt_chars=0, today=TODAY)

    assert 300 * price(draft) + 100 * price(final) == 175
    assert 300 * price(final) == 300


def test_metered_is_the_documented_formula() -> None:
    """prompt·in + IMAGE·img + (candidates − IMAGE + thoughts)·text, halved in batch."""
    usage = Usage(prompt_tokens=213, image_tokens=1120, text_tokens=17, thought_tokens=401)
    by_hand = (213 * Decimal("1.5") + 1120 * 30 + (17 + 401) * Decimal("7.5")) / 1_000_000

    flash = find_model("gemini-nano-banana-2.1")

    assert metered(flash, usage, lane="interactive", at=TODAY) == by_hand
    assert metered(flash, usage, lane="gemini-batch", at=TODAY) == by_hand / 2


def test_metered_bills_what_was_reported_even_for_a_refusal() -> None:
    """A refused request has a prompt and thoughts, and no image."""
    usage = Usage(prompt_tokens=100, image_tokens=0, text_tokens=0, thought_tokens=40)
    pro = find_model("gemini-3-pro-image")
    assert metered(pro, usage, lane="gemini-batch", at=TODAY) == Decimal("0.00034")
    assert metered(pro, Usage(0, 0, 0, 0), lane="gemini-batch", at=TODAY) == 0


def test_metered_stays_exact_over_a_hundred_thousand_small_bills() -> None:
    lite = find_model("gemini-3.5-flash-lite")
    one = metered(lite, Usage(1, 0, 1, 0), lane="gemini-batch", at=TODAY)
    assert one == Decimal("0.0000014")
    assert sum([one] * 100_000, Decimal(0)) == Decimal("0.14")


def test_prices_change_on_their_dates() -> None:
    flash, usage = find_model("gemini-3.8-flash"), Usage(1_000_000, 0, 1_000_000, 0)

    assert metered(flash, usage, lane="interactive", at=date(2026, 12, 31)) == Decimal("4.5")
    assert metered(flash, usage, lane="interactive", at=date(2027, 1, 1)) == Decimal(9)


def test_default_thinking_is_estimated_and_minimal_is_not() -> None:
    flash = find_model("gemini-nano-banana-2.1")

    def price(thinking: str | None) -> Decimal:
        return estimate(
            flash, lane="interactive", size="1K", prompt_chars=0, thinking=thinking, today=TODAY
        )

    assert price("minimal") == Decimal("0.0336")
    assert price(None) == price("high") == Decimal("0.0336") * Decimal("1.19")


def test_an_estimate_covers_prompt_and_references() -> None:
    flash = find_model("gemini-nano-banana-2.1")
    bare = list_price("gemini-nano-banana-2.1", "1K", "interactive")

    full = estimate(
        flash,
        lane="interactive",
        size="1K",
        prompt_chars=301,
        references=2,
        thinking="minimal",
        today=TODAY,
    )

    assert full - bare == (101 + 2 * 1120) * Decimal("1.5") / 1_000_000


def test_an_estimate_is_not_below_the_bill_of_a_plain_english_prompt() -> None:
    prompt = "A flower market stall overflowing with red and yellow tulips after a spring shower. "
    lite = find_model("lite")
    usage = Usage(prompt_tokens=16, image_tokens=1120, text_tokens=0, thought_tokens=0)

    held = estimate(lite, lane="gemini-batch", prompt_chars=len(prompt), today=TODAY)

    assert held >= metered(lite, usage, lane="gemini-batch", at=TODAY)


def test_a_judgement_costs_its_picture_and_its_answer() -> None:
    judge = find_model("gemini-3.5-flash-lite")
    held = estimate(
        judge, lane="gemini-batch", prompt_chars=900, references=1, output_tokens=200, today=TODAY
    )
    assert held == ((300 + 1120) * Decimal("0.3") + 200 * Decimal("2.5")) / 1_000_000 / 2


@pytest.mark.parametrize(
    ("model", "lane", "words"),
    [
        ("gpt-image-2.6-flare", "interactive", ["gpt-image-2.6-flare", "token prices"]),
        ("gpt-image-2.5-flare", "openai-batch", ["output tokens", "1K", "image_tokens"]),
        ("chatgpt-image-latest", "openai-batch", ["batch price", "batch_multiplier"]),
        ("sdxl", "gpu", ["hourly price", "IMAGEWAVE_GPU_USD_PER_HOUR"]),
        ("midjourney", "interactive", ["token prices"]),
        ("imagen-4", "interactive", ["token prices"]),
    ],
)
def test_an_unknown_price_is_an_error_that_names_it(
    model: str, lane: str, words: list[str]
) -> None:
    with pytest.raises(UnknownPrice) as error:
        estimate(find_model(model), lane=lane, prompt_chars=10, today=TODAY)
    for word in words:
        assert word in str(error.value)


def test_an_unknown_price_is_no_zero_when_metered() -> None:
    usage = Usage(10, 0, 0, 0)
    for name in ("gpt-image-2.6-sunburst", "ideogram", "sdxl"):
        with pytest.raises(UnknownPrice):
            metered(find_model(name), usage, lane="interactive", at=TODAY)


def test_a_price_of_the_users_own_counts_from_its_date() -> None:
    priced = replace(
        find_model("gpt-image-2.6-flare"),
        token_prices=(
            TokenPrice(since=date(2026, 11, 4), input=Decimal(5), output=Decimal(30)),
            TokenPrice(since=date(2027, 1, 1), input=Decimal(6), output=Decimal(40)),
        ),
    )
    usage = Usage(1_000_000, 500_000, 0, 500_000)

    assert metered(priced, usage, lane="interactive", at=date(2026, 12, 31)) == 35
    assert metered(priced, usage, lane="interactive", at=date(2027, 1, 1)) == 46
    with pytest.raises(UnknownPrice, match="before 2026-11-04"):
        metered(priced, usage, lane="interactive", at=date(2026, 11, 3))


def test_an_image_rate_of_the_users_own_applies_to_images_only() -> None:
    price = TokenPrice(
        since=date(2026, 1, 1), input=Decimal(1), output=Decimal(2), image=Decimal(10)
    )
    priced = replace(find_model("gpt-image-2.6-flare"), token_prices=(price,))
    usage = Usage(1_000_000, 1_000_000, 1_000_000, 0)
    assert metered(priced, usage, lane="interactive", at=TODAY) == 13


class TestOwnGpus:
    @pytest.fixture(autouse=True)
    def an_hour_costs_360(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(GPU_HOUR_VARIABLE, "3.60")

    def test_a_picture_costs_its_seconds_in_proportion_to_its_steps(self) -> None:
        model = find_model("sdxl")
        seconds = model.gpu_seconds["1K"]
        assert model.steps == 30
        costs = {
            steps: estimate(model, lane="gpu", prompt_chars=99, steps=steps)
            for steps in (None, 30, 15)
        }
        thousandth = Decimal("0.001")  # of 3.60 USD per hour: a second
        assert costs == {
            None: seconds * thousandth,
            30: seconds * thousandth,
            15: seconds * thousandth / 2,
        }
        large = estimate(model, lane="gpu", size="2K", prompt_chars=99)
        assert large == model.gpu_seconds["2K"] * thousandth > costs[None]

    def test_the_hour_is_the_model_s_own_where_it_says(self) -> None:
        own = replace(find_model("sdxl"), gpu_usd_per_hour=Decimal("7.20"))
        plain = estimate(find_model("sdxl"), lane="gpu", prompt_chars=0)
        assert estimate(own, lane="gpu", prompt_chars=0) == 2 * plain

    def test_seconds_spent_are_charged_as_they_were_held(self) -> None:
        usage = Usage(0, 0, 0, 0, gpu_seconds=Decimal("0.5"), gpu_usd_per_hour=Decimal("7.20"))
        assert metered(find_model("sdxl"), usage, lane="gpu", at=TODAY) == Decimal("0.001")

    def test_seconds_that_nobody_knows_are_an_error(self) -> None:
        with pytest.raises(UnknownPrice, match=r"GPU seconds.*gpu_seconds"):
            estimate(find_model("qwen-image-2.1"), lane="gpu", prompt_chars=0)

    @pytest.mark.parametrize("said", ["much", "-1", "nan", "inf", " ", "1e400"])
    def test_what_is_no_price_is_an_error(self, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(GPU_HOUR_VARIABLE, said)
        with pytest.raises(UnknownPrice, match="hourly price"):
            estimate(find_model("sdxl"), lane="gpu", prompt_chars=0)

    def test_an_hour_may_cost_nothing_if_somebody_says_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(GPU_HOUR_VARIABLE, "0")
        assert estimate(find_model("sdxl"), lane="gpu", prompt_chars=0) == 0


PRICED = [model for model in models() if model.price]


@pytest.mark.parametrize("model", PRICED, ids=lambda model: model.id)
def test_every_price_reference_resolves_offline_to_that_model(model: Model) -> None:
    provider, _, name = model.price.partition(":")
    _, info = get_snapshot().find_provider_model(name, None, provider, None)
    assert info.id.removesuffix("-preview") == model.id.removesuffix("-preview")
    given, text, _ = token_rates(model, TODAY)
    assert 0 < given < text


def test_batch_multipliers_agree_with_the_packages_own_batch_prices() -> None:
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    compared = set()
    for model in PRICED:
        provider, _, name = model.price.partition(":")
        _, info = get_snapshot().find_provider_model(name, None, provider, None)
        if model.batch_multiplier is None or not info.price_variants:
            continue
        standard, batch = info.get_prices(moment), info.get_prices(moment, {"processing": "batch"})
        for rate in ("input_mtok", "output_mtok", "output_image_mtok"):
            full = getattr(standard, rate)
            if isinstance(full, Decimal):
                assert getattr(batch, rate) == full * model.batch_multiplier, (model.id, rate)
        compared.add(model.id)
    assert {"gemini-3.1-flash-lite-image", "gemini-nano-banana-2.1", "gpt-image-2"} <= compared


def test_image_tokens_of_a_size_that_the_model_lacks_are_unknown() -> None:
    with pytest.raises(UnknownPrice, match="size 2K"):
        image_tokens(find_model("lite"), "2K")
