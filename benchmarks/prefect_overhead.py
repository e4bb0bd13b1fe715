"""What Prefect costs a large wave: task runs, wall time per image, and whether all is recorded.

Runs a wave of N tiny images (drafts, screens, judge) against a Prefect server on SQLite with the
settings of deployments/prefect.env, then asks the server 10 s after the end how many of the wave's
task runs it has recorded as ended. Prefect's share of the wall time is measured apart: a flow of as
many task runs that do nothing.

    python benchmarks/prefect_overhead.py              # 10,000 images
    python benchmarks/prefect_overhead.py --n 1000
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.overhead import MODELS, WAVE  # noqa: E402

SETTINGS = ROOT / "deployments" / "prefect.env"
BRIEFS = 100
GRACE_S = 10
LIMIT_RUNS, LIMIT_MS = 300, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    n = parser.parse_args().n // BRIEFS * BRIEFS
    with tempfile.TemporaryDirectory(prefix="imagewave-prefect-") as name:
        folder = Path(name)
        (folder / "models.toml").write_text(MODELS)
        lines = SETTINGS.read_text().splitlines()
        os.environ |= dict(line.split("=", 1) for line in lines if line and line[0] != "#")
        os.environ |= {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "IMAGEWAVE_MODELS": str(folder / "models.toml"),
        }
        with server(folder) as api:
            os.environ["PREFECT_API_URL"] = api
            run(n, folder)
    sys.stdout.flush()
    os._exit(0)  # Prefect's threads would have DuckDB's bindings report leaks


def run(n: int, folder: Path) -> None:
    """One wave of n images; prints what it did to the server."""
    from imagewave.flows.prefect.wave import wave
    from imagewave.sandbox.embedded import EmbeddedSandbox
    from imagewave.storage.facts.analytics import query
    from imagewave.storage.store import Store

    text = WAVE.format(n=n, want=n // BRIEFS)
    for brief in range(BRIEFS):
        text += f'[[brief]]\nid = "b{brief}"\ntext = "subject number {brief}"\n'
    path = folder / "wave.toml"
    path.write_text(text)
    ended = count_ends()
    with EmbeddedSandbox(folder / "sandbox", settings={"defects": "none"}) as sandbox:
        os.environ["GEMINI_API_KEY"] = "sandbox"
        os.environ["GOOGLE_GEMINI_BASE_URL"] = sandbox.url
        started = time.perf_counter()
        state = wave(str(path), str(folder / "store"), return_state=True)
        wall = time.perf_counter() - started
    assert state.is_completed(), state.message
    time.sleep(GRACE_S)
    recorded = recorded_ends(state.state_details.flow_run_id)
    store = Store.open(str(folder / "store"))
    (jobs,) = query(store, "SELECT count(*) AS n FROM jobs")
    (images,) = query(store, "SELECT count(*) AS n FROM attempts WHERE status = 'image'")
    idle = idle_flow(len(ended))
    print(f"images                     {images['n']:8}")
    print(f"wall time of the wave      {wall:8.1f} s")
    print(f"jobs                       {jobs['n']:8}")
    print(f"task runs                  {len(ended):8}   (limit {LIMIT_RUNS})")
    print(f"recorded {GRACE_S} s after the end  {recorded:6}   (all of them)")
    per_image = 1000 * idle / images["n"]
    print(f"Prefect's share            {idle:8.2f} s = {per_image:.3f} ms per image ({LIMIT_MS})")


def count_ends() -> list[str]:
    """A list that gets an entry for each task run of waves that ends from now on."""
    from imagewave.flows import settle, wave
    from imagewave.flows.prefect.tasks import task_of
    from imagewave.flows.steps import Step

    ended: list[str] = []

    def note(task: Any, task_run: Any, state: Any) -> None:
        ended.append(str(task_run.id))

    for module in (settle, wave):
        for value in vars(module).values():
            if isinstance(value, Step) and note not in task_of(value).on_completion_hooks:
                task_of(value).on_completion(note)
                task_of(value).on_failure(note)
    return ended


def recorded_ends(flow_run_id: Any) -> int:
    """How many task runs of the flow run the server knows to have ended."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    found, offset = 0, 0
    with get_client(sync_client=True) as client:
        while True:
            page = client.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])),
                limit=200,
                offset=offset,
            )
            found += sum(run.state is not None and run.state.is_final() for run in page)
            offset += len(page)
            if not page:
                return found


def idle_flow(task_runs: int) -> float:
    """Seconds that a flow of so many task runs takes that do nothing."""
    from prefect import flow, task

    @task
    def nothing(number: int) -> int:
        return number

    @flow
    def idle() -> None:
        for number in range(task_runs):
            nothing(number)

    started = time.perf_counter()
    idle()
    return time.perf_counter() - started


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A Prefect server; yields the address of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ["PREFECT_SERVER_API_PORT"] = str(port)
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    api = f"http://127.0.0.1:{port}/api"
    with (
        open(folder / "server.log", "wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            while not _answers(f"{api}/health"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("Prefect's server did not start")
                time.sleep(0.2)
            yield api
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    main()
