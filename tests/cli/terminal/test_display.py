"""What `imagewave run` says last."""

from pathlib import Path

import pytest
from tests.storage.builders import DRAFT_MODEL, WAVE, job, put, result, small_wave, usd

from imagewave.cli.terminal.display import print_summary, summary
from imagewave.storage.store import Store
from imagewave.tasks.reporting.standing import Paid, paid


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(str(tmp_path / "store"))
    small_wave(opened)
    return opened


def test_what_is_with_the_provider_is_no_fact_already(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    now = paid(store, WAVE)
    print_summary(store, summary(store, WAVE, before=now))
    before = capsys.readouterr().out
    put(store, "jobs", "open", *job("j9", "draft", "gemini-3-pro-image", 3, None))
    print_summary(store, summary(store, WAVE, before=now))
    after = capsys.readouterr().out

    assert "This run cost $0" in before
    assert "This run cost $0" not in after
    (held,) = [line for line in after.splitlines() if "With the provider" in line]
    assert held.startswith("With the provider: 1 job, 3 requests; $0.3000 is held")


def test_what_other_waves_cost_is_not_this_ones(store: Store) -> None:
    assert paid(store, WAVE).usd > usd("0.01")
    assert paid(store, "another") == Paid(answers=0, usd=usd("0"))


def test_what_was_asked_and_not_billed_is_no_fact_already(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = paid(store, WAVE)
    failed = {"status": "failed", "reason": "HTTP_404"}
    put(store, "results", "more", result("t8", "j8", "draft", DRAFT_MODEL, "0", **failed))

    print_summary(store, summary(store, WAVE, before=before))

    said = capsys.readouterr().out
    assert "This run cost $0: none of its 1 answer was billed." in said
    assert "a fact already" not in said
    assert "went unanswered" not in said


def test_calls_that_may_have_been_paid_twice_are_told(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = paid(store, WAVE)
    lost = {"status": "missing", "reason": "CALL_UNANSWERED"}
    put(store, "results", "more", result("t8", "j8", "draft", DRAFT_MODEL, "0.03", **lost))

    found = summary(store, WAVE, before=before)
    print_summary(store, found)
    assert found["funnel"]["final"] == 3

    said = capsys.readouterr().out
    assert "1 call went unanswered and may have been paid twice: see docs/lanes.md." in said
    assert "This run cost $0" not in said
