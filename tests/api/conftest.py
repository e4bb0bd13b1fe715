"""A running sandbox, and a wave that was run on it through the public face."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers import environment

import imagewave as iw
from imagewave.sandbox.embedded import EmbeddedSandbox

SETTINGS = {"defects": "none", "pending_s": 0.05, "running_s": 0.05}
HURRY = "[wait]\npoll_seconds = [0.05, 0.3]\nlist_lag_seconds = 0.5\n"

WAVE = (
    HURRY
    + """
[wave]
name = "covers"
[final]
size = "1K"
[[brief]]
id = "tulips <b>& co</b>"
text = "Red tulips in the rain"
want = 2
[[brief]]
id = "bicycle"
text = "A red bicycle under cherry blossom"
"""
)


@dataclass(frozen=True)
class Bench:
    """A folder for wave files, an empty store, and the sandbox that bills for it."""

    folder: Path
    url: str

    @property
    def store(self) -> str:
        """The store's folder."""
        return str(self.folder / "store")

    def write(self, wave: str) -> Path:
        """Writes a wave file and returns its path."""
        path = self.folder / "wave.toml"
        path.write_text(wave)
        return path

    def billed(self) -> list[dict[str, Any]]:
        """What a real provider would have billed, line by line."""
        lines = httpx.get(f"{self.url}/sandbox/ledger").text.splitlines()
        return [json.loads(line) for line in lines]

    def bill(self) -> Decimal:
        """The sum of that, in USD."""
        return sum((Decimal(line["usd"]) for line in self.billed()), Decimal(0))


@dataclass(frozen=True)
class Ran:
    """A wave that was run, and what its progress callback heard."""

    bench: Bench
    file: Path
    result: iw.Result
    told: list[iw.Progress] = field(default_factory=list)

    @property
    def store(self) -> iw.Store:
        """The store that it was run on."""
        return iw.Store(self.bench.store)


def keys(url: str) -> dict[str, str]:
    """Any key, and the sandbox's address."""
    return {"GEMINI_API_KEY": "any", "GOOGLE_GEMINI_BASE_URL": url}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with (
        EmbeddedSandbox(tmp_path / "sandbox", settings=SETTINGS) as sandbox,
        environment(**keys(sandbox.url)),
    ):
        yield Bench(tmp_path, sandbox.url)


@pytest.fixture(scope="package")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """One wave for all who only look at it."""
    folder = tmp_path_factory.mktemp("ran")
    with EmbeddedSandbox(folder / "sandbox", settings=SETTINGS) as sandbox:
        bench = Bench(folder, sandbox.url)
        file = bench.write(WAVE)
        told: list[iw.Progress] = []
        with environment(**keys(sandbox.url)):
            result = iw.run(file, store=bench.store, progress=told.append)
        yield Ran(bench, file, result, told)
