"""A test that names no kill point must not pass for one that was survived."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.heavy


def start(value: str) -> subprocess.CompletedProcess[str]:
    """A run in an empty surrounding; killed or refused, it reaches no wave."""
    return subprocess.run(
        [sys.executable, "-m", "imagewave", "once", "tulips", "--store", "/dev/null/none"],
        env={**os.environ, "IMAGEWAVE_KILL_AT": value},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "value", ["typo", "collect.midwai:2", "collect.midway:x", "wait.polling:0"]
)
def test_a_point_that_there_is_not_is_refused(value: str) -> None:
    done = start(value)
    assert done.returncode == 1
    assert f"Error: IMAGEWAVE_KILL_AT={value}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_one_that_there_is_waits_for_its_time() -> None:
    done = start("collect.midway:2")
    assert "IMAGEWAVE_KILL_AT" not in done.stderr
    assert "A file stands where a folder is needed" in done.stderr
