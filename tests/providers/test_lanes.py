"""Which lane takes which model, and whose keys a wave needs."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from imagewave.errors import ImagewaveError
from imagewave.providers.lanes import lane_name, providers_of
from imagewave.storage.catalog import find_model
from imagewave.storage.waves.wave_file import load_wave


@pytest.mark.parametrize(
    ("model", "preferred", "lane"),
    [
        ("gpt-image-2", "openai-batch", "openai-batch"),
        ("gemini-3.5-flash-lite", "openai-batch", "gemini-batch"),
        ("gpt-5.6-luna", "gemini-batch", "openai-batch"),
        ("gpt-5.6-luna", "interactive", "interactive"),
    ],
)
def test_a_wave_s_lane_comes_first_and_the_provider_s_batches_next(
    model: str, preferred: str, lane: str
) -> None:
    assert lane_name(find_model(model), preferred) == lane


def test_a_model_that_no_lane_reaches_is_an_error() -> None:
    with pytest.raises(ImagewaveError, match="midjourney"):
        lane_name(find_model("midjourney"), "gemini-batch")


def test_a_model_goes_by_a_lane_on_which_it_still_lives() -> None:
    lite = find_model("lite")
    over = replace(lite, by_lane={"gemini-batch": {"shutdown": date(2026, 1, 1)}})
    assert lane_name(lite, "gemini-batch") == "gemini-batch"
    assert lane_name(over, "gemini-batch") == "interactive"


def test_a_provider_that_is_not_installed_is_named_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, wave = tmp_path / "models.toml", tmp_path / "wave.toml"
    models.write_text(
        '[[model]]\nid = "acme-1"\nprovider = "acme"\nkind = "image"\nlanes = ["interactive"]\n'
        'ratios = ["1:1"]\nusd_per_image = { any = 1 }\n'
    )
    monkeypatch.setenv("IMAGEWAVE_MODELS", str(models))
    wave.write_text(
        '[wave]\nname = "w"\nlane = "interactive"\n[draft]\nmodel = "acme-1"\n'
        '[final]\ncarry = "accept"\n[judge]\nenabled = false\n[[brief]]\ntext = "a boat"\n'
    )
    with pytest.raises(
        ImagewaveError, match=r"no provider 'acme'.*anthropic, google, openai, self"
    ):
        providers_of(load_wave(wave))
