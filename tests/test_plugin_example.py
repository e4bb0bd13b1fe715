"""examples/plugin: a provider in a distribution of its own, installed and held to the contract."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "examples" / "plugin"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the example, as pip installs it."""
    folder = tmp_path_factory.mktemp("plugin")
    # Building leaves files behind, which are not to lie in the checkout.
    source, site = folder / "source", folder / "site"
    shutil.copytree(PLUGIN, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, str(source)], check=True)
    return site


def test_it_passes_its_own_tests_where_it_is_installed(site: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=PLUGIN, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 passed" in done.stdout


def test_its_models_are_listed_beside_ours(site: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "imagewave", "models", "list", "--lane", "easel-batch"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert "easel-1" in done.stdout, done.stderr
