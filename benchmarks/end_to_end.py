"""A job's results from the wire to the facts: ours against the limit that its parts set.

    python benchmarks/end_to_end.py            # 2,000 mixed pictures of 1024 x 1024, PNG and JPEG
    python benchmarks/end_to_end.py --n 200    # a quick look

A server in a process of its own sends the job's result file over loopback. Ours is `collect`, as a
wave calls it: received, split, parsed, decoded from base64, hashed, stored durably, measured from
one decode, recorded as facts, settled. The limit is what this machine could do if the unavoidable
parts were perfectly spread over its cores: the CPU of receiving and parsing, of decoding base64 and
hashing and writing, and of the bare decode of each picture, each measured alone in this run; or the
disk, where that is slower. Whole and parts take turns, and the best of each counts. On a machine
with other work nothing but CPU time can be compared: how much of ours the parts are.
"""

import argparse
import base64
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import orjson
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.screening import MAX_PIXELS, draw_all  # noqa: E402

from imagewave.providers.gemini.batch import GeminiBatchLane  # noqa: E402
from imagewave.providers.protocol import JobState, JobStatus  # noqa: E402
from imagewave.storage.images import put_image  # noqa: E402
from imagewave.storage.jobs.folder import JobFolder, Plan  # noqa: E402
from imagewave.storage.money.ledger import Budget, Ledger  # noqa: E402
from imagewave.storage.requests import Kind, Request, job_id  # noqa: E402
from imagewave.storage.store import Store  # noqa: E402
from imagewave.tasks.collecting.collect import collect  # noqa: E402
from imagewave.tasks.collecting.intake import LOCAL_WRITERS  # noqa: E402
from imagewave.tasks.screening.decode import decode  # noqa: E402
from imagewave.tasks.screening.pool import Pool  # noqa: E402

MODEL = "gemini-3.1-flash-lite-image"
OURS, RECEIVE, WRITE, DECODE = "ours, all of it", "receive and parse", "hash and write", "decode"
TO_PASS = 0.9
USAGE = {
    "promptTokenCount": 21,
    "candidatesTokenCount": 1120,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}


class Taken(NamedTuple):
    """Seconds of CPU time on all cores, and by the wall."""

    cpu: float
    wall: float


def requests_of(count: int) -> list[Request]:
    return [
        Request(kind=Kind.DRAFT, model=MODEL, prompt="benchmark", sample=number)
        for number in range(count)
    ]


def write_results(folder: Path, file: Path) -> None:
    """The result file as the provider would send it, a picture a line."""
    pictures = sorted(folder.iterdir())
    with file.open("wb") as lines:
        for picture, request in zip(pictures, requests_of(len(pictures)), strict=True):
            mime = "image/png" if picture.suffix == ".png" else "image/jpeg"
            data = base64.b64encode(picture.read_bytes()).decode()
            part = {"inlineData": {"mimeType": mime, "data": data}}
            answer = {"content": {"parts": [part]}, "finishReason": "STOP"}
            response = {"candidates": [answer], "usageMetadata": USAGE}
            lines.write(orjson.dumps({"key": request.id, "response": response}) + b"\n")


def serve(file: Path) -> None:
    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            if "download" not in self.path:
                metadata = {
                    "state": "BATCH_STATE_SUCCEEDED",
                    "output": {"responsesFile": "files/all"},
                }
                answer = orjson.dumps({"name": "batches/b", "done": True, "metadata": metadata})
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                return
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            with file.open("rb") as lines:
                self.connection.sendfile(lines)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def ours(url: str, count: int, place: Path) -> Taken:
    """What it takes `collect` and its decoders, which run already, to settle the job."""
    store = Store.open(str(place))
    asked = requests_of(count)
    job = job_id(asked, "draft-1.1")
    folder = JobFolder(store, job)
    plan = Plan(
        wave="benchmark",
        revision="00000000",
        kind=Kind.DRAFT,
        round=1,
        attempt=1,
        lane="gemini-batch",
        model=MODEL,
        requests=count,
        estimate_usd="1",
    )
    folder.write_plan(plan, asked)
    Ledger(store).hold(job, "benchmark", Decimal(1), Budget())
    intent = folder.claim(label="benchmark", lane="gemini-batch", held_usd="1", after=[])
    assert intent is not None
    folder.accept(intent.token, "batches/b", adopted=False)
    status = JobStatus(name="batches/b", state=JobState.SUCCEEDED)
    lane = GeminiBatchLane("benchmark", url)
    others = psutil.Process().children()
    with Pool(max_pixels=MAX_PIXELS) as pool:
        pool.await_ready()  # a run has one pool, which starts beside other work, and one lane
        decoders = [child for child in psutil.Process().children() if child not in others]
        assert decoders, "their time is most of it"
        cpu, wall = cpu_seconds(decoders), time.perf_counter()
        settled = collect(store, job, lane, status, pool)
        taken = Taken(cpu_seconds(decoders) - cpu, time.perf_counter() - wall)
    assert settled.counts == {"image": count}, settled.counts
    return taken


def cpu_seconds(decoders: list[psutil.Process]) -> float:
    times = [psutil.Process().cpu_times(), *(decoder.cpu_times() for decoder in decoders)]
    return sum(each.user + each.system for each in times)


def parts(url: str, folder: Path, scratch: Path) -> Iterator[tuple[str, Taken]]:
    """Each unavoidable part alone, over all pictures."""
    lane = GeminiBatchLane("benchmark", url)
    files = [file.read_bytes() for file in sorted(folder.iterdir())]

    def receive() -> None:
        for outcome in lane.results("batches/b", lambda key: True):
            assert outcome.image is not None

    def write() -> None:
        store = Store.open(str(scratch))
        with ThreadPoolExecutor(LOCAL_WRITERS) as threads:
            list(threads.map(lambda data: put_image(store, data), files))

    def decode_all() -> None:
        for data in files:
            decode(data, max_pixels=MAX_PIXELS)

    for name, part in {RECEIVE: receive, WRITE: write, DECODE: decode_all}.items():
        cpu, wall = time.process_time(), time.perf_counter()
        part()
        yield name, Taken(time.process_time() - cpu, time.perf_counter() - wall)


def contest(url: str, count: int, pictures: Path, turns: int) -> tuple[dict[str, Taken], float]:
    """The least that the whole and each part took, of turns that they take one after another, and
    the peak of ours, MB."""
    best: dict[str, Taken] = {}
    peak = 0.0
    for _ in range(turns):
        with tempfile.TemporaryDirectory(prefix="imagewave-end-") as name:
            scratch = Path(name)
            found = {OURS: ours(url, count, scratch / "ours")}
            peak = peak or peak_memory()  # of the parts, one holds all pictures
            found.update(parts(url, pictures, scratch / "parts"))
        for name, taken in found.items():
            least = best.get(name, taken)
            best[name] = Taken(min(least.cpu, taken.cpu), min(least.wall, taken.wall))
    return best, peak


def peak_memory() -> float:
    """MB of the largest single process so far: this one, or one of its decoders."""
    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(each).ru_maxrss for each in processes) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="pictures (default 2,000)")
    parser.add_argument("--turns", type=int, default=2, help="turns (default 2)")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    count, cores = options.n, len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="imagewave-end-") as name:
        pictures, file = Path(name, "pictures"), Path(name, "results.jsonl")
        size = draw_all(pictures, count)
        write_results(pictures, file)
        command = [sys.executable, __file__, "--serve", str(file)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            best, peak = contest(url, count, pictures, options.turns)
        finally:
            server.terminate()
            server.wait()
    print(
        f"{count} pictures of 1024 x 1024, half PNG, half JPEG, {size / 1e9:.2f} GB; {cores} cores"
    )
    for part, taken in best.items():
        print(
            f"{part:16} {1000 * taken.cpu / count:6.2f} ms CPU"
            f" {1000 * taken.wall / count:6.2f} ms wall per picture"
        )
    whole, unavoidable = best[OURS], sum(best[part].cpu for part in (RECEIVE, WRITE, DECODE))
    by_cpu, by_disk = cores * count / unavoidable, count / best[WRITE].wall
    limit = min(by_cpu, by_disk)
    reached = count / whole.wall / limit
    print(f"by CPU time, the parts are {unavoidable / whole.cpu:.2f} of ours")
    print(f"limit by CPU {by_cpu:.0f}, by disk {by_disk:.0f} images/s")
    print(f"ours {count / whole.wall:.0f} images/s = {reached:.2f} of the limit", end="")
    print(f" (to hold: >= {TO_PASS}); peak RSS {peak:.0f} MB")
    return 0 if reached >= TO_PASS else 1


if __name__ == "__main__":
    sys.exit(main())
