"""`imagewave run` as its users call it: a process of its own, its output, its exit status."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.servers import environment, free_port, make_bucket, s3_environment, start_moto
from typer.testing import CliRunner

from imagewave.cli import app
from imagewave.flows.run import record_wave
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.rounds.reruns import assets_part
from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import load_wave

pytestmark = pytest.mark.heavy

WAVE = """
[wave]
name = "covers"
[wait]
poll_seconds = [0.1, 0.5]
[final]
size = "1K"
[[brief]]
id = "tulips"
text = "Red tulips in the rain"
"""
BRIEF = '[wave]\nname = "w"\n[[brief]]\nid = "a"\ntext = "a red bicycle"\n'


def imagewave(
    folder: Path, *arguments: str, code: str = "", **surroundings: str
) -> subprocess.CompletedProcess[str]:
    """One call of the command line in a folder, with no key but what `surroundings` hold.

    `code` takes the place of the command line's own program.
    """
    keys = ("GEMINI_", "GOOGLE_", "OPENAI_", "ANTHROPIC_", "IMAGEWAVE_", "PREFECT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(keys)}
    return subprocess.run(
        [sys.executable, *(("-c", code) if code else ("-m", "imagewave")), *arguments],
        cwd=folder,
        env={**kept, **surroundings},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSandbox]:
    """A sandbox without defects that knows the usual keys."""
    settings = {"defects": "none", "pending_s": 0.05, "running_s": 0.05}
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=settings) as running:
        yield running


# Notes what processes a command starts, and what it imports.
_WATCHED = """
import sys
started = []
def note(event, arguments):
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec"):
        started.append(arguments[0] if arguments else event)
sys.addaudithook(note)
from imagewave.cli import app
try:
    app(sys.argv[1:])
finally:
    heavy = {"prefect", "google", "openai", "pyarrow", "numpy", "scipy", "cv2", "genai_prices"}
    print("started:", started, "imported:", sorted(heavy & set(sys.modules)))
"""


def test_a_wave_runs_without_any_set_up_and_again_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "covers.toml").write_text(WAVE)
    home = {"PREFECT_HOME": str(tmp_path / "prefect")}

    first = imagewave(tmp_path, "run", "covers.toml", **home)

    assert first.returncode == 0, first.stderr
    for expected in ("embedded sandbox", "requested", "final 1", "The bill", "Report:"):
        assert expected in first.stdout
    report = first.stdout.split("Report: ")[1].replace("\n", "").strip()
    assert "<html" in Path(report).read_text()
    assert "Traceback" not in first.stderr
    assert not (tmp_path / "prefect").exists(), "no server was named, and none was started"

    second = imagewave(tmp_path, "run", "covers.toml", code=_WATCHED, **home)

    assert second.returncode == 0, second.stderr
    assert "This run cost $0" in second.stdout
    assert "final 1" in second.stdout
    assert "started: [] imported: []" in second.stdout


@pytest.mark.slow
def test_a_proxy_is_not_asked_for_the_sandbox(tmp_path: Path) -> None:
    (tmp_path / "covers.toml").write_text(WAVE)
    proxy = f"http://127.0.0.1:{free_port()}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    proxied = {name: proxy for each in names for name in (each, each.lower())}

    run = imagewave(tmp_path, "run", "covers.toml", NO_PROXY="", no_proxy="", **proxied)

    assert run.returncode == 0, run.stderr
    assert "final 1" in run.stdout


def test_a_prefect_server_that_does_not_answer_is_one_error(
    tmp_path: Path, sandbox: EmbeddedSandbox
) -> None:
    (tmp_path / "w.toml").write_text(BRIEF)
    surroundings = {
        "GEMINI_API_KEY": "sandbox",
        "GOOGLE_GEMINI_BASE_URL": sandbox.url,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
        "IMAGEWAVE_PREFECT_WAIT_SECONDS": "0.2",
    }

    ran = imagewave(tmp_path, "run", "w.toml", **surroundings)

    assert ran.returncode == 1
    assert f"Prefect's server at {surroundings['PREFECT_API_URL']} has not answered" in ran.stderr
    assert "Start it" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [path.name for path in (tmp_path / "imagewave-sandbox").iterdir()] == ["store.json"]


@pytest.mark.slow
def test_claude_judges_a_wave_on_the_embedded_sandbox(tmp_path: Path) -> None:
    judge = '[judge]\nmodel = "claude-haiku-5-5"\n[final]'
    (tmp_path / "covers.toml").write_text(WAVE.replace("[final]", judge))

    run = imagewave(tmp_path, "run", "covers.toml", PREFECT_HOME=str(tmp_path / "prefect"))

    assert run.returncode == 0, run.stderr
    assert "No ANTHROPIC_API_KEY and no GEMINI_API_KEY" in run.stdout
    store = Store.open(str(tmp_path / "imagewave-sandbox"), create=False)
    judged = query(store, "SELECT DISTINCT model FROM judgements WHERE verdict = 'pass'")
    assert judged == [{"model": "claude-haiku-5-5"}]


def test_an_image_server_renders_the_drafts_of_a_wave(
    tmp_path: Path, sandbox: EmbeddedSandbox
) -> None:
    (tmp_path / "bulk.toml").write_text(
        BRIEF.replace(
            "[[brief]]",
            '[draft]\nmodel = "flux schnell"\n[judge]\nenabled = false\n'
            '[final]\ncarry = "accept"\n[wait]\npoll_seconds = [0.1, 0.5]\n[[brief]]',
        ).replace("[wave]", '[wave]\nlane = "gpu"')
    )
    surroundings = {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "IMAGEWAVE_GPU_BASE_URL": f"{sandbox.url}/gpu/v1",
        "IMAGEWAVE_GPU_USD_PER_HOUR": "2.50",
    }

    run = imagewave(tmp_path, "run", "bulk.toml", **surroundings)

    assert run.returncode == 0, run.stderr
    store = Store.open(str(tmp_path / "imagewave-sandbox"), create=False)
    assert store.realm == "sandbox"
    assert query(store, "SELECT accepted, final FROM funnel") == [{"accepted": 1, "final": 1}]
    (costs,) = query(store, "SELECT sum(cost_usd) AS usd FROM costs")
    assert 0 < costs["usd"] < 1


@pytest.fixture
def nothing_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store, in its folder, of a wave that has ended without a picture."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "covers.toml").write_text(WAVE)
    wave = load_wave("covers.toml")
    store = Store.open("store")
    record_wave(store, wave)
    facts.append(store, "assets", assets_part(wave.name, wave.revision, 0), [])
    return store


def test_run_and_rerun_answer_in_json(tmp_path: Path) -> None:
    (tmp_path / "covers.toml").write_text(WAVE)

    ran = imagewave(tmp_path, "run", "covers.toml", "--json")

    assert ran.returncode == 0, ran.stderr
    assert "embedded sandbox" in ran.stderr
    found = json.loads(ran.stdout)
    assert (found["wave"], found["state"], found["exit_status"]) == ("covers", "delivered", 0)
    assert (found["wanted"], found["funnel"]["final"]) == (1, 1)
    assert sum(Decimal(row["usd"]) for row in found["bill"]) == Decimal(found["usd"]) > 0
    assert found["this_run"]["usd"] == found["usd"]
    assert found["with_provider"] == {"jobs": 0, "requests": 0, "usd": "0.000000000"}
    assert Path(found["report"]).exists()

    for words, state in (("", "nothing picked"), ("--dry-run", "nothing picked")):
        again = imagewave(tmp_path, "rerun", "covers", "--json", *words.split())
        assert again.returncode == 0, again.stderr
        found = json.loads(again.stdout)
        assert (found["wave"], found["state"], found["picked"]) == ("covers", state, [])


@pytest.mark.usefixtures("nothing_delivered")
def test_json_has_the_exit_status_of_the_command() -> None:
    ended = CliRunner().invoke(app, ["run", "covers.toml", "--store", "store", "--json"])
    assert ended.exit_code == 4
    found = json.loads(ended.stdout)
    assert (found["state"], found["exit_status"]) == ("nothing delivered", 4)
    assert found["briefs_short"][0]["brief"] == "tulips"


@pytest.mark.usefixtures("nothing_delivered")
def test_a_wave_that_delivered_nothing_has_an_exit_status_of_its_own() -> None:
    ended = CliRunner().invoke(app, ["run", "covers.toml", "--store", "store"])
    assert ended.exit_code == 4
    assert "short: tulips 0 of 1" in ended.output


def test_rerun_takes_the_name_of_a_wave_though_a_folder_has_it(
    nothing_delivered: Store, tmp_path: Path
) -> None:
    (tmp_path / "covers").mkdir()
    found = CliRunner().invoke(app, ["rerun", "covers", "--store", nothing_delivered.url])
    assert found.exit_code == 0, found.output
    assert "no failed request of covers is picked" in found.output


@pytest.mark.slow
def test_a_wave_runs_against_a_bucket(tmp_path: Path, sandbox: EmbeddedSandbox) -> None:
    (tmp_path / "covers.toml").write_text(WAVE)
    with start_moto() as endpoint:
        store = f"s3://{make_bucket(endpoint)}/waves"
        surroundings = {
            **s3_environment(endpoint),
            "GEMINI_API_KEY": "sandbox",
            "GOOGLE_GEMINI_BASE_URL": sandbox.url,
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "IMAGEWAVE_CACHE_DIR": str(tmp_path / "cache"),
        }

        ran = imagewave(tmp_path, "run", "covers.toml", "--store", store, **surroundings)

        assert ran.returncode == 0, ran.stderr
        assert "final 1" in ran.stdout
        with environment(**surroundings):
            opened = Store.open(store)
            (asset,) = query(opened, "SELECT asset, bytes FROM assets")
            assert len(opened.read(asset["asset"])) == asset["bytes"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[wave]\nname = "w"\n', "no briefs"),
        (BRIEF.replace('"a"', '" "'), "the id is empty"),
        (BRIEF.replace('"a"', f'"{"a" * 300}"'), "has 300 characters"),
        (BRIEF + '[draft]\nmodel = "dall-e-3"\n', "shut down on 2026-05-12"),
        (BRIEF + '[draft]\nmodel = "no-such-model"\n', "no model 'no-such-model'"),
        (BRIEF + "[draft]\nmodle = 1\n", "Did you mean 'model'?"),
        (BRIEF + "[draft\n", "line 6"),
    ],
    ids=["empty", "empty id", "long id", "retired", "unknown model", "unknown key", "no TOML"],
)
def test_a_bad_wave_file_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "w.toml").write_text(text)

    ran = imagewave(tmp_path, "run", "w.toml")

    assert ran.returncode == 1
    assert expected in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["w.toml"]


def test_a_missing_wave_file_is_named(tmp_path: Path) -> None:
    ran = imagewave(tmp_path, "run", "nowhere.toml")

    assert ran.returncode == 1
    assert "nowhere.toml: it does not exist" in ran.stderr


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(BRIEF)
    (tmp_path / "file").write_text("not a folder")

    ran = imagewave(tmp_path, "run", "w.toml", "--store", "file/store")

    assert ran.returncode == 1
    assert "A file stands where a folder is needed" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("key", "expected"),
    [({"GEMINI_API_KEY": "bad-key"}, "API_KEY_INVALID"), ({}, "There is no key")],
    ids=["wrong", "missing"],
)
def test_a_key_that_is_no_key_stops_before_anything_is_recorded(
    tmp_path: Path, sandbox: EmbeddedSandbox, key: dict[str, str], expected: str
) -> None:
    (tmp_path / "w.toml").write_text(BRIEF)
    surroundings = {
        "GOOGLE_GEMINI_BASE_URL": sandbox.url,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        **key,
    }

    ran = imagewave(tmp_path, "run", "w.toml", **surroundings)

    assert ran.returncode == 1
    assert expected in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [path.name for path in (tmp_path / "imagewave-sandbox").iterdir()] == ["store.json"]
