"""One round of drafts on a running sandbox, settled as a wave settles it, but without Prefect.

The client, HTTP, the store, the job protocol and the loop around it are the real ones; only what
would make tasks of two functions is left out, because it costs seconds.
"""

import atexit
import contextlib
import functools
import json
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.bench import Lines, write_wave
from tests.servers import environment

from imagewave.flows import run as running
from imagewave.flows import settle as settling_flow
from imagewave.flows.run import Run, open_run
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.analytics import query
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.requests import FailureClass, Kind, Request
from imagewave.storage.rounds import Ask, Outcome, record
from imagewave.storage.store import Store
from imagewave.storage.wavefile import load_wave
from imagewave.tasks import failures
from imagewave.tasks.screening.pool import Pool

LITE = "gemini-3.1-flash-lite-image"


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

    def asks(self, texts: Sequence[str]) -> list[Ask]:
        """One draft for each text; the folder's name keeps tests out of each other's way."""
        cost = estimate(find_model(LITE), lane="gemini-batch", size="1K", prompt_chars=80)
        return [
            Ask(
                brief="tulips",
                prompt_id=str(number),
                request=Request(
                    kind=Kind.DRAFT,
                    model=LITE,
                    prompt=f"{text} ({self.folder.name})",
                    aspect_ratio="1:1",
                    size="1K",
                ),
                estimate_usd=cost,
            )
            for number, text in enumerate(texts)
        ]

    def settle_in(self, run: Run, asks: Sequence[Ask], number: int = 1) -> Outcome:
        """Has these made as the n-th round of drafts of the run's wave."""
        round = run.round(Kind.DRAFT, number)
        return settling_flow.settle(run, round, record(run.store, round, asks), "draft")

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


class _Collected:
    """What `Task.submit` returns, for work that is done at once."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._error: Exception | None = None
        self._result = None
        try:
            self._result = work()
        except Exception as error:  # noqa: BLE001 - as a future does: whoever asks gets it
            self._error = error

    def result(self, timeout: float | None = None) -> Any:
        if self._error:
            raise self._error
        return self._result


class _Task:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def submit(self, *arguments: Any) -> _Collected:
        return _Collected(lambda: self._function(*arguments))


@contextlib.contextmanager
def settling(
    sandbox: EmbeddedSandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A bench on the sandbox, with short waits; its faults are switched off afterwards."""
    transient = replace(failures.POLICIES[FailureClass.TRANSIENT], wait_initial=0.1, wait_max=0.2)
    policies = {**failures.POLICIES, FailureClass.TRANSIENT: transient}
    monkeypatch.setattr(failures, "POLICIES", policies)
    monkeypatch.setattr(running, "Pool", lambda max_pixels: contextlib.nullcontext(_pool()))
    for name in ("submit", "collect"):
        task = getattr(settling_flow, name)
        monkeypatch.setattr(settling_flow, name, _Task(task.fn))
    with environment(GEMINI_API_KEY="sandbox", GOOGLE_GEMINI_BASE_URL=sandbox.url):
        bench = Bench(sandbox, folder)
        try:
            yield bench
        finally:
            bench.control("faults", method="DELETE")
