"""`imagewave doctor` as its users call it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

KEYS = (
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "ANTHROPIC_API_KEY",
    "PREFECT_API_URL",
)


def doctor(folder: Path, *arguments: str, **surroundings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in KEYS}
    return subprocess.run(
        [sys.executable, "-m", "imagewave", "doctor", *arguments],
        cwd=folder,
        env={**kept, **surroundings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_a_key_the_embedded_sandbox_is_asked(tmp_path: Path) -> None:
    result = doctor(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if line[:4].strip()]
    checks = {line[6:25].strip(): line[:4].strip() for line in lines}
    for check in ("python", "libraries", "store", "disk", "models of google", "models of openai"):
        assert checks[check] == "ok", result.stdout
    assert checks["png"] in ("ok", "warn"), "depends on whether there was a C compiler"
    assert checks["speed"] in ("ok", "warn"), "depends on that, and on the processor"
    assert "embedded sandbox" in result.stdout
    assert list(tmp_path.iterdir()) == [], "a doctor leaves nothing"


def test_a_failed_check_ends_with_status_1_and_its_fix(tmp_path: Path) -> None:
    store = tmp_path / "file"
    store.write_text("")
    result = doctor(tmp_path, "--sandbox", "--json", "--store", str(store), GEMINI_API_KEY="secret")
    assert result.returncode == 1
    findings = {finding["check"]: finding for finding in json.loads(result.stdout)}
    assert findings["store"]["state"] == "fail"
    assert findings["store"]["fix"]
    assert findings["models of google"]["state"] == "ok"
    assert "secret" not in result.stdout + result.stderr


def test_a_provider_that_does_not_answer_fails(tmp_path: Path) -> None:
    nowhere = {"OPENAI_API_KEY": "secret", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    result = doctor(tmp_path, **nowhere)
    assert result.returncode == 1
    assert "fail  models of openai" in result.stdout
    assert "127.0.0.1:1" in result.stdout
    assert "secret" not in result.stdout + result.stderr
