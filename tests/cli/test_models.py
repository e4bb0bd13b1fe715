"""`imagewave models`: what a user sees of the catalog."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner, Result

from imagewave.cli.models import app
from imagewave.errors import ImagewaveError
from imagewave.storage.catalog import UnknownModel


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments, catch_exceptions=True)
    if not isinstance(result.exception, UnknownModel):
        assert result.exit_code == 0, result.output
    return result


def rows(*arguments: str) -> list[str]:
    """The ids in the listing's first column."""
    lines = run(*arguments).output.splitlines()[1:]
    return [line.split()[0] for line in lines if line[:1].strip()]


def test_the_list_has_the_living_and_the_dead() -> None:
    listed = rows()
    assert {"gemini-3.1-flash-lite-image", "dall-e-3", "sdxl", "claude-haiku-5-5"} <= set(listed)
    assert len(listed) == len(set(listed)) > 40
    assert "gone since 2026-05-12" in run().output


def test_filters_narrow_the_list() -> None:
    cheap = rows("--lane", "gemini-batch", "--max-usd", "0.02", "--alive")
    assert cheap[:2] == ["gemini-3.1-flash-lite-image", "gemini-nano-banana-2.1"]
    assert "dall-e-3" not in rows("--alive")
    assert set(rows("--provider", "anthropic")) == {"claude-haiku-5-5"}
    assert rows("--lane", "gpu", "--provider", "google") == []


def test_list_is_the_same_by_its_name() -> None:
    assert run("list", "--alive").output == run("--alive").output


def test_a_price_is_compared_in_the_lane_that_is_asked_for() -> None:
    half = {m["id"] for m in json.loads(run("--max-usd", "0.02", "--json").output)}
    full = json.loads(run("--max-usd", "0.02", "--lane", "interactive", "--json").output)
    assert "gemini-3.1-flash-lite-image" in half
    assert "gemini-3.1-flash-lite-image" not in {m["id"] for m in full}


@pytest.mark.parametrize("limit", ["nan", "inf", "-1"])
def test_a_limit_that_is_no_price_is_wrong_usage(limit: str) -> None:
    result = CliRunner().invoke(app, ["--max-usd", limit])
    assert result.exit_code == 2
    assert "--max-usd" in result.output


def test_unknown_prices_are_counted_rather_than_taken_for_nothing() -> None:
    output = run("--lane", "gpu", "--max-usd", "1").output
    assert "sdxl" not in output
    assert "more have no known price" in output


def test_show_explains_one_model() -> None:
    output = run("show", "nano banana 2.1").output
    for fact in ("gemini-nano-banana-2.1", "USD 0.0252", "1:8", "minimal", "inferred", "14 images"):
        assert fact in output


def test_show_says_what_is_rendered_and_how() -> None:
    output = run("show", "schnell").output
    for fact in ("black-forest-labs/FLUX.1-schnell", "steps", "guidance", "2K by gpu"):
        assert fact in output
    assert "weights" not in run("show", "lite").output


def test_show_says_what_became_of_a_dead_model() -> None:
    output = run("show", "nano banana 2").output
    assert "gone since 2026-10-29, now gemini-nano-banana-2.1" in output


def test_show_as_json_keeps_every_digit() -> None:
    shown = json.loads(run("show", "gpt image", "--json").output)
    prices = {(p["lane"], p["quality"]): p["usd"] for p in shown["usd"] if p["size"] == "1K"}
    assert prices["interactive", "low"] == "0.005880000"
    assert prices["openai-batch", "low"] == "0.002940000"
    assert {s["facts"]: s["grade"] for s in shown["sources"]}["image_tokens"] == "measured"


def test_an_unknown_model_is_an_error_with_the_nearest() -> None:
    result = run("show", "nano banana prro")
    with pytest.raises(UnknownModel, match="gemini-3-pro-image"):
        raise result.exception or AssertionError("no error")


def test_help_teaches_by_example() -> None:
    for arguments in ((), ("list",), ("show",)):
        assert "imagewave models" in run(*arguments, "--help").output


def test_it_starts_without_the_heavy_packages() -> None:
    code = (
        "import sys; from imagewave.cli.models import app; app([], standalone_mode=False);"
        "print(*{'prefect', 'pyarrow', 'google.genai', 'openai', 'numpy', 'PIL', 'duckdb'}"
        " & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("option", "known"), [("--lane", "gemini-batch, openai-batch"), ("--provider", "google")]
)
def test_a_lane_or_provider_that_there_is_not_is_named(option: str, known: str) -> None:
    result = CliRunner().invoke(app, [option, "zzz"])
    assert isinstance(result.exception, ImagewaveError)
    assert "'zzz'" in str(result.exception)
    assert known in str(result.exception)
