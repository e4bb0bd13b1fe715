"""What `imagewave run` says last."""

from pathlib import Path

import pytest
from tests.storage.builders import WAVE, job, put, small_wave, usd

from imagewave.cli.display import print_summary
from imagewave.cli.run import spent_on
from imagewave.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(str(tmp_path / "store"))
    small_wave(opened)
    return opened


def test_what_is_with_the_provider_is_no_fact_already(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(store, WAVE, spent=False)
    before = capsys.readouterr().out
    put(store, "jobs", "open", *job("j9", "draft", "gemini-3-pro-image", 3, None))
    print_summary(store, WAVE, spent=False)
    after = capsys.readouterr().out

    assert "This run cost $0" in before
    assert "This run cost $0" not in after
    (held,) = [line for line in after.splitlines() if "With the provider" in line]
    assert held.startswith("With the provider: 1 job, 3 requests; $0.3000 is held")


def test_what_other_waves_cost_is_not_this_ones(store: Store) -> None:
    assert spent_on(store, WAVE) > usd("0.01")
    assert spent_on(store, "another") == 0
