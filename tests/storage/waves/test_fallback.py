"""The fallback model of a wave file: checked like every other, and no part of what is asked for."""

from datetime import date
from pathlib import Path

import pytest

from imagewave.storage.requests import Kind
from imagewave.storage.waves.wave_file import Wave, WaveFileError, load_wave

TODAY = date(2026, 11, 20)


def load(folder: Path, draft: str = "", final: str = "") -> Wave:
    path = folder / "wave.toml"
    path.write_text(
        f'[wave]\nname = "w"\n[draft]\n{draft}\n[final]\n{final}\n[[brief]]\ntext = "a tulip"\n'
    )
    return load_wave(path, today=TODAY)


def test_names_a_model_by_kind_and_by_its_id(tmp_path: Path) -> None:
    wave = load(tmp_path, draft='fallback_model = "nano-banana-2.1"')

    assert wave.fallback_model(Kind.DRAFT) == "gemini-nano-banana-2.1"
    assert wave.fallback_model(Kind.FINAL) == ""
    assert wave.fallback_model(Kind.JUDGE) == ""


def test_may_be_named_while_a_job_hangs_without_asking_for_anything_anew(tmp_path: Path) -> None:
    plain = load(tmp_path)

    assert load(tmp_path, draft='fallback_model = "nano-banana-2.1"').revision == plain.revision
    assert load(tmp_path, final='fallback_model = "gemini-3-pro-image"').revision == plain.revision
    assert load(tmp_path, draft='model = "nano-banana-2.1"').revision != plain.revision


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gemini-3.1-flash-lite-image", "take over from"),
        ("gemini-2.5-flash-image", "gemini-3.1-flash-lite-image"),  # retired: its replacement
        ("gemini-3.5-flash-lite", "not images"),
        ("nano-bannana", "nano-banana"),
    ],
)
def test_is_refused_before_anything_is_spent(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(WaveFileError, match="fallback_model") as refused:
        load(tmp_path, draft=f'fallback_model = "{name}"')

    assert words in str(refused.value)
