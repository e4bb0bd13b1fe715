"""The test bench: the real command line against a sandbox that outlives it, and what must hold.

Everything is asserted from outside: from the sandbox's ledger, which says what was billed, and
from the store, which must hold all of it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.servers import free_port

from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.facts.tables import COLUMNS, KEYS
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.store import Store

# No defects, and jobs that end while one looks.
SETTINGS: Mapping[str, Any] = {
    "tiny": 1,
    "defects": "none",
    "pending_s": 0.05,
    "running_s": 0.15,
}

Lines = Sequence[Mapping[str, Any]]

BRIEFS = {
    "tulips": "red tulips in a glass vase on a window sill",
    "harbour": "a fishing harbour in the morning, boats at the quay",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended, and after how many seconds."""

    code: int
    out: str
    err: str
    seconds: float


class Bench:
    """A sandbox, a Prefect server and a folder, for as long as the tests run."""

    def __init__(self, root: Path, sandbox: EmbeddedSandbox, prefect: str) -> None:
        self.root = root
        self.sandbox = sandbox
        self.prefect = prefect
        self._number = 0

    def folder(self) -> Path:
        """A new, empty folder."""
        self._number += 1
        path = self.root / f"{self._number:03d}"
        path.mkdir()
        return path

    def environment(self, **more: str) -> dict[str, str]:
        """What the command line finds in its environment."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "IMAGEWAVE_", "GEMINI_", "GOOGLE_"))
        }
        return {
            **kept,
            "GEMINI_API_KEY": "test-key",
            "GOOGLE_GEMINI_BASE_URL": self.sandbox.url,
            "PREFECT_API_URL": self.prefect,
            "PREFECT_HOME": str(self.root / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "NO_COLOR": "1",
            "COLUMNS": "200",
            **more,
        }

    @contextlib.contextmanager
    def start(
        self,
        wave: Path | str,
        store: str,
        *arguments: str,
        command: str = "run",
        **environment: str,
    ) -> Iterator["subprocess.Popen[str]"]:
        """The command line in a process group of its own; killed at the end of the block."""
        line = [sys.executable, "-c", "from imagewave.cli import main; main()"]
        process = subprocess.Popen(
            [*line, command, str(wave), "--store", store, *arguments],
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            kill(process)
            process.communicate()

    def run(
        self,
        wave: Path | str,
        store: str,
        *arguments: str,
        kill_at: str = "",
        kill_after: float | None = None,
        command: str = "run",
        **environment: str,
    ) -> Finished:
        """Runs the command line to its end, or to its death at a kill point or moment."""
        started = time.monotonic()
        environment["IMAGEWAVE_KILL_AT"] = kill_at
        with self.start(wave, store, *arguments, command=command, **environment) as process:
            try:
                out, err = process.communicate(timeout=kill_after or 240)
            except subprocess.TimeoutExpired:
                kill(process)
                out, err = process.communicate()
        seconds = time.monotonic() - started
        return Finished(code=process.returncode, out=out, err=err, seconds=seconds)

    def control(self, path: str, body: object = None, method: str = "GET") -> Any:
        """Calls one of the sandbox's own endpoints; returns its JSON, or lines of it."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.sandbox.url}/sandbox/{path}", data=data, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read().decode()
        if path == "ledger":
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text or "null")

    def arm(self, **faults: Any) -> None:
        """Switches faults on."""
        self.control("faults", faults, "PUT")

    def disarm(self) -> None:
        """Switches all faults off."""
        self.control("faults", method="DELETE")

    @contextlib.contextmanager
    def configured(self, **settings: Any) -> Iterator[None]:
        """Settings of the sandbox, for the time of the block."""
        before = self.control("config")
        self.control("config", settings, "PUT")
        try:
            yield
        finally:
            self.control("config", {name: before[name] for name in settings}, "PUT")

    def billed(self, since: int = 0) -> "Lines":
        """The lines of the sandbox's ledger, from that number on: what it answered and billed."""
        lines: Lines = self.control("ledger")[since:]
        return lines


def kill(process: "subprocess.Popen[str]") -> None:
    """Kills the process and its children at once, unless it has ended: they end with it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def write_wave(
    folder: Path,
    *,
    name: str = "chaos",
    briefs: Mapping[str, str] = BRIEFS,
    want: int = 1,
    tables: Mapping[str, str] | None = None,
) -> Path:
    """A small wave with drafts, judge and finals.

    `tables` are lines to set, by table, such as `{"draft": "probe = 1"}`.
    """
    lines = {
        "wave": {"name": f'"{name}"'},
        "wait": {
            "poll_seconds": "[0.1, 0.3]",
            "list_lag_seconds": "0.5",
            "missing_hours": "0.0003",  # a second
        },
        "draft": {"probe": "2"},
        "screen": {"min_blur": "0", "min_entropy": "0", "duplicate_distance": "0"},
        "judge": {"min_score": "0.0", "min_brief_fit": "0.0"},
        "final": {"carry": '"reference"', "size": '"1K"'},
    }
    for table, added in (tables or {}).items():
        for line in added.splitlines():
            key, _, value = line.partition(" = ")
            lines.setdefault(table, {})[key] = value
    text = "".join(
        f"[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for table, keys in lines.items()
    )
    for id, words in briefs.items():
        text += f'[[brief]]\nid = "{id}"\ntext = "{words}"\nwant = {want}\naspect_ratio = "1:1"\n'
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def wait_until(condition: Any, what: str, seconds: float = 60) -> None:
    """Waits until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def assets(store: Store) -> dict[str, str]:
    """What was delivered: the image by the asset's path, proven to be there byte by byte."""
    rows = query(store, "SELECT asset, image, bytes FROM assets")
    for row in rows:
        assert len(store.read(row["asset"])) == row["bytes"]
    return {row["asset"]: row["image"] for row in rows}


def outcome(store: Store) -> set[tuple[str, ...]]:
    """Everything that was decided, to compare two runs of the same wave by."""
    rows = query(store, "SELECT brief, request_id, image, tier, decision, rank FROM decisions")
    return {tuple(str(value) for value in row.values()) for row in rows}


def request_of(line: Mapping[str, Any]) -> str:
    """The request that was billed; Claude's keys have a mark before its id."""
    return str(line["key"]).rpartition("_")[2]


def check_exactly_once(store: Store, billed: Lines, but: Collection[str] = ()) -> float:
    """Asserts the first promise for all that the store asked for; returns billed ÷ requested.

    `but` are tables in which a fact may stand twice.
    """
    sent = query(store, "SELECT DISTINCT job_id, request_id, attempt FROM raw_submissions")
    unsent = {
        row["job_id"]
        for row in sent
        if (settled := JobFolder(store, row["job_id"]).settled()) and settled.state == "superseded"
    }
    requested = Counter(row["request_id"] for row in sent if row["job_id"] not in unsent)
    answered = Counter(request_of(line) for line in billed)
    assert answered == requested, "billed and requested differ"
    results = query(store, "SELECT request_id, job_id, status, image FROM attempts")
    assert len(results) == requested.total(), "a request without a result, or with two"
    assert_images_kept(store, billed)
    assert_no_fact_twice(store, but)
    assert_money(store, billed)
    return answered.total() / requested.total()


def assert_images_kept(store: Store, billed: Lines) -> None:
    """Every picture that was paid for is in the store, whole."""
    paid = Counter(request_of(line) for line in billed if line["outcome"] == "image")
    kept = Counter(
        row["request_id"]
        for row in query(store, "SELECT request_id, image FROM attempts WHERE image <> ''")
    )
    assert kept == paid, "a paid picture is missing"
    for row in query(store, "SELECT image, path, bytes FROM images"):
        assert len(store.read(row["path"])) == row["bytes"]


def assert_no_fact_twice(store: Store, but: Collection[str] = ()) -> None:
    """No table has two rows of one key that say different things."""
    for table, key in KEYS.items():
        if table == "waves" or table in but:
            continue
        columns = ", ".join(f'"{name}"' for name in COLUMNS[table] if name != "recorded_at")
        rows = query(
            store,
            f"SELECT {', '.join(key)} FROM (SELECT DISTINCT {columns} FROM raw_{table})"
            f" GROUP BY {', '.join(key)} HAVING count(*) > 1",
        )
        assert not rows, f"{table}: {rows[:3]}"


def assert_money(store: Store, billed: Lines) -> None:
    """Nothing is held any more, and what was captured is what was billed, to the last digit."""
    state = Ledger(store).state()
    assert not state.holds, f"open holds: {state.holds}"
    captured = sum(state.captured.values(), Decimal(0))
    usd = sum((Decimal(line["usd"]) for line in billed), Decimal(0))
    assert captured == usd
    (costs,) = query(store, "SELECT coalesce(sum(cost_usd), 0) AS usd FROM costs")
    assert costs["usd"] == usd


def is_done(store: Store) -> bool:
    """Whether the one wave of the store was delivered."""
    rows = query(store, "SELECT wave, revision FROM waves")
    return any(facts.has(store, "assets", f"{row['wave']}-{row['revision']}") for row in rows)


@contextlib.contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """A Prefect server of the tests' own; yields the address of its API."""
    port = free_port()
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    with (
        open(home.parent / "prefect.log", "wb") as log,
        subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            api = f"http://127.0.0.1:{port}/api"
            wait_until(lambda: _answers(f"{api}/health"), "Prefect's server", 120)
            yield api
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
