"""What is printed is what was meant: nothing is obeyed by a terminal, and no reader is needed."""

import json
import logging
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from tests.cli.test_run import WAVE, imagewave
from tests.storage.builders import REVISION, put, small_wave
from tests.storage.builders import WAVE as SMALL

from imagewave.cli.terminal import printing, tables
from imagewave.errors import ImagewaveError
from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import Problem, WaveFileError

pytestmark = pytest.mark.heavy

EVIL = "\x1b[31mred\x9b2J[/bold] :smile: \u202egnp.exe\r\udcff"
SPELLED = "\\x1b[31mred\\x9b2J[/bold] :smile: \\u202egnp.exe\\x0d\\xff"


def test_words_reach_either_stream_word_for_word(capsys: pytest.CaptureFixture[str]) -> None:
    printing.say(EVIL)
    tables.say((EVIL, "bold"), EVIL)
    printing.tell(EVIL)
    printing.warn(EVIL)
    said = capsys.readouterr()
    assert said.out == f"{SPELLED}\n{SPELLED}{SPELLED}\n"
    assert said.err == f"{SPELLED}\nWarning: {SPELLED}\n"


def test_so_do_tables(capsys: pytest.CaptureFixture[str]) -> None:
    table = tables.Table(EVIL, title=EVIL)
    table.add_row(EVIL)
    tables.show(table)
    assert capsys.readouterr().out.count(SPELLED) == 3


def test_json_is_valid_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    printing.answer({"name": EVIL, "usd": Decimal("1E-9")})
    said = capsys.readouterr().out
    assert json.loads(said) == {"name": EVIL, "usd": "0.000000001"}
    assert not set("\x1b\x9b\u202e\r\udcff") & set(said)


def test_an_error_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem(file="w.toml", line=3, key="wave.name", message="it is odd.", fix="Mend it.")

    def fail() -> None:
        with printing.answering_in_json(True):
            printing.say("What is going on.")
            raise WaveFileError([problem])

    with pytest.raises(WaveFileError):
        fail()
    said = capsys.readouterr()
    (found,) = json.loads(said.out).values()
    assert found["type"] == "WaveFileError"
    assert found["exit_status"] == 1
    assert found["problems"] == [
        {
            "file": "w.toml",
            "line": 3,
            "key": "wave.name",
            "message": "it is odd.",
            "fix": "Mend it.",
        }
    ]
    assert said.err == "What is going on.\n"


def test_without_json_an_error_is_not_printed_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImagewaveError), printing.answering_in_json(False):
        raise ImagewaveError("No.")
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_a_path_may_look_like_markup_and_a_pipe_may_close(tmp_path: Path) -> None:
    folder = tmp_path / "[" / "bold]"
    folder.mkdir(parents=True)
    (folder / "w.toml").write_text(WAVE)

    ran = imagewave(folder, "run", "w.toml")

    assert ran.returncode == 0, ran.stderr
    assert f"Report: {folder}/imagewave-sandbox/reports/covers.html" in ran.stdout
    for shell in ("| head -1", ">&-", ">&- 2>&- <&-"):
        again = _in_a_shell(folder, f"run w.toml {shell}")
        assert again.returncode == 0, again.stderr
        assert again.stderr == ""


def _in_a_shell(folder: Path, words: str) -> subprocess.CompletedProcess[str]:
    """The exit status is the command's, whatever it is piped into."""
    code = "from imagewave.cli import main; main()"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"{sys.executable}" -c "{code}" {words}'],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_could_not_be_printed_is_an_error_but_not_a_reason_to_stop(tmp_path: Path) -> None:
    small_wave(Store.open(str(tmp_path / "store")))
    for words in (
        "sql 'from funnel' --store store",
        "status --store store",
        "status --store store --json",
    ):
        full = _in_a_shell(tmp_path, f"{words} > /dev/full")
        assert full.returncode == 1
        assert full.stderr == "Error: not all of it could be printed: No space left on device.\n"


@pytest.mark.parametrize("coding", ["ascii", "latin-1"])
def test_a_stream_of_another_encoding_takes_what_it_can(tmp_path: Path, coding: str) -> None:
    listed = imagewave(tmp_path, "sql", "select '→ x' as name", PYTHONIOENCODING=coding)
    assert listed.returncode == 0, listed.stderr
    assert "\\u2192 x" in listed.stdout


def test_what_providers_and_briefs_are_called_do_not_reorder_a_line(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    small_wave(store)
    here = {"wave": SMALL, "revision": REVISION, "brief": "tulips", "round": 9, "tier": "final"}
    rejected = {"request_id": "r9", "decision": "rejected", "reason": "judge: \u202egone"}
    put(store, "decisions", "evil", here | rejected | {"rank": 0})
    asked = "select reason from decisions where request_id = 'r9'"
    said = imagewave(tmp_path, "sql", asked, "--store", store.url)
    assert "\u202e" not in said.stdout
    assert "judge: \\u202egone" in said.stdout


LOGGING = """
import logging, sys
from imagewave.cli.terminal import printing
printing.set_up()
logging.getLogger("imagewave.tasks").warning("Line %s", "\\x1b[2Jgone")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("imagewave").exception("A defect")
"""


def test_warnings_of_the_library_are_printed_like_those_of_commands(tmp_path: Path) -> None:
    said = imagewave(tmp_path, code=LOGGING).stderr
    assert said.startswith("Warning: Line \\x1b[2Jgone\nError: A defect\nTraceback")
    assert logging.getLogger("imagewave").propagate, "only a command's own process prints them"
