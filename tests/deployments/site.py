"""A site as an operator would run it: Prefect's server with the shipped settings, and workers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from tests.chaos.bench import assets, check_exactly_once, is_done, wait_until
from tests.servers import free_port

from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.facts.analytics import query
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.store import Store

SETTINGS = {"defects": "none", "pending_s": 0.05, "running_s": 0.1}
KEY = "marker-of-the-environment-5e1f"
WAVE = """
[wave]
name = "{name}"
[wait]
poll_seconds = [0.1, 0.3]
list_lag_seconds = 0.5
[judge]
enabled = false
[draft]
max_rounds = 1
[screen]
aspect_tolerance = 1
min_brightness = 0
max_brightness = 1
min_contrast = 0
min_blur = 0
min_entropy = 0
max_border = 1
max_cast = 1
[final]
carry = "accept"
[[brief]]
id = "tulips"
text = "red tulips in a glass vase, for {name}"
"""
ENV_FILE = Path(__file__).parents[2] / "deployments" / "prefect.env"

Json = dict[str, Any]


class Site:
    """A server and its folder; `logs` has what everybody said."""

    def __init__(self, root: Path, sandbox: EmbeddedSandbox, database: str = "") -> None:
        """`database` is the URL of a PostgreSQL database; without one, it is SQLite."""
        self.root = root
        self._database = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}
        self.sandbox = sandbox
        self.home = root / "prefect"
        self.logs = root / "logs"
        self.logs.mkdir()
        self.port = free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self._server: subprocess.Popen[bytes] | None = None
        self._started = 0

    def environment(self, **more: str) -> dict[str, str]:
        """What server, workers and commands find in their environment."""
        lines = ENV_FILE.read_text().splitlines()
        shipped = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "IMAGEWAVE_", "GEMINI_", "GOOGLE_"))
        }
        return {
            **kept,
            **shipped,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "GOOGLE_GEMINI_BASE_URL": self.sandbox.url,
            **self._database,
            "NO_COLOR": "1",
            "COLUMNS": "200",
            **more,
        }

    def start_server(self) -> None:
        """Starts the server, with what its database holds, and waits until it answers."""
        command = ["-m", "prefect", "server", "start", "--port", str(self.port)]
        self._server = self._spawn("server", command)
        wait_until(lambda: self._answers(), "Prefect's server", 120)

    def kill_server(self) -> None:
        """Kills it without warning."""
        assert self._server is not None
        kill_group(self._server)

    @contextlib.contextmanager
    def worker(
        self, limit: int = 0, pool: str = "default", **environment: str
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """A process worker of the pool; killed with its runs at the end of the block.

        `limit` is how many runs it takes at once; 0 sets none.
        """
        command = ["-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
        if limit:
            command += ["--limit", str(limit)]
        process = self._spawn("worker", command, **{"GEMINI_API_KEY": KEY, **environment})
        try:
            yield process
        finally:
            kill_group(process)

    def imagewave(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Runs the command line."""
        done = subprocess.run(
            [sys.executable, "-m", "imagewave", *arguments],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def watch(self, store: Store) -> "subprocess.Popen[bytes]":
        """Starts the watch flow in a process of its own."""
        code = f"from imagewave.flows.prefect.watch import watch; watch({store.url!r})"
        return self._spawn("watch", ["-c", code], GEMINI_API_KEY=KEY)

    def wave(self, name: str) -> tuple[Path, Store]:
        """A wave of one job, and an empty store for it."""
        folder = self.root / name
        folder.mkdir()
        path = folder / f"{name}.toml"
        path.write_text(WAVE.format(name=name))
        return path, Store.open(str(folder / "store"))

    def pause_schedules(self) -> None:
        """Leaves it to the tests to say when `watch` looks."""
        for deployment in self.call("POST", "deployments/filter", {}):
            self.call("PATCH", f"deployments/{deployment['id']}", {"paused": True})

    def call(self, method: str, path: str, body: Json | list[Json] | None = None) -> Any:
        """One call of Prefect's API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.api}/{path}",
            data=data,
            method=method,
            headers={"Content-Type": "application/json"},
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return json.loads(response.read() or b"null")
            except urllib.error.HTTPError as error:
                # An SQLite server that is busy says 503, and Prefect's own clients try again.
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def run_deployment(self, name: str, **parameters: Any) -> Json:
        """Asks for a run, as the UI does."""
        deployment = self.call("GET", f"deployments/name/{name}")
        made: Json = self.call(
            "POST",
            f"deployments/{deployment['id']}/create_flow_run",
            {"parameters": {**deployment["parameters"], **parameters}},
        )
        return made

    def state(self, flow_run_id: str) -> str:
        """The name of the state that a flow run is in."""
        return str(self.call("GET", f"flow_runs/{flow_run_id}")["state_name"])

    def runs(self, *tags: str) -> list[Json]:
        """All flow runs with these tags, in the order of their creation."""
        body = {"flow_runs": {"tags": {"all_": list(tags)}}, "sort": "EXPECTED_START_TIME_ASC"}
        found: list[Json] = self.call("POST", "flow_runs/filter", body)
        return found

    def wait_for(self, flow_run_id: str, *states: str, seconds: float = 240) -> str:
        """Waits until the run is in one of the states; returns which."""
        wait_until(lambda: self.state(flow_run_id) in states, f"{states} of a run", seconds)
        return self.state(flow_run_id)

    def _answers(self) -> bool:
        try:
            return bool(self.call("GET", "health"))
        except OSError:
            return False

    def _spawn(
        self, what: str, arguments: list[str], **environment: str
    ) -> "subprocess.Popen[bytes]":
        self._started += 1
        with open(self.logs / f"{self._started:02d}-{what}.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                env=self.environment(**environment),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kills the process and all that it started, at once."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def children_of(process: "subprocess.Popen[bytes]") -> list[int]:
    """The ids of the processes that run below this one."""
    return [
        child.pid
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]


def control(site: Site, path: str, body: object = None, method: str = "GET") -> Any:
    """One of the sandbox's own endpoints."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{site.sandbox.url}/sandbox/{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        text = response.read()
    if path == "ledger":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text or b"null")


def billed(site: Site, store: Store) -> list[dict[str, Any]]:
    """What the sandbox billed for the requests of this store."""
    wanted = {row["request_id"] for row in query(store, "SELECT request_id FROM raw_submissions")}
    return [line for line in control(site, "ledger") if line["key"] in wanted]


def release(site: Site, store: Store) -> None:
    """Lets the provider get on with the store's one job, and waits for its end."""
    (job_id,) = {path.split("/")[1] for path in store.list("jobs")}
    accepted = JobFolder(store, job_id).accepted()
    assert accepted is not None
    provider_id = accepted.provider_job.removeprefix("batches/")
    control(site, f"jobs/{provider_id}:release", {}, "POST")
    wait_until(
        lambda: any(
            job["name"] == accepted.provider_job and "SUCCEEDED" in job["metadata"]["state"]
            for job in control(site, "jobs")
        ),
        "the provider's job",
    )


def assert_delivered_once(site: Site, store: Store) -> None:
    """The wave is delivered, and paid for once."""
    assert is_done(store)
    assert len(assets(store)) == 1
    assert check_exactly_once(store, billed(site, store)) == 1.0


def files_that_hold(marker: str, *folders: Path | None) -> list[Path]:
    """The files below these folders that have the marker among their bytes."""
    files = [file for folder in folders if folder for file in folder.rglob("*") if file.is_file()]
    assert files
    return [file for file in files if marker.encode() in file.read_bytes()]
