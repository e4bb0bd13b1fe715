"""`imagewave plan`: what a user sees, and that it neither spends nor leaves anything behind."""

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from imagewave.cli import app
from imagewave.storage.store import NoStore, Store

WAVE = """
[wave]
name = "covers"
use_case = "hero"
[budget]
wave_usd = 0.02
[[brief]]
id = "tulips"
text = "A field of tulips"
want = 2
"""


@pytest.fixture
def wave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wave file in an empty folder; whoever opens a connection fails."""
    monkeypatch.chdir(tmp_path)
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def refuse(*_: object) -> None:
        raise AssertionError("a plan asks nobody")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    file = tmp_path / "covers.toml"
    file.write_text(WAVE, "utf-8")
    return file


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_a_plan_shows_stages_prices_and_where_the_rates_come_from(wave: Path) -> None:
    output = run(str(wave)).output
    for words in ("draft", "judge", "final", "total", "80 % range", "no history", "batch saves"):
        assert words in output
    assert "Warning: The wave probably stops at its budget of $0.02" in output


def test_a_plan_leaves_no_trace(wave: Path) -> None:
    run(str(wave))
    run(str(wave), "--compare", "lite,2.1")
    assert [file.name for file in wave.parent.iterdir()] == ["covers.toml"]


def test_the_same_as_json_with_money_as_text(wave: Path) -> None:
    found = json.loads(run(str(wave), "--json").stdout)
    assert [line["stage"] for line in found["lines"]] == ["draft", "judge", "final"]
    assert isinstance(found["usd"]["middle"], str)
    assert found["wanted"] == 2
    assert found["usd"]["low"] <= found["usd"]["middle"] <= found["usd"]["high"]


def test_models_are_compared_and_the_impossible_explained(wave: Path) -> None:
    output = run(str(wave), "--compare", "nano banana 2 lite, gemini-3-pro-image,dall-e-2").output
    assert "gemini-3.1-flash-lite-image" in output
    assert "gemini-3-pro-image" in output
    assert "was shut down on 2026-05-12" in output


def test_a_wave_that_never_ran_has_nothing_to_check(wave: Path, tmp_path: Path) -> None:
    with pytest.raises(NoStore):
        run(str(wave), "--check", "actual", "--store", str(tmp_path / "none"))
    Store.open(str(tmp_path / "empty"))
    with pytest.raises(Exception, match="nothing of the wave 'covers'"):
        run(str(wave), "--check", "actual", "--store", str(tmp_path / "empty"))


def test_the_choice_of_models_is_explained_on_request(wave: Path) -> None:
    reason = "hero needs 2000 pixels"
    assert reason not in run(str(wave)).output
    assert reason in run(str(wave), "--explain").output
    routing = json.loads(run(str(wave), "--explain", "--json").stdout)["routing"]
    assert routing[0].startswith(reason)
    wave.write_text(
        WAVE.replace("[[brief]]", '[draft]\nmodel = "lite"\n[final]\ncarry = "accept"\n[[brief]]')
    )
    assert "names its models itself" in run(str(wave), "--explain").output
