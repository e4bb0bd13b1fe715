"""One batch of text requests by imagewave and by bespokelabs-curator, against the same sandbox.

    python benchmarks/peers.py [--requests 500]

Both are pointed at the sandbox's OpenAI batch endpoint with the same prompts and model; the
sandbox's ledger is the judge of what was billed. Three situations: nothing happens; the answer to
`create` is lost; the process is killed while it waits for that answer, and started again. curator
is installed by pip in an environment of its own when this first runs. It draws no pictures by
batch, so the work is what both can do: prompts answered by a text model.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from imagewave.sandbox.embedded import EmbeddedSandbox

MODEL = "gpt-5.6-luna"
PEER = "bespokelabs-curator==0.1.31"
ENVIRONMENT = Path(
    os.environ.get("IMAGEWAVE_PEERS", Path(tempfile.gettempdir(), "imagewave-peers"))
)

OURS = """
import json, resource, sys, time
start = time.perf_counter()
from decimal import Decimal
from imagewave.storage.money.ledger import Budget
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import Ask, Round, record, results_of
from imagewave.storage.store import Store
from imagewave.tasks.collecting.collect import collect
from imagewave.providers.lanes import Lanes
from imagewave.tasks.screening.pool import Pool
from imagewave.tasks.jobs.shard import shard
from imagewave.tasks.jobs.submit import AdoptionTimes, submit

folder, model, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store.open(folder + "/store")
lanes = Lanes(store, "openai-batch")
round = Round(wave="peers", revision="00000000", kind=Kind.EXPAND, number=1)
asks = record(store, round, [
    Ask(brief=f"b{n}", prompt_id="", estimate_usd=Decimal("0.001"),
        request=Request(kind=Kind.EXPAND, model=model, prompt=f"Describe scene number {n}."))
    for n in range(count)
])
cost, texts = Decimal(0), 0
with Pool(max_pixels=1, workers=1) as pool:
    for job in shard(store, round, asks, lanes.for_model, 1):
        lane = lanes.named("openai-batch")
        doubt = AdoptionTimes(list_lag_s=1.0)
        accepted = submit(store, job, lane, budget=Budget(), adoption=adoption)
        while not (status := lane.poll(accepted.provider_job)).state.done:
            time.sleep(1)
        cost += Decimal(collect(store, job, lane, status, pool).captured_usd)
        texts += sum(row["status"] == "text" for row in results_of(store, [job]))
print(json.dumps({
    "seconds": time.perf_counter() - start, "answers": texts, "usd": float(cost),
    "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""

CURATOR = """
import json, os, resource, sys, time
folder, model, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
start = time.perf_counter()
from bespokelabs import curator

class Describe(curator.LLM):
    def prompt(self, row): return row["prompt"]
    def parse(self, row, response): return {"text": response}

llm = Describe(
    model_name=model, backend="openai", batch=True,
    generation_params={"reasoning_effort": "none"},
    backend_params={
        "base_url": os.environ["OPENAI_BASE_URL"], "api_key": "sandbox",
        "batch_check_interval": 1, "batch_size": 50_000,
    },
)
rows = [{"prompt": f"Describe scene number {n}."} for n in range(count)]
answered = llm(rows, working_dir=folder + "/curator")
cost = getattr(getattr(answered, "cost_info", None), "total_cost", None)
print(json.dumps({
    "seconds": time.perf_counter() - start, "answers": len(answered.dataset), "usd": cost,
    "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A program that sends `count` prompts: `program FOLDER MODEL COUNT`."""

    name: str
    python: str
    program: str


def main() -> None:
    """Runs all situations and prints the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=500)
    count = arguments.parse_args().requests
    contestants = (
        Contestant(name="imagewave", python=sys.executable, program=OURS),
        Contestant(name=PEER, python=_environment(), program=CURATOR),
    )
    print(
        f"{count} requests for {MODEL}\n\n"
        "| | situation | requests/s | peak MB | answers | billed ÷ requested |"
        " reported ÷ billed cost |\n|---|---|---|---|---|---|---|"
    )
    for situation in (nothing_happens, answer_lost, killed_while_creating):
        for contestant in contestants:
            print(_row(contestant, situation, count), flush=True)


def nothing_happens(bench: "Bench") -> dict[str, Any] | None:
    """An undisturbed run."""
    return bench.run()


def answer_lost(bench: "Bench") -> dict[str, Any] | None:
    """The batch is accepted, the connection dropped; run again if that was the end of it."""
    bench.arm({"create_dropped": 1})
    return bench.run() or bench.run()


def killed_while_creating(bench: "Bench") -> dict[str, Any] | None:
    """Killed with SIGKILL between the acceptance and its answer, then run again."""
    bench.arm({"create_slow": {"times": 1, "seconds": 20}})
    process = bench.start()
    while not bench.get("jobs") and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return bench.run()


class Bench:
    """One contestant in one situation, with a sandbox and a folder of its own."""

    def __init__(self, contestant: Contestant, url: str, folder: Path, count: int) -> None:
        self.contestant = contestant
        self.url = url
        self.folder = folder
        self.count = count

    def start(self) -> subprocess.Popen[str]:
        """The contestant's process."""
        environment = {
            **os.environ,
            "OPENAI_API_KEY": "sandbox",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "TELEMETRY_ENABLED": "false",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(self.folder / "datasets"),
        }
        arguments = (str(self.folder), MODEL, str(self.count))
        return subprocess.Popen(
            [self.contestant.python, "-c", self.contestant.program, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=open(self.folder / "stderr.txt", "ab"),
            text=True,
        )

    def run(self) -> dict[str, Any] | None:
        """What the contestant says of its run; None where it failed."""
        process = self.start()
        said, _ = process.communicate(timeout=600)
        if process.returncode != 0:
            return None
        found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
        return found

    def arm(self, faults: dict[str, Any]) -> None:
        """Switches the sandbox's faults."""
        data = json.dumps(faults).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/faults", data, method="PUT")
        with urllib.request.urlopen(request):
            pass

    def get(self, path: str) -> Any:
        """One of the sandbox's own pages."""
        with urllib.request.urlopen(f"{self.url}/sandbox/{path}") as answer:
            return json.loads(answer.read())


def _row(contestant: Contestant, situation: Any, count: int) -> str:
    settings = {"defects": "none", "pending_s": 0.5, "running_s": 1.0}
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedSandbox(Path(folder, "sandbox"), settings=settings) as sandbox,
    ):
        bench = Bench(contestant, sandbox.url, Path(folder), count)
        said = situation(bench)
        while any(not job.get("done") for job in bench.get("jobs")):
            time.sleep(0.2)  # what was accepted is billed, whoever still waits for it
        books = bench.get("ledger/summary")
        words = Path(folder, "stderr.txt").read_text("utf-8", "replace")
    billed = books["billed_lines"] / count
    start = f"| {contestant.name} | {situation.__name__.replace('_', ' ')} |"
    if said is None:
        last = words.strip().rpartition("\n")[2][:80]
        return f"{start} failed: {last} | | 0 | {billed:.3f} | |"
    reported = "none reported"
    if said["usd"] is not None and Decimal(books["usd"]):
        reported = f"{Decimal(said['usd']) / Decimal(books['usd']):.3f}"
    return (
        f"{start} {said['answers'] / said['seconds']:.1f} | {said['rss_mb']:.0f} |"
        f" {said['answers']} | {billed:.3f} | {reported} |"
    )


def _environment() -> str:
    """The peer's Python, made and filled if it is not there yet."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    have = subprocess.run(
        [python, "-c", "import bespokelabs.curator"], capture_output=True, check=False
    )
    if have.returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
    return str(python)


if __name__ == "__main__":
    main()
