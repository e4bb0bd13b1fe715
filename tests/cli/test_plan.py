"""`imagewave plan`: what a user sees, and that it neither spends nor leaves anything behind."""

import json
import socket
from decimal import Decimal
from pathlib import Path

import pytest
from tests.servers import environment
from typer.testing import CliRunner, Result

from imagewave.cli import app
from imagewave.storage.facts import facts
from imagewave.storage.rounds.reruns import assets_part
from imagewave.storage.store import NoStore, Store
from imagewave.storage.waves.wave_file import load_wave

pytestmark = pytest.mark.heavy

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
    for words in (
        "draft",
        "judge",
        "final",
        "total",
        "8 of 10 simulations",
        "no history",
        "batch saves",
    ):
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


def test_where_nothing_can_be_compared_the_command_fails(wave: Path) -> None:
    failed = CliRunner().invoke(app, ["plan", str(wave), "--compare", "claude-haiku-5-5,dall-e-2"])
    assert failed.exit_code == 1
    assert "'claude-haiku-5-5' is a model for texts, not images" in failed.output
    assert "drafts by" not in failed.output
    for wrong in (("--compare", ","), ("--explain", "--check", "actual")):
        assert CliRunner().invoke(app, ["plan", str(wave), *wrong]).exit_code == 2


def test_a_delivered_wave_has_nothing_more_to_pay_for(wave: Path) -> None:
    loaded = load_wave(wave)
    store = Store.open("imagewave-data")
    facts.append(store, "assets", assets_part(loaded.name, loaded.revision, 0), [])
    output = run(str(wave)).output
    assert "delivered: there is nothing more to pay for" in output
    assert "total" not in output


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


def test_the_printed_figures_add_up(wave: Path) -> None:
    rows = [line.split() for line in run(str(wave)).output.splitlines()]
    stages = [row for row in rows if row[:1] in (["draft"], ["judge"], ["final"])]
    stages = [row for row in stages if row[1] not in ("takes", "pass:")]
    assert len(stages) == 3
    [total] = [row for row in rows if row[:1] == ["total"]]
    figures = [[Decimal(row[at]) for row in stages] for at in (-5, -4, -3)]
    assert sum(figures[1]) == Decimal(total[2])
    assert all(low <= mean <= high for low, mean, high in zip(*figures, strict=True))
    assert Decimal(total[1]) <= Decimal(total[2]) <= Decimal(total[3])


def test_json_has_times_quotas_and_the_own_gpu(wave: Path) -> None:
    with environment(IMAGEWAVE_GPU_USD_PER_HOUR="2.50"):
        found = json.loads(run(str(wave), "--json").stdout)
    assert found["expected_s"] == sum(line["time"]["expected_s"] for line in found["lines"])
    assert found["lines"][0]["free"] == {"low": 0, "middle": 0, "high": 0}
    assert found["own_gpu"]["usd_per_hour"] == "2.50"
    assert found["own_gpu"]["pays_per_month"] > found["own_gpu"]["pays_per_hour"] > 0
    [tokens] = [q for q in found["quotas"] if (q["stage"], q["what"]) == ("draft", "tokens queued")]
    assert tokens["tiers"]["tier 1"] == 2_000_000
    assert tokens["source"]["date"] == "2026-11-20"


def test_the_table_says_what_a_gpu_would_cost_or_what_is_missing(wave: Path) -> None:
    with environment(IMAGEWAVE_GPU_USD_PER_HOUR="2.50"):
        output = run(str(wave)).output
        table = run(str(wave), "--compare", "lite,sdxl@gpu").output
    assert "Rented by the month it pays from" in output
    assert [line for line in table.splitlines() if line.startswith("sdxl") and " gpu " in line]
    with environment(IMAGEWAVE_GPU_USD_PER_HOUR=""):
        assert "Set IMAGEWAVE_GPU_USD_PER_HOUR" in run(str(wave)).output


def test_it_says_what_would_deliver_more_and_how_long_batches_really_take(wave: Path) -> None:
    wave.write_text(WAVE.replace("want = 2", "want = 8") + "[draft]\nmax_oversample = 1\n")
    output = run(str(wave)).output
    assert "To get more, set [draft] max_oversample = " in output
    assert "the provider aims at 24 h" in output
    assert "[budget] wave_usd = " in output
    found = json.loads(run(str(wave), "--json").stdout)
    assert found["delivered"]["middle"] < 8
    assert found["remedy"]["keys"]["max_oversample"] > 1
    assert found["remedy"]["delivered"]["middle"] > found["delivered"]["middle"]
    assert Decimal(found["remedy"]["usd"]["middle"]) > Decimal(found["usd"]["middle"])
    assert all(line["time"]["expected_s"] < line["time"]["aim_s"] for line in found["lines"])


def test_an_error_is_json_where_json_was_asked_for(wave: Path) -> None:
    wave.write_text(WAVE.replace('id = "tulips"', 'idd = "tulips"'))
    failed = CliRunner().invoke(app, ["plan", str(wave), "--json"])
    assert failed.exit_code == 1
    error = json.loads(failed.stdout)["error"]
    assert error["type"] == "WaveFileError"
    assert error["problems"][0]["key"] == "brief[1].idd"
    assert error["problems"][0]["fix"].startswith("Did you mean 'id'?")
