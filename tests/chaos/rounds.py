"""One round of drafts on a running sandbox, settled as a wave settles it, but without Prefect.

The client, HTTP, the store, the job protocol and the loop around it are the real ones.
"""

import atexit
import contextlib
import functools
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.bench import Lines, write_wave
from tests.servers import environment

from imagewave.flows import run as running
from imagewave.flows.run import Run, open_run
from imagewave.flows.settle import settle
from imagewave.providers import failures
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.facts.analytics import query
from imagewave.storage.requests import FailureClass, Kind, Request
from imagewave.storage.rounds.rounds import Ask, Outcome, record
from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks.screening.pool import Pool

LITE = "gemini-3.1-flash-lite-image"
LANES: dict[str, dict[str, Any]] = {
    "gemini-batch": {},
    "openai-batch": {
        "wave": 'lane = "openai-batch"',
        "draft": 'model = "gpt-image-2"',
        "final": 'carry = "accept"',
        "judge": "enabled = false",
    },
}
"""The tables of a wave whose drafts go by a lane."""


class Bench:
    """A store of its own at a sandbox that it shares."""

    def __init__(self, sandbox: EmbeddedSandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.store = Store.open(str(folder / "store"))
        self._start = len(self._ledger())
        self._jobs_before = {job["name"] for job in self._jobs()}

    def settle(self, *texts: str, patient: bool = True, **tables: str) -> Outcome:
        """Asks for one draft per text, and sees it through; `tables` go into the wave file."""
        with self.run(patient=patient, **tables) as run:
            return self.settle_in(run, self.asks(texts))

    @contextlib.contextmanager
    def run(self, *, patient: bool = True, name: str = "faults", **tables: str) -> Iterator[Run]:
        """A run of a wave on the bench's store; `patient`: it waits for provider jobs."""
        wave = load_wave(write_wave(self.folder, name=name, tables=tables))
        with open_run(self.store, wave, wait=patient) as run:
            yield run

    def asks(self, texts: Sequence[str], model: str = LITE) -> list[Ask]:
        """One draft for each text; the folder's name keeps tests out of each other's way."""
        row = find_model(model)
        quality = row.qualities[0] if row.qualities else None
        cost = estimate(
            row, lane=row.lanes[0], size="1K", quality=quality, aspect_ratio="1:1", prompt_chars=80
        )
        return [
            Ask(
                brief="tulips",
                prompt_id=str(number),
                request=Request(
                    kind=Kind.DRAFT,
                    model=row.id,
                    prompt=f"{text} ({self.folder.name})",
                    aspect_ratio="1:1",
                    size="1K",
                    quality=quality,
                ),
                estimate_usd=cost,
            )
            for number, text in enumerate(texts)
        ]

    def settle_in(self, run: Run, asks: Sequence[Ask], number: int = 1) -> Outcome:
        """Has these made as the n-th round of drafts of the run's wave."""
        round = run.round(Kind.DRAFT, number)
        return settle(run, round, record(run.store, round, asks), "draft")

    def sql(self, sql: str, *params: object) -> list[dict[str, Any]]:
        """Rows of a query over the store's facts."""
        return query(self.store, sql, params)

    def statuses(self) -> Counter[str]:
        """How many attempts ended how: `status reason`."""
        rows = self.sql("SELECT status, reason FROM attempts")
        return Counter(f"{row['status']} {row['reason']}".strip() for row in rows)

    def findings(self) -> Counter[str]:
        """How many findings there are of each kind."""
        return Counter(row["kind"] for row in self.sql("SELECT kind FROM findings"))

    def billed(self) -> Lines:
        """What the sandbox has answered and billed in this test."""
        return self._ledger()[self._start :]

    def usd(self) -> Decimal:
        """What all of that costs."""
        return sum((Decimal(line["usd"]) for line in self.billed()), Decimal(0))

    def provider_jobs(self) -> list[dict[str, Any]]:
        """The provider's jobs that this test has created."""
        return [job for job in self._jobs() if job["name"] not in self._jobs_before]

    def arm(self, **faults: Any) -> None:
        """Switches faults on."""
        self.control("faults", faults, "PUT")

    def control(self, path: str, body: object = None, method: str = "GET") -> Any:
        """Calls one of the sandbox's own endpoints."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.sandbox.url}/sandbox/{path}"
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read().decode()
        if path == "ledger":
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text or "null")

    def _ledger(self) -> Lines:
        lines: Lines = self.control("ledger")
        return lines

    def _jobs(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self.control("jobs")
        return jobs


@functools.cache
def _pool() -> Pool:
    """Worker processes for all tests: starting some for each would take a second."""
    pool = Pool(max_pixels=50_000_000)
    pool.__enter__()
    atexit.register(pool.__exit__, None, None, None)
    return pool


@contextlib.contextmanager
def settling(
    sandbox: EmbeddedSandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A bench on the sandbox, with short waits; its faults are switched off afterwards."""
    transient = replace(failures.POLICIES[FailureClass.TRANSIENT], wait_initial=0.1, wait_max=0.2)
    policies = {**failures.POLICIES, FailureClass.TRANSIENT: transient}
    monkeypatch.setattr(failures, "POLICIES", policies)
    monkeypatch.setattr(running, "Pool", lambda max_pixels: contextlib.nullcontext(_pool()))
    with environment(**sandbox.environment()):
        bench = Bench(sandbox, folder)
        try:
            yield bench
        finally:
            bench.control("faults", method="DELETE")
