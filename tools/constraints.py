"""Writes constraints.txt: the versions that CI tests with, as pip finds them today. Run:

python tools/constraints.py

It asks pip what it would install for the package with all its extras and for the tools of
development, and installs nothing. Run it with the oldest Python that the package supports: what
runs there has wheels for the newer ones, while their newest releases may have left it behind.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
FILE = ROOT / "constraints.txt"
HEAD = """\
# The versions that CI tests with. `make constraints` writes this file; docs/releasing.md says when.
"""


def resolved(root: Path = ROOT) -> dict[str, str]:
    """Name → version of all that pip would install for the project at `root`, itself left out.

    Raises CalledProcessError where pip finds no versions that go together, or no index; pip has
    said by then what is wrong.
    """
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    wanted = [f"{root}[all,local,gpu]", "--group", f"{root}/pyproject.toml:dev"]
    answer = subprocess.run(
        [*pip, "--report", "-", *wanted],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    told = [item["metadata"] for item in json.loads(answer.stdout)["install"]]
    return {
        canonicalize_name(found["name"]): Version(found["version"]).public
        for found in told
        if canonicalize_name(found["name"]) != "imagewave"
    }


def lines(versions: dict[str, str]) -> Iterable[str]:
    """One line a package, by name: no addresses, no hashes, no local build such as `+cpu`."""
    return (f"{name}=={version}\n" for name, version in sorted(versions.items()))


if __name__ == "__main__":
    FILE.write_text(HEAD + "".join(lines(resolved())), encoding="utf-8")
