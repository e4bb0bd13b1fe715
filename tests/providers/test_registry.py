"""Which lane takes which model."""

from pathlib import Path

import pytest

from imagewave.errors import ImagewaveError
from imagewave.providers.lanes import lane_name
from imagewave.providers.registry import open_lane
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
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    store = Store.open(str(tmp_path))
    assert [open_lane(name, store).name for name in lane_kinds()] == list(lane_kinds())
    with pytest.raises(ImagewaveError, match=", ".join(lane_kinds())):
        open_lane("carrier-pigeon", store)
