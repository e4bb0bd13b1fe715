"""`imagewave once`: one prompt, a few pictures, the bill."""

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from tests.servers import environment
from typer.testing import CliRunner, Result

from imagewave.cli import app
from imagewave.errors import ImagewaveError
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.facts.analytics import query
from imagewave.storage.money.ledger import BudgetExceeded
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy

SETTINGS = {"tiny": 8, "defects": "none"}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with EmbeddedSandbox(tmp_path / "sandbox", settings=SETTINGS) as sandbox:
        keys = {"GEMINI_API_KEY": "k", "OPENAI_API_KEY": "k"}
        addresses = {
            "GOOGLE_GEMINI_BASE_URL": sandbox.url,
            "OPENAI_BASE_URL": f"{sandbox.url}/v1",
        }
        with environment(**keys, **addresses):
            yield sandbox.url


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["once", *arguments, "--store", str(folder / "store")])


def billed(url: str) -> Decimal:
    summary = httpx.get(f"{url}/sandbox/ledger/summary").json()
    return Decimal(summary["usd"])


def pictures(result: Result) -> list[Path]:
    return [Path(line) for line in result.stdout.splitlines() if line.endswith((".jpg", ".png"))]


@pytest.mark.parametrize("model", ["nano-banana-2.1", "gpt image"])
def test_it_shows_the_pictures_and_what_they_cost(url: str, tmp_path: Path, model: str) -> None:
    result = run(tmp_path, "a red bicycle in rain", "--model", model, "--n", "3")

    assert result.exit_code == 0, result.output
    found = pictures(result)
    assert len(found) == 3
    assert all(os.path.getsize(path) > 0 for path in found)
    assert len({path.read_bytes() for path in found}) == 3
    assert billed(url) > 0
    assert f"3 pictures by {'gemini' if 'banana' in model else 'gpt'}" in result.stdout
    assert f"${billed(url):.4f}" in result.stdout
    rows = query(
        Store.open(str(tmp_path / "store")),
        "SELECT sum(cost_usd) AS usd, count(*) AS n FROM costs",
    )
    assert rows == [{"usd": billed(url), "n": 3}]


def test_what_was_asked_for_before_is_free(url: str, tmp_path: Path) -> None:
    first = run(tmp_path, "a red bicycle", "--n", "2")
    bill = billed(url)

    again = run(tmp_path, "a red bicycle", "--n", "2")

    assert pictures(again) == pictures(first)
    assert "$0.0000" in again.stdout
    assert billed(url) == bill


def test_a_refusal_is_told_and_no_picture_is_an_error(url: str, tmp_path: Path) -> None:
    result = run(tmp_path, "a bicycle [[sandbox:block_safety]]")
    assert result.exit_code == 1
    assert "PROMPT_SAFETY" in result.output


def test_it_asks_for_nothing_beyond_its_limit(url: str, tmp_path: Path) -> None:
    result = run(tmp_path, "a bicycle", "--n", "50", "--max-usd", "0.01")
    assert isinstance(result.exception, ImagewaveError)
    assert result.exception.exit_code == BudgetExceeded.exit_code
    assert "--max-usd, is $0.01" in str(result.exception)
    assert "wave file" not in str(result.exception)
    assert billed(url) == 0


def test_what_is_refused_leaves_nothing_behind(url: str, tmp_path: Path) -> None:
    deep = tmp_path / "not" / "there"
    for key, options in (("k", ("--n", "50", "--max-usd", "0.01")), ("bad-key", ())):
        with environment(GEMINI_API_KEY=key, OPENAI_API_KEY=key):
            refused = run(deep, "a bicycle", *options)
        assert isinstance(refused.exception, ImagewaveError), refused.output
        assert not (tmp_path / "not").exists()
    assert billed(url) == 0


def test_a_refusal_changes_nothing_in_a_store_that_there_is(url: str, tmp_path: Path) -> None:
    run(tmp_path, "a red bicycle")
    before = sorted(tmp_path.rglob("*"))
    refused = run(tmp_path, "a blue bicycle", "--n", "50", "--max-usd", "0.01")
    assert isinstance(refused.exception, ImagewaveError)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("prompt", "options", "said"),
    [
        ("", (), "the text is empty"),
        ("   ", (), "the text is empty"),
        ("a\x01b", (), "control characters"),
        ("a bicycle", ("--max-usd", "nan"), "--max-usd: NaN is not possible"),
        ("a bicycle", ("--max-usd", "0"), "more than 0"),
        ("a bicycle", ("--max-usd", "1e30"), "It should have no more than 18 digits"),
        ("a bicycle", ("--max-usd", "1e-10"), "It should have no more than 9 decimal places"),
    ],
)
def test_what_makes_no_sense_is_not_asked_for(
    tmp_path: Path, prompt: str, options: tuple[str, ...], said: str
) -> None:
    result = run(tmp_path, prompt, *options)
    assert isinstance(result.exception, ImagewaveError)
    assert said in str(result.exception)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "gpt-image-1"), "gpt-image-2.5-sunburst"),
        (("--aspect-ratio", "5:1"), "aspect ratio"),
        (("--size", "2K"), "size"),
        (("--quality", "high"), "quality"),
        (("--model", "gemini-3.5-flash-lite"), "not images"),
        (("--lane", "carrier-pigeon"), "no lane"),
    ],
)
def test_what_a_model_does_not_do_is_said_before_anything_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = run(tmp_path, "a bicycle", *arguments)
    assert isinstance(result.exception, ImagewaveError)
    assert words in str(result.exception)
