"""A running sandbox, Prefect's own test server, and waves to run on them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers import environment

from imagewave.flows.settle import Waiting
from imagewave.flows.wave import run_wave
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store

FAST = {"defects": "none", "pending_s": 0.02, "running_s": 0.02}


@dataclass(frozen=True)
class Bench:
    """A wave's surroundings: a folder of its own, a sandbox, and the store."""

    folder: Path
    sandbox: EmbeddedSandbox

    @property
    def store_url(self) -> str:
        """The store that `run` uses."""
        return str(self.folder / "store")

    def run(self, wave: str, **options: Any) -> str:
        """Runs a wave file's text; returns the report's path, "" while it waits."""
        path = self.write(wave)
        try:
            return run_wave(str(path), options.pop("store", self.store_url), **options)
        except Waiting:
            return ""

    def run_on_prefect(self, wave: str, **options: Any) -> str:
        """As `run`, as a flow run on Prefect's throw-away server, which takes longer."""
        from imagewave.flows.prefect.wave import wave as flow

        report: str = flow(str(self.write(wave)), options.pop("store", self.store_url), **options)
        return report

    def write(self, wave: str) -> Path:
        """Writes a wave file's text, with little patience, to the file that `run` runs."""
        path = self.folder / "wave.toml"
        path.write_text("[wait]\npoll_seconds = [0.05, 0.3]\nlist_lag_seconds = 0.5\n" + wave)
        return path

    def sql(self, sql: str, *params: object) -> list[dict[str, Any]]:
        """Rows of a query over the store's facts."""
        return query(Store.open(self.store_url), sql, params)

    def configure(self, **settings: Any) -> None:
        """Changes the sandbox's settings."""
        httpx.put(f"{self.sandbox.url}/sandbox/config", json=settings).raise_for_status()

    def billed(self) -> list[dict[str, Any]]:
        """The sandbox's ledger: what a real provider would have billed, line by line."""
        lines = httpx.get(f"{self.sandbox.url}/sandbox/ledger").text.splitlines()
        return [json.loads(line) for line in lines]

    def bill(self) -> Decimal:
        """The sum of the sandbox's ledger, in USD."""
        return sum((Decimal(line["usd"]) for line in self.billed()), Decimal(0))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Prefect's throw-away server, once per session: it takes seconds to start."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A sandbox without defects, and an empty store."""
    with EmbeddedSandbox(tmp_path / "sandbox", settings=FAST) as sandbox:
        surroundings = {"GEMINI_API_KEY": "sandbox", "GOOGLE_GEMINI_BASE_URL": sandbox.url}
        with environment(**surroundings):
            yield Bench(tmp_path, sandbox)
