"""The providers that are installed, and which lane takes which model."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from imagewave.errors import ImagewaveError
from imagewave.providers.lanes import lane_name
from imagewave.providers.registry import open_lane, providers
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.lanes import lane_kinds
from imagewave.storage.store import Store


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


def test_every_lane_that_a_wave_may_name_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    store = Store.open(str(tmp_path))
    assert [open_lane(name, store).name for name in lane_kinds()] == list(lane_kinds())
    with pytest.raises(ImagewaveError, match=", ".join(lane_kinds())):
        open_lane("carrier-pigeon", store)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("no_such_module:PROVIDER", "ModuleNotFoundError"),
        ("imagewave.words:PROVIDER", "no attribute 'PROVIDER'"),
        ("imagewave.words:shown", "it is a function, not a Provider"),
        ("imagewave.providers.openai.provider:PROVIDER", "another provider 'openai'"),
    ],
)
def test_a_record_that_cannot_be_used_names_its_distribution(
    record: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(f"[imagewave.providers]\nz = {record}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    providers.cache_clear()
    try:
        with pytest.raises(ImagewaveError, match=f"of theirs cannot be used: .*{said}"):
            providers()
    finally:
        providers.cache_clear()


def test_a_model_goes_by_a_lane_on_which_it_still_lives() -> None:
    lite = find_model("lite")
    over = replace(lite, by_lane={"gemini-batch": {"shutdown": date(2026, 1, 1)}})
    assert lane_name(lite, "gemini-batch") == "gemini-batch"
    assert lane_name(over, "gemini-batch") == "interactive"
