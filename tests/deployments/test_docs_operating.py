"""The commands of docs/operating.md, run in order by a shell as an operator would."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import free_port

from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operating.md"
TESTED = re.compile(r"^<!-- tested -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# The first answer is refused, any later one is fine: there is something to make again.
WAVE = """
[wave]
name = "covers"
[wait]
poll_seconds = [0.1, 0.3]
list_lag_seconds = 0.5
[draft]
max_rounds = 1
max_oversample = 1
[screen]
min_blur = 0
min_entropy = 0
[judge]
enabled = false
[final]
carry = "accept"
[[brief]]
id = "tulips"
text = "red tulips [[sandbox:finish_image_safety x1]]"
"""


class Shell:
    """A bash that is told one block after the other."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.log = folder / "shell.log"
        self._said = open(self.log, "wb")  # noqa: SIM115 - as long as the shell
        self._bash = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            cwd=ROOT,
            env=environment,
            text=True,
            start_new_session=True,
        )

    def run(self, block: str) -> str:
        """Runs the block, which must succeed; returns what it printed."""
        assert self._bash.stdin
        assert self._bash.stdout
        # A failing command ends the block, not the shell, whose variables the next one needs.
        lines = " && ".join(f"{{ {command}; }}" for command in commands(block))
        # What a command printed last may have no newline.
        self._bash.stdin.write(f"{lines}\nprintf '\\n== %s\\n' $?\n")
        self._bash.stdin.flush()
        printed: list[str] = []
        for line in self._bash.stdout:
            if line.startswith("== "):
                assert line == "== 0\n", f"{block}\n{''.join(printed)}\n{self.log.read_text()}"
                return "".join(printed)
            printed.append(line)
        raise AssertionError(f"the shell died of {block}")

    def close(self) -> None:
        """Ends the shell and all that it started."""
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()
        self._said.close()


def commands(block: str) -> list[str]:
    """The commands of a block; loops stay whole, and what runs on says it elsewhere."""
    found: list[str] = []
    depth = 0
    for line in block.strip().splitlines():
        if depth:
            found[-1] += "\n" + line
        else:
            found.append(line)
        depth += line.startswith(("for ", "while ")) - line.startswith("done")
    return [f"{c[:-1]} >/dev/null 2>&1 & true" if c.endswith("&") else c for c in found]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "IMAGEWAVE_", "GEMINI_", "GOOGLE_"))
    }
    with EmbeddedSandbox(tmp_path / "sandbox", settings={"defects": "none"}) as sandbox:
        environment = kept | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GEMINI_API_KEY": "sandbox",
            "GOOGLE_GEMINI_BASE_URL": sandbox.url,
            "NO_COLOR": "1",
        }
        shell = Shell(tmp_path, environment)
        try:
            yield shell
        finally:
            shell.close()


@pytest.mark.timeout(900)
def test_the_commands_of_the_page_work(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "waves").mkdir()
    (tmp_path / "waves" / "covers.toml").write_text(WAVE)
    page = PAGE.read_text().replace("/srv/", f"{tmp_path}/").replace("4200", str(free_port()))
    blocks = TESTED.findall(page)
    assert len(blocks) >= 9

    for block in blocks:
        if "imagewave rerun" in block:
            assert delivered(tmp_path) == 0, "the first answer was refused"
        shell.run(block)

    assert delivered(tmp_path) == 1, "made again from Prefect"
    backup = Store.open(str(tmp_path / "backup"), create=False)
    assert query(backup, "SELECT count(*) AS n FROM attempts")[0]["n"] == 2


def delivered(folder: Path) -> int:
    """How many assets the store has."""
    store = Store.open(str(folder / "imagewave"))
    return int(query(store, "SELECT count(*) AS n FROM assets")[0]["n"])
