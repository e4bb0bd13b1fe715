"""What is shipped: the built distributions, their constraints and their licences."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONSTRAINTS = (ROOT / "constraints.txt").read_text("utf-8")


def pinned() -> dict[str, str]:
    lines = [line for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def requirements() -> Iterator[Requirement]:
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for group in (*groups, PROJECT["dependency-groups"]["dev"]):
        yield from map(Requirement, group)


def test_constraints_are_names_and_versions_alone() -> None:
    for line in CONSTRAINTS.splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize(
    "requirement", [each for each in requirements() if each.name != "imagewave"], ids=str
)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    version = pinned()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version, prereleases=True)


@dataclass(frozen=True)
class Built:
    """The two distributions, and the environment in which the wheel is installed."""

    sdist: Path
    wheel: Path
    python: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """`imagewave[all]`, as somebody installs it from the built wheel with the constraints."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT))
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    run(*pip, "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[all]")
    return Built(sdist=sdist, wheel=wheel, python=python)


def run(*command: str, cwd: Path | None = None) -> str:
    # Keys and addresses of whoever runs the tests would send the example elsewhere.
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith(("_API_KEY", "_BASE_URL")) and name != "PYTHONPATH"
    }
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Installing everything, beside other tests, takes minutes.
@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestBuilt:
    def test_the_sdist_has_what_its_tests_and_pages_need(self, built: Built) -> None:
        with tarfile.open(built.sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        tracked = run("git", "ls-files", cwd=ROOT).split()
        # What only a checkout is for, and links into the package.
        beside = {".gitignore", "deployments", "flows", "storage", "tasks"}
        assert set(tracked) - names <= beside
        assert "imagewave/pictures/_unfilter.c" not in names

    def test_the_wheel_has_the_package_and_nothing_else(self, built: Built) -> None:
        with zipfile.ZipFile(built.wheel) as archive:
            names = archive.namelist()
        assert {name.partition("/")[0].partition("-")[0] for name in names} == {"imagewave"}
        for name in ("catalog/models.toml", "facts/views.sql"):
            assert f"imagewave/storage/{name}" in names

    def test_the_example_runs_in_an_empty_folder(self, built: Built, tmp_path: Path) -> None:
        example = tmp_path / "spring-covers.toml"
        example.write_bytes((ROOT / "examples" / example.name).read_bytes())
        imagewave = str(built.python.with_name("imagewave"))
        run(imagewave, "run", example.name, cwd=tmp_path)
        rows = run(
            imagewave, "sql", "SELECT count(*) AS n FROM assets", "--format", "csv", cwd=tmp_path
        )
        assert int(rows.split()[-1]) > 0

    def test_all_licences_are_taken(self, built: Built) -> None:
        assert "all taken" in run(str(built.python), str(ROOT / "tools" / "licences.py"))


@pytest.mark.slow
def test_a_licence_that_nobody_has_agreed_to_is_named(tmp_path: Path) -> None:
    info = tmp_path / "typer-9.9.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(
        "Metadata-Version: 2.4\nName: typer\nVersion: 9.9\nLicense-Expression: AGPL-3.0-only\n"
    )
    script = str(ROOT / "tools" / "licences.py")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, script], env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "typer 9.9: AGPL-3.0-only" in done.stdout
