"""A wave by Easel, from the wave file to the delivered pictures, as a user runs it."""

from decimal import Decimal
from pathlib import Path

import pytest
from easel import Easel

import imagewave as iw
from imagewave.cli import main

WAVE = """
[wave]
name = "easels"
lane = "easel-batch"
[wait]
poll_seconds = [0.05, 0.1]
[draft]
model = "easel-1"
[screen]
min_blur = 0
max_border = 1
[judge]
enabled = false
[final]
carry = "accept"
[[brief]]
text = "a paper boat"
"""


@pytest.fixture(autouse=True)
def surroundings(easel: Easel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EASEL_API_KEY", "any")
    monkeypatch.setenv("EASEL_BASE_URL", easel.url)
    Path("wave.toml").write_text(WAVE)


def test_a_wave_is_drawn_and_every_cent_is_known(easel: Easel) -> None:
    billed = len(easel.ledger())
    assert iw.run("wave.toml", store="store").delivered
    paid = iw.Store("store").query("SELECT sum(cost_usd) AS usd FROM costs").rows()
    bill = sum(Decimal(entry["usd"]) for entry in easel.ledger()[billed:])
    assert paid[0]["usd"] == bill > 0


def test_without_a_key_the_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EASEL_API_KEY")
    monkeypatch.delenv("EASEL_BASE_URL")
    with pytest.raises(SystemExit) as ended:
        main(["run", "wave.toml"])
    assert ended.value.code
    assert "Set EASEL_API_KEY" in capsys.readouterr().err


def test_doctor_asks_easel_for_its_models(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor"])
    said = capsys.readouterr().out
    assert "key of easel" in said
    assert "models of easel" in said
