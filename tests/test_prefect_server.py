"""Which Prefect server a wave works with, by what Prefect itself would read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

API = "http://127.0.0.1:4299/api"
_ASK = (
    "import sys; from imagewave.prefect_server import named_server;"
    "print(repr(named_server()), 'prefect' in sys.modules)"
)
_PROFILE = f'active = "ours"\n[profiles.ours]\nPREFECT_API_URL = "{API}"\n'


def asked(folder: Path, **settings: str) -> str:
    """What a new process in the folder says: the address, and whether it imported Prefect."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    own |= {"PREFECT_HOME": str(folder / "home"), "PREFECT_LOGGING_LEVEL": "CRITICAL", **settings}
    done = subprocess.run(
        [sys.executable, "-c", _ASK], cwd=folder, env=own, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_none_is_named_and_prefect_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["prefect"]\n')
    assert asked(tmp_path) == "'' False"
    assert asked(tmp_path, PREFECT_API_URL="") == "'' False"
    (tmp_path / "pyproject.toml").write_text("[broken")
    assert asked(tmp_path) == "'' False"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("home/profiles.toml", _PROFILE),
        ("prefect.toml", f'[api]\nurl = "{API}"\n'),
        ("pyproject.toml", f'[tool.prefect.api]\nurl = "{API}"\n'),
        (".env", f"prefect_api_url={API}\n"),
    ],
    ids=["profile", "prefect.toml", "pyproject", "dotenv"],
)
def test_a_file_names_it(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / file).write_text(text)
    assert asked(tmp_path) == f"{API!r} True"


def test_the_environment_names_it(tmp_path: Path) -> None:
    assert asked(tmp_path, PREFECT_API_URL=API) == f"{API!r} True"
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(_PROFILE)
    assert asked(tmp_path, PREFECT_PROFILES_PATH=str(profiles)) == f"{API!r} True"


def test_a_profile_that_names_none_is_read_by_prefect_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    other = _PROFILE.replace('active = "ours"', 'active = "ephemeral"')
    (tmp_path / "home" / "profiles.toml").write_text(other + "[profiles.ephemeral]\n")
    assert asked(tmp_path) == "'' True"


@pytest.mark.parametrize(
    "settings", [{"PREFECT_API_URL": "http://[::1/api"}, {"PREFECT_API_REQUEST_TIMEOUT": "soon"}]
)
def test_settings_that_prefect_cannot_read_are_one_error(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    (tmp_path / "prefect.toml").write_text("")
    command = [sys.executable, "-m", "imagewave", "run", "wave.toml"]
    (tmp_path / "wave.toml").write_text(
        '[wave]\nname = "w"\n[[brief]]\nid = "a"\ntext = "tulips"\n'
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(command, cwd=tmp_path, env=own | settings, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Prefect cannot read its settings" in done.stderr
    assert "Traceback" not in done.stderr
