"""The books: exact money, each line once, and in agreement with what imagewave would meter."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from imagewave.sandbox.core.ledger import Entry, Ledger
from imagewave.sandbox.core.models import served
from imagewave.sandbox.core.prices import Tokens, bill, thought_tokens
from imagewave.storage.catalog import Model
from imagewave.storage.catalog.prices import Usage, metered

_USED = Tokens(prompt=1234, image=1120, text=77, thoughts=851)


def _entry(job: str, line: int, key: str | None, usd: str = "0.1") -> Entry:
    return Entry(
        time=1.5,
        job=job,
        line=line,
        key=key,
        model="gemini-3.8-flash",
        batch=True,
        outcome="image",
        reason="STOP",
        tokens=_USED,
        usd=Decimal(usd),
        defects=("blank",),
    )


@pytest.mark.parametrize(
    ("model", "batch", "usd"),
    [
        ("gemini-3.1-flash-lite-image", True, "0.01680000"),
        ("gemini-3.1-flash-lite-image", False, "0.0336"),
        ("gemini-nano-banana-2.1", True, "0.0168"),
        ("gemini-3-pro-image", True, "0.0672"),
    ],
)
def test_an_image_costs_what_the_price_page_says(model: str, batch: bool, usd: str) -> None:
    assert bill(model, Tokens(image=1120), batch=batch) == Decimal(usd)


@pytest.mark.parametrize("model", served(), ids=lambda model: model.id)
@pytest.mark.parametrize(("lane", "batch"), [("gemini-batch", True), ("interactive", False)])
def test_both_tables_agree_to_the_last_digit(model: Model, lane: str, batch: bool) -> None:
    used = _USED if model.kind == "image" else Tokens(prompt=1234, text=77, thoughts=851)
    usage = Usage(used.prompt, used.image, used.text, used.thoughts)
    today = datetime.now(UTC).date()
    assert bill(model.id, used, batch=batch) == metered(model, usage, lane=lane, at=today)


def test_thinking_less_costs_less() -> None:
    levels = [thought_tokens("gemini-nano-banana-2.1", level) for level in ("minimal", "low", None)]
    assert levels == [0, 212, 850]


def test_a_line_is_written_once_and_survives_reopening(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    first = [_entry("job", 0, "a"), _entry("job", 1, "b", "0")]
    Ledger(path).record(first)
    ledger = Ledger(path)
    ledger.record([*first, _entry("job", 2, "a"), _entry("other", 0, None)])
    assert [Entry.from_json(line).line for line in ledger.read().splitlines()] == [0, 1, 2, 0]
    assert ledger.answers_to("a") == 2
    assert ledger.summary() == {
        "lines": 4,
        "billed_lines": 3,
        "billed_keys": 2,
        "keys_billed_again": 1,
        "usd": "0.3",
    }
    assert Entry.from_json(ledger.read().splitlines()[0]) == first[0]
