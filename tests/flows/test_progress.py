"""What whoever watches a wave is told; who may go away: the wave goes on."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.flows.conftest import FAST
from tests.servers import environment

from imagewave.flows.progress import Progress, tell, watched_by
from imagewave.flows.wave import run_wave
from imagewave.sandbox.embedded import EmbeddedSandbox

pytestmark = pytest.mark.heavy

WAVE = """
[wave]
name = "spring"
[wait]
poll_seconds = [0.05, 0.3]
list_lag_seconds = 0.5
[judge]
enabled = false
[draft]
max_rounds = 1
[final]
carry = "accept"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a wave, which is drawn by a sandbox without defects."""
    with EmbeddedSandbox(tmp_path / "sandbox", settings={**FAST, "tiny": 8}) as sandbox:
        surroundings = {"GEMINI_API_KEY": "sandbox", "GOOGLE_GEMINI_BASE_URL": sandbox.url}
        with environment(**surroundings):
            yield tmp_path


def watch(folder: Path, texts: list[str], rerun: str | None = None) -> dict[str, Progress]:
    """Runs a wave of these briefs; returns what was told of each stage last, in order."""
    briefs = (f'[[brief]]\nid = "b{n}"\ntext = "{text}"\n' for n, text in enumerate(texts))
    (folder / "w.toml").write_text(WAVE + "".join(briefs))
    heard: dict[str, Progress] = {}
    with watched_by(lambda progress: heard.update({progress.stage: progress})):
        run_wave(str(folder / "w.toml"), str(folder / "store"), rerun=rerun)
    return heard


def test_progress_adds_up_over_what_is_tried_again(folder: Path) -> None:
    pears = ["A pear [[sandbox:no_image x1]]", "A pear, cut", "Two pears [[sandbox:no_image x1]]"]
    drafts = watch(folder, pears)["draft 1"]
    assert (drafts.requests_done, drafts.requests, drafts.tried_again) == (3, 3, 2)
    assert (drafts.jobs_done, drafts.jobs) == (2, 2)


def test_rounds_are_numbered_as_they_come(folder: Path) -> None:
    pears = ["A pear [[sandbox:block_safety x1]]", "A pear, cut"]
    first = watch(folder, pears)
    assert [stage for stage in first if stage.startswith("draft")] == ["draft 1"]
    again = watch(folder, pears, rerun="status = 'refused'")
    assert [stage for stage in again if stage.startswith("draft")] == ["draft 2"]
    assert again["draft 2"].requests == 1


def test_a_watcher_that_fails_ends_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def closed(progress: Progress) -> None:
        raise BrokenPipeError("the terminal is closed")

    with (
        caplog.at_level(logging.ERROR),
        watched_by(closed),
        watched_by(lambda progress: heard.append(progress.stage)),
    ):
        tell(Progress(stage="draft 1"))
    assert heard == ["draft 1"]
    assert "the terminal is closed" in caplog.text
