"""Real pictures and the sandbox's stand-ins: stores of their own, and sums that say which."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.servers import provider_before
from typer.testing import CliRunner

from imagewave.cli import app
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.facts.analytics import query
from imagewave.storage.realms import NO_REAL_MONEY, Realm
from imagewave.storage.store import Store

pytestmark = pytest.mark.slow

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
_OURS = ("GEMINI_", "GOOGLE_", "OPENAI_", "ANTHROPIC_", "IMAGEWAVE_", "PREFECT_")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSandbox]:
    """A sandbox without defects that knows the usual keys."""
    settings = {"defects": "none", "pending_s": 0.05, "running_s": 0.05}
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=settings) as running:
        yield running


@pytest.fixture
def with_key(sandbox: EmbeddedSandbox) -> Iterator[dict[str, str]]:
    """A key, and what looks like a real provider: nothing of it says that it is a sandbox."""
    with provider_before(sandbox.url) as url:
        yield {"GEMINI_API_KEY": "a-key", "GOOGLE_GEMINI_BASE_URL": url}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a wave file, in which nothing is set up."""
    for name in os.environ:
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "covers.toml").write_text(WAVE)
    return tmp_path


def imagewave(*arguments: str, **surroundings: str) -> str:
    """What a command says that ends well, run as a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "imagewave", *arguments],
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def lines_billed(sandbox: EmbeddedSandbox) -> int:
    """How much the provider has answered so far."""
    lines: int = httpx.get(f"{sandbox.url}/sandbox/ledger/summary").json()["lines"]
    return lines


def contents(store: Path) -> dict[str, bytes]:
    """Every file below the folder."""
    return {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_the_first_hour_ends_with_real_pictures(
    folder: Path, sandbox: EmbeddedSandbox, with_key: dict[str, str]
) -> None:
    untouched = json.loads(imagewave("plan", "covers.toml", "--json", **with_key))

    tried = imagewave("run", "covers.toml")

    assert "final 1" in tried
    assert f"The bill ({NO_REAL_MONEY})" in tried
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["imagewave-sandbox"]
    assert f"Waves ({NO_REAL_MONEY})" in imagewave("status")
    assert f"({NO_REAL_MONEY})" in imagewave("plan", "covers.toml")
    stand_ins = contents(folder / "imagewave-sandbox")

    plan = json.loads(imagewave("plan", "covers.toml", "--json", **with_key))
    assert plan == untouched, "what the sandbox did is no history of real pictures"
    assert not plan["delivered_already"]
    assert float(plan["usd"]["middle"]) > 0
    assert NO_REAL_MONEY not in imagewave("plan", "covers.toml", **with_key)

    before = lines_billed(sandbox)
    real = imagewave("run", "covers.toml", **with_key)

    assert "final 1" in real
    assert NO_REAL_MONEY not in real
    assert lines_billed(sandbox) > before, "they were made, not taken from the stand-ins"
    store = Store.open("imagewave-data", create=False)
    assert store.realm is Realm.LIVE
    assert query(store, "SELECT wave, realm FROM waves") == [{"wave": "covers", "realm": "live"}]
    assert contents(folder / "imagewave-sandbox") == stand_ins

    # Both are there: who has a key asks about real pictures, who has none about stand-ins.
    count = ("sql", "select realm from waves", "--format", "csv")
    assert imagewave(*count, **with_key).split() == ["realm", "live"]
    assert imagewave(*count).split() == ["realm", "sandbox"]
    assert NO_REAL_MONEY not in imagewave("status", **with_key)
    assert "delivered" in imagewave("plan", "covers.toml", **with_key)
    assert "This run cost $0" in imagewave("run", "covers.toml", **with_key)


@pytest.fixture
def stand_ins(folder: Path) -> Path:
    """The sandbox's store of a wave that has ended there."""
    Store.open("imagewave-sandbox").mark_realm(Realm.SANDBOX)
    return folder / "imagewave-sandbox"


COMMANDS = {
    "run": ["run", "covers.toml"],
    "plan": ["plan", "covers.toml"],
    "rerun": ["rerun", "covers.toml", "--dry-run"],
    "rerun by name": ["rerun", "covers", "--dry-run"],
    "once": ["once", "a red bicycle"],
    "import": ["import", "pictures", "--wave", "covers.toml", "--brief", "tulips"],
    "watch": ["watch"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_with_a_key_no_command_works_on_stand_ins(
    stand_ins: Path,
    sandbox: EmbeddedSandbox,
    with_key: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    Path("pictures").mkdir()
    for name, value in with_key.items():
        monkeypatch.setenv(name, value)
    before, billed = contents(stand_ins), lines_billed(sandbox)

    refused = CliRunner().invoke(app, [*command, "--store", "imagewave-sandbox"])

    assert refused.exit_code == 1
    said = str(refused.exception)
    assert f"{stand_ins} is of the realm 'sandbox'" in said
    assert "This would be of the realm 'live'" in said
    assert "unset the providers' keys" in said
    assert "go to imagewave-data" in said
    assert (contents(stand_ins), lines_billed(sandbox)) == (before, billed)


@pytest.mark.parametrize("sandboxed", [False, True], ids=["no key", "a sandbox's address"])
@pytest.mark.parametrize("name", ["run", "once"])
def test_stand_ins_do_not_get_into_a_store_of_real_pictures(
    folder: Path,
    sandbox: EmbeddedSandbox,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    sandboxed: bool,
) -> None:
    if sandboxed:
        monkeypatch.setenv("GEMINI_API_KEY", "a-key")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", sandbox.url)
    Store.open("team").mark_realm(Realm.LIVE)
    before, billed = contents(folder / "team"), lines_billed(sandbox)

    refused = CliRunner().invoke(app, [*COMMANDS[name], "--store", "team"])

    assert refused.exit_code == 1
    said = str(refused.exception)
    assert "is of the realm 'live': it holds real pictures" in said
    assert "This would be of the realm 'sandbox'" in said
    assert "set the provider's key, such as GEMINI_API_KEY" in said
    assert (contents(folder / "team"), lines_billed(sandbox)) == (before, billed)


def test_a_plan_by_real_pictures_needs_no_key(folder: Path) -> None:
    Store.open("team").mark_realm(Realm.LIVE)

    planned = CliRunner().invoke(app, ["plan", "covers.toml", "--store", "team"])

    assert planned.exit_code == 0, planned.output
    assert "total" in planned.output
    assert NO_REAL_MONEY not in planned.output


def test_a_sandbox_by_its_address_is_one_too(
    folder: Path, sandbox: EmbeddedSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "a-key")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", sandbox.url)

    made = CliRunner().invoke(app, ["once", "a red bicycle"])

    assert made.exit_code == 0, made.output
    assert f"({NO_REAL_MONEY})." in made.output
    assert Store.open("imagewave-sandbox", create=False).realm is Realm.SANDBOX
    assert not Path("imagewave-data").exists()


def test_who_asks_without_a_store_is_shown_the_one_that_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open("imagewave-sandbox").mark_realm(Realm.SANDBOX)
    monkeypatch.setenv("GEMINI_API_KEY", "a-key")
    shown = CliRunner().invoke(app, ["status", "--json"])
    assert json.loads(shown.output)["realm"] == "sandbox"

    Store.open("imagewave-data").mark_realm(Realm.LIVE)
    shown = CliRunner().invoke(app, ["status", "--json"])
    assert json.loads(shown.output)["realm"] == "live"

    monkeypatch.delenv("GEMINI_API_KEY")
    shown = CliRunner().invoke(app, ["status", "--json"])
    assert json.loads(shown.output)["realm"] == "sandbox"
