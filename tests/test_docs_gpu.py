"""The page about your GPUs: its wave and its models file load, and its queries answer."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from tests.tasks.waves import round_of, wave

from imagewave.storage.catalog import USER_FILE, find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.facts import analytics, facts
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.rounds import Ask
from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import load_wave

PAGE = (Path(__file__).parents[1] / "docs" / "gpu.md").read_text()
WAVE, MODELS = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
NUMERICS, SECONDS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_its_wave_is_sound(tmp_path: Path) -> None:
    (tmp_path / "bulk.toml").write_text(WAVE)
    loaded = load_wave(tmp_path / "bulk.toml")
    assert (loaded.lane, loaded.draft.model, loaded.draft.steps) == ("gpu", "flux-1-schnell", 4)
    assert (loaded.final.carry, loaded.final.size) == ("seed", "2K")
    assert loaded.warnings == ()


def test_its_model_is_sound_and_has_a_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    (tmp_path / "models.toml").write_text(MODELS)
    monkeypatch.setenv(USER_FILE, str(tmp_path / "models.toml"))
    model = find_model("house-sdxl")
    assert (model.weights, model.batch) == ("/models/house-sdxl", 8)
    assert estimate(model, lane="gpu", prompt_chars=0) == Decimal("0.9") * Decimal("1.8") / 3600


def test_its_queries_answer(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    request = Request(kind=Kind.DRAFT, model="sdxl", prompt="tulips", size="1K")
    ask = Ask(brief="tulips", prompt_id="p", request=request, estimate_usd=Decimal(0))
    rounds.record(store, round_of(wave(), Kind.DRAFT), [ask])
    row = {"wave": "spring", "job_id": "j", "request_id": request.id, "model": "sdxl"}
    facts.append(store, "renders", "j", [{**row, "numerics_id": "abc", "gpu_seconds": 0.75}])
    [numerics] = analytics.query(store, NUMERICS)
    assert numerics == {"model": "sdxl", "numerics_id": "abc", "pictures": 1, "seconds": 0.8}
    [seconds] = analytics.query(store, SECONDS)
    assert seconds == {"model": "sdxl", "size": "1K", "pictures": 1, "gpu_seconds": 0.75}
