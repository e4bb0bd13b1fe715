"""Ctrl-C in a terminal: words on lines of their own, and nothing that is drawn over them."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.cli.test_run import WAVE

from imagewave.sandbox.embedded import EmbeddedSandbox

pytestmark = pytest.mark.heavy


def heard(terminal: int) -> Iterator[str]:
    """What appears on the terminal, until nobody has it open any longer."""
    with suppress(OSError):  # how Linux tells the end
        while data := os.read(terminal, 4096):
            yield data.decode(errors="replace")


def _is_accepted(folder: Path) -> bool:
    return any(folder.glob("imagewave-sandbox/jobs/*/accepted.json"))


def test_its_words_begin_on_a_new_line_and_stay(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(WAVE)
    patient = {"defects": "none", "pending_s": 600}
    with EmbeddedSandbox(tmp_path / "sandbox", settings=patient) as sandbox:
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "imagewave", "run", "w.toml"],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if "PREFECT" not in name},
                "TERM": "xterm",
                "GEMINI_API_KEY": "sandbox",
                "GOOGLE_GEMINI_BASE_URL": sandbox.url,
                "PREFECT_HOME": str(tmp_path / "prefect"),
            },
            stdin=end,
            stdout=end,
            stderr=end,
        )
        os.close(end)
        said, stopped = "", False
        for words in heard(terminal):
            said += words
            if "0 of 1 job" in said and not stopped and _is_accepted(tmp_path):
                stopped = True
                process.send_signal(signal.SIGINT)
        os.close(terminal)
        assert process.wait() == 128 + signal.SIGINT
    before, _, after = said.partition("\r\nStopping.\r\n")
    assert before.endswith("\x1b[?25h"), "the cursor is shown again"
    assert "\x1b" not in after
    lines = after.splitlines()
    assert lines[0] == "1 job is with the provider and goes on there:"
    assert lines[1].endswith(": 1 request, $0.0168 held (sandbox: no real money)")
    assert lines[-1] == "Run the same command again to go on; nothing is asked for twice."
