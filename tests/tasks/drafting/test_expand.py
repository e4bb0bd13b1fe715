"""The prompts that a text model wrote, whatever its answer is wrapped in."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from imagewave.storage.rounds.rounds import Answer
from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks.drafting.expand import expansion_asks, write_prompts

WAVE = """
[wave]
name = "spring"
[expand]
mode = "model"
count = 2
[[brief]]
id = "tulips"
text = "red tulips"
"""
PROMPTS = ["Red tulips in a glass vase.", "A field of red tulips at dawn."]


@pytest.mark.parametrize(
    "wrapped", ["{}", "```json\n{}\n```", "\ufeff{}", "Here are two prompts: {}\n\nEnjoy!"]
)
def test_a_wrapped_answer_s_prompts_are_used(tmp_path: Path, wrapped: str) -> None:
    path = tmp_path / "wave.toml"
    path.write_text(WAVE)
    wave, store = load_wave(str(path)), Store.open(str(tmp_path / "store"))
    asks = expansion_asks(wave, lane="gemini-batch")
    answers = {
        ask.request.id: Answer(
            request_id=ask.request.id,
            job_id="j1",
            status="text",
            failure="",
            reason="",
            image="",
            format="",
            text=wrapped.format(json.dumps({"prompts": PROMPTS})),
            cost_usd=Decimal("0.001"),
        )
        for ask in asks
    }
    prompts = write_prompts(store, wave, asks, answers)
    assert [text for _, text in prompts["tulips"]] == PROMPTS
