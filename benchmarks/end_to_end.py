"""A job's results from the wire to the facts: ours against the limit that its parts set.

    python benchmarks/end_to_end.py            # 2,000 mixed pictures of 1024 x 1024, PNG and JPEG
    python benchmarks/end_to_end.py --n 200    # a quick look

A server in a process of its own sends the job's result file over loopback. Ours is `collect`, as a
wave calls it: received, split, parsed, decoded from base64, hashed, stored durably, measured from
one decode, recorded as facts, settled. The limit is what this machine could do if the unavoidable
parts were perfectly spread over its cores: the CPU of receiving and parsing, of decoding base64 and
hashing and writing, and of the bare decode of each picture, each measured alone in this run; or the
disk, where that is slower.
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

import orjson

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.screening import MAX_PIXELS, draw_all  # noqa: E402

from imagewave.storage.images import put_image  # noqa: E402
from imagewave.storage.jobs import JobFolder, Plan  # noqa: E402
from imagewave.storage.ledger import Budget, Ledger  # noqa: E402
from imagewave.storage.requests import Kind, Request, job_id  # noqa: E402
from imagewave.storage.store import Store  # noqa: E402
from imagewave.tasks.collect import collect  # noqa: E402
from imagewave.tasks.intake import LOCAL_WRITERS  # noqa: E402
from imagewave.tasks.providers.gemini_batch import GeminiBatchLane  # noqa: E402
from imagewave.tasks.providers.protocol import JobState, JobStatus  # noqa: E402
from imagewave.tasks.screening.decode import decode  # noqa: E402
from imagewave.tasks.screening.pool import Pool  # noqa: E402

MODEL = "gemini-3.1-flash-lite-image"
TO_PASS = 0.7
USAGE = {
    "promptTokenCount": 21,
    "candidatesTokenCount": 1120,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}


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


def ours(url: str, count: int, scratch: Path, pool: Pool) -> float:
    """Seconds in which `collect` settles the job."""
    store = Store.open(str(scratch / "ours"))
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
    start = time.perf_counter()
    settled = collect(store, job, GeminiBatchLane("benchmark", url), status, pool)
    seconds = time.perf_counter() - start
    assert settled.counts == {"image": count}, settled.counts
    return seconds


def parts(url: str, folder: Path, scratch: Path) -> Iterator[tuple[str, float, float]]:
    """Each unavoidable part alone: its name, CPU seconds and wall seconds over all pictures."""
    lane = GeminiBatchLane("benchmark", url)
    files = [file.read_bytes() for file in sorted(folder.iterdir())]

    cpu, wall = time.process_time(), time.perf_counter()
    for outcome in lane.results("batches/b", lambda key: True):
        assert outcome.image is not None
    yield "receive and parse", time.process_time() - cpu, time.perf_counter() - wall

    store = Store.open(str(scratch / "parts"))
    cpu, wall = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(LOCAL_WRITERS) as threads:
        list(threads.map(lambda data: put_image(store, data), files))
    yield "hash and write", time.process_time() - cpu, time.perf_counter() - wall

    cpu, wall = time.process_time(), time.perf_counter()
    for data in files:
        decode(data, max_pixels=MAX_PIXELS)
    yield "decode", time.process_time() - cpu, time.perf_counter() - wall


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="pictures (default 2,000)")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    count, cores = options.n, len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="imagewave-end-") as name:
        scratch = Path(name)
        folder, file = scratch / "pictures", scratch / "results.jsonl"
        size = draw_all(folder, count)
        write_results(folder, file)
        command = [sys.executable, __file__, "--serve", str(file)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            with Pool(max_pixels=MAX_PIXELS) as pool:
                seconds = ours(url, count, scratch, pool)
                # The largest single process: this one, or one of its decoders.
                peak = max(
                    resource.getrusage(who).ru_maxrss
                    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
                )
            found = list(parts(url, folder, scratch))
        finally:
            server.terminate()
            server.wait()
    print(
        f"{count} pictures of 1024 x 1024, half PNG, half JPEG, {size / 1e9:.2f} GB; {cores} cores"
    )
    for part, cpu, wall in found:
        print(
            f"{part:20} {1000 * cpu / count:6.2f} ms CPU"
            f" {1000 * wall / count:6.2f} ms wall per picture"
        )
    by_cpu = cores * count / sum(cpu for _, cpu, _ in found)
    by_disk = count / next(wall for part, _, wall in found if part == "hash and write")
    limit = min(by_cpu, by_disk)
    print(f"limit by CPU {by_cpu:.0f}, by disk {by_disk:.0f} images/s")
    print(
        f"ours {count / seconds:.0f} images/s = {count / seconds / limit:.2f} of the limit", end=""
    )
    print(f" (to hold: >= {TO_PASS}); peak RSS {peak / 1024:.0f} MB")
    return 0 if count / seconds / limit >= TO_PASS else 1


if __name__ == "__main__":
    sys.exit(main())
