"""`imagewave status` in a terminal of 80 columns, and as JSON."""

import json
from pathlib import Path

import pytest
from tests.storage.builders import REVISION, WAVE, job, put, small_wave

from imagewave.cli.status import status
from imagewave.storage.store import Store

JOB = "0123456789abcdef0123456789abcdef"
REASON = "[b]final[/b] refused: " + "very " * 30 + "unsafe"
LONG = "a-wave-with-a-name-that-is-longer-than-any-column-may-be"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The small wave with an open job, a brief that has ended short, and a wave without costs."""
    monkeypatch.setenv("COLUMNS", "80")
    opened = Store.open(str(tmp_path / "store"))
    small_wave(opened)
    put(opened, "jobs", "open", *job(JOB, "draft", "gemini-3-pro-image", 3, None))
    here = {"wave": WAVE, "revision": REVISION, "brief": "quay"}
    put(opened, "briefs", "quay", here | {"text": "A quay", "want": 2, "aspect_ratio": "1:1"})
    put(opened, "steps", "quay", here | {"round": 2, "drafts": 0, "reason": "cap"})
    rejected = {"tier": "draft", "round": 1, "decision": "rejected", "rank": 0, "reason": REASON}
    put(opened, "decisions", "quay", here | rejected | {"request_id": "q1"})
    other = {"wave": LONG, "revision": REVISION}
    put(opened, "waves", "other", other | {"file": "f", "spec": "{}", "realm": "sandbox"})
    brief = {"brief": "a", "text": "A", "want": 100_000, "aspect_ratio": "1:1"}
    put(opened, "briefs", "other", other | brief)
    return opened


def test_nothing_is_cut_at_80_columns(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    status(store=store.url)

    said = capsys.readouterr().out
    assert max(len(line) for line in said.splitlines()) <= 80
    assert "…" not in said
    for whole in ("USD each", "0.0000", "0.3000", "0123456789ab", "100000", "0 of 2"):
        assert whole in said
    assert "0123456789abc" not in said
    assert said.count("very") == 30
    assert "[b]final[/b]" in said


def test_money_in_json_has_no_exponent(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    status(store=store.url, as_json=True)

    waves = {row["wave"]: row for row in json.loads(capsys.readouterr().out)["waves"]}
    assert waves[LONG]["spent_usd"] == "0.000000000"
