"""`imagewave sandbox serve` as people run it."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.sandbox.conftest import client_for
from typer.testing import CliRunner

from imagewave.cli.sandbox import app
from imagewave.errors import ImagewaveError

pytestmark = pytest.mark.heavy


def test_the_help_teaches_by_example() -> None:
    text = CliRunner().invoke(app, ["serve", "--help"]).output
    assert "imagewave sandbox serve --port 8765 --state ./sandbox --defects harsh" in text
    assert "GOOGLE_GEMINI_BASE_URL" in text


def test_serve_prints_its_url_when_ready_and_ends_with_its_input(tmp_path: Path) -> None:
    config = tmp_path / "defects.toml"
    config.write_text("pending_s = 0.5\nseed = 9\ntiny = 2\n[defects]\nblank = 0.25\n")
    ready = tmp_path / "ready.json"
    options = ["--port", "0", "--state", str(tmp_path / "state"), "--defects", str(config)]
    options += ["--ready-file", str(ready), "--exit-with-parent", "--tiny", "4"]
    with subprocess.Popen(
        [sys.executable, "-c", "from imagewave.cli.sandbox import app; app()", "serve", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline()
        url = line.removeprefix("sandbox ready at ").strip()
        client = client_for(url)
        assert client.models.get(model="gemini-3.8-flash").name == "models/gemini-3.8-flash"
        with urllib.request.urlopen(f"{url}/sandbox/config") as response:
            settings = json.load(response)
        assert (settings["pending_s"], settings["tiny"], settings["seed"]) == (0.5, 4, 9)
        assert settings["defects"] == {"blank": 0.25, "clears_after": 1}
        process.stdin.close()
        assert process.wait(20) == 0
    assert json.loads(ready.read_text())["url"] == url


def test_serve_stops_on_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from imagewave.cli.sandbox import app; app()"]
    with subprocess.Popen(
        [*command, "serve", "--port", "0", "--state", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)


def test_a_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["serve", "--state", str(tmp_path), "--port", port])
    assert isinstance(result.exception, ImagewaveError)
    assert f"127.0.0.1:{port}" in str(result.exception)


@pytest.mark.parametrize(
    ("defects", "words"),
    [
        ("mlid", "known ones are none, mild, harsh"),
        ("nowhere.toml", "No such file"),
        ("broken.toml", "broken.toml is not TOML"),
        ("strange.toml", "'clears_after' must be a whole number"),
    ],
)
def test_wrong_defects_are_one_clear_error(tmp_path: Path, defects: str, words: str) -> None:
    (tmp_path / "broken.toml").write_text("[")
    (tmp_path / "strange.toml").write_text('[defects]\nclears_after = "x"\n')
    file = str(tmp_path / defects) if defects.endswith(".toml") else defects
    result = CliRunner().invoke(app, ["serve", "--state", str(tmp_path), "--defects", file])
    assert isinstance(result.exception, ImagewaveError)
    assert words in str(result.exception)


def test_a_state_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    options = ["--port", "0", "--state", str(tmp_path / "file")]
    result = CliRunner().invoke(app, ["serve", *options])
    assert isinstance(result.exception, ImagewaveError)
    assert "Name a folder that can be written with --state." in str(result.exception)


@pytest.mark.parametrize(("option", "value"), [("--port", "99999"), ("--pending", "nan")])
def test_numbers_that_are_none_are_refused(tmp_path: Path, option: str, value: str) -> None:
    result = CliRunner().invoke(app, ["serve", "--state", str(tmp_path), option, value])
    assert result.exit_code == 2 or isinstance(result.exception, ImagewaveError)
    assert not list(tmp_path.iterdir())
