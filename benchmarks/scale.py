"""Many machines: how the wall time of a wave's collecting falls as workers share it.

    python benchmarks/scale.py                        # 8 jobs of 250 pictures of 1024 x 1024
    python benchmarks/scale.py --pictures 50          # a quick look
    python benchmarks/scale.py --svg docs/scaling.svg # and draw it

A server in a process of its own plays the provider: it sends each job's result file, half PNG, half
JPEG, over loopback. The jobs are offered in a store, and one worker takes them, then two, each a
process as the flow `share` runs it: it claims jobs until none is left, and each job is received,
split, parsed, decoded, hashed, stored durably, measured, recorded as facts and settled. A worker
stands for a machine, so each is held to a core of its own, its decoders with it.

The time is from the start signal, when all workers are up, to the last job's settling; they take
turns, and the fastest turn of each counts. On a machine with other work to do, look at the CPU
seconds of the busiest worker instead: on cores of its own it would take hardly longer. What a
worker needs to come up (Prefect, imports, decoders) is another matter: `docs/scaling.md`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.end_to_end import MODEL, requests_of, write_results  # noqa: E402
from benchmarks.screening import MAX_PIXELS, draw_all  # noqa: E402

from imagewave.providers.gemini.batch import GeminiBatchLane  # noqa: E402
from imagewave.providers.protocol import JobState, JobStatus  # noqa: E402
from imagewave.storage.jobs.folder import JobFolder, Plan  # noqa: E402
from imagewave.storage.jobs.shares import Shares  # noqa: E402
from imagewave.storage.money.ledger import Budget, Ledger  # noqa: E402
from imagewave.storage.requests import Kind, job_id  # noqa: E402
from imagewave.storage.store import Store  # noqa: E402
from imagewave.tasks.collecting.collect import collect  # noqa: E402
from imagewave.tasks.collecting.sharing import AT_ONCE, Sharing, Started, help_out  # noqa: E402
from imagewave.tasks.screening.pool import Pool  # noqa: E402

WORK = "benchmark"
TO_PASS = 1.6
"""Times faster with two workers than with one."""


def write_jobs(pictures: Path, results: Path, jobs: int, each: int) -> None:
    """A result file for each job, of its own pictures and with its own requests' keys."""
    drawn = sorted(pictures.iterdir())
    for number in range(jobs):
        own = results / f"{number}"
        own.mkdir(parents=True)
        # The folder holds PNG and JPEG one after the other: every job gets its part of both.
        for picture in drawn[number::jobs][:each]:
            os.link(picture, own / picture.name)
        write_results(own, results / f"{number}.jsonl")


def serve(results: Path) -> None:
    """Answers for the batch `batches/<number>` with the file `<number>.jsonl`."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            number = "".join(sign for sign in self.path.rpartition("/")[2] if sign.isdigit())
            self.send_response(200)
            if "download" not in self.path:
                output = {"responsesFile": f"files/{number}"}
                metadata = {"state": "BATCH_STATE_SUCCEEDED", "output": output}
                name = f"batches/{number}"
                answer = orjson.dumps({"name": name, "done": True, "metadata": metadata})
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                return
            file = results / f"{number}.jsonl"
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            with file.open("rb") as lines:
                self.connection.sendfile(lines)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def offer(store: Store, jobs: int, each: int) -> list[str]:
    """Jobs that the provider has ended, offered to whoever comes; returns their ids."""
    offered = []
    shares = Shares(store, WORK)
    for number in range(jobs):
        asked = requests_of(each)
        id = job_id(asked, f"draft-{number}.1")
        folder = JobFolder(store, id)
        plan = Plan(
            wave="benchmark",
            revision="00000000",
            kind=Kind.DRAFT,
            round=number,
            attempt=1,
            lane="gemini-batch",
            model=MODEL,
            requests=each,
            estimate_usd="1",
        )
        folder.write_plan(plan, asked)
        Ledger(store).hold(id, "benchmark", Decimal(1), Budget())
        intent = folder.claim(label="benchmark", lane="gemini-batch", held_usd="1", after=[])
        assert intent is not None
        folder.accept(intent.token, f"batches/{number}", adopted=False)
        shares.offer(id, {"name": f"batches/{number}", "state": JobState.SUCCEEDED})
        offered.append(id)
    return offered


def work(url: str, folder: str, core: int) -> None:
    """A worker's life, on one core; begins when told to."""
    os.sched_setaffinity(0, {core})
    store = Store.open(folder, create=False)
    lane = GeminiBatchLane("benchmark", url)
    shares = Shares(store, WORK)
    with (
        Pool(max_pixels=MAX_PIXELS) as pool,
        ThreadPoolExecutor(AT_ONCE) as threads,
        shares.renewing(),
    ):

        def start(id: str, status: JobStatus) -> Started:
            return threads.submit(collect, store, id, lane, status, pool)

        print("ready", flush=True)
        sys.stdin.readline()
        before = cpu_seconds()
        shares.look()
        done = help_out(Sharing(store, shares, start))
        print(orjson.dumps({"jobs": done, "cpu": cpu_seconds() - before}).decode(), flush=True)


def cpu_seconds() -> float:
    """What this process and its decoders have used."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return float(sum(used.user + used.system for used in times))


def measure(
    url: str, scratch: Path, workers: int, jobs: int, each: int
) -> tuple[float, float, list[int]]:
    """Seconds in which so many workers settle all jobs, CPU seconds of the busiest one, and how
    many jobs each of them did."""
    store = Store.open(str(scratch / f"store-{workers}"))
    offered = offer(store, jobs, each)
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, __file__, "--work", url, store.url]
    crew = [
        subprocess.Popen(
            [*command, str(cores[number])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(workers)
    ]
    for process in crew:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    began = time.time()
    for process in crew:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [orjson.loads(process.communicate()[0]) for process in crew]
    settled = [JobFolder(store, id).settled() for id in offered]
    assert all(one is not None and one.counts == {"image": each} for one in settled)
    ended = max(datetime.fromisoformat(one.at).timestamp() for one in settled if one)
    busiest = max(one["cpu"] for one in told)
    return ended - began, busiest, [one["jobs"] for one in told]


def draw(seconds: dict[int, float], pictures: int) -> str:
    """Wall time against workers as an SVG, with what perfect sharing would take."""
    wide, high, left, foot = 520, 300, 60, 60
    scale = (high - foot - 20) / max(seconds.values())
    step = (wide - left) / len(seconds)
    marks = []
    for place, (workers, taken) in enumerate(sorted(seconds.items())):
        x, y = left + place * step + step / 4, high - foot - taken * scale
        ideal = high - foot - seconds[1] / workers * scale
        rate = f"{pictures / taken:.0f} images/s"
        marks.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{step / 2:.0f}" '
            f'height="{taken * scale:.0f}" fill="#3b6ea5"/>'
            f'<line x1="{x - 15:.0f}" x2="{x + step / 2 + 15:.0f}" y1="{ideal:.0f}" '
            f'y2="{ideal:.0f}" stroke="#c0392b" stroke-width="2" stroke-dasharray="6 4"/>'
            f'<text x="{x + step / 4:.0f}" y="{y - 8:.0f}">{taken:.1f} s, {rate}</text>'
            f'<text x="{x + step / 4:.0f}" y="{high - foot + 20}">'
            f"{workers} worker{'s' if workers > 1 else ''}</text>"
        )
    title = f"{pictures} pictures collected and measured; dashed: perfect sharing"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -20 {wide} {high + 20}" '
        'font-family="sans-serif" font-size="14" text-anchor="middle">\n'
        f'<rect y="-20" width="{wide}" height="{high + 20}" fill="white"/>\n'
        + "\n".join(marks)
        + f'\n<text x="{wide / 2:.0f}" y="{high - 12}">{title}</text>\n</svg>\n'
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=8, help="jobs (default 8)")
    parser.add_argument("--pictures", type=int, default=250, help="pictures a job (default 250)")
    parser.add_argument("--turns", type=int, default=3, help="turns; the fastest counts")
    parser.add_argument("--svg", type=Path, help="where to draw the result")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    if options.work:
        url, folder, core = options.work
        work(url, folder, int(core))
        return 0

    cores = len(os.sched_getaffinity(0))
    counts = [workers for workers in (1, 2) if workers <= cores]
    seconds: dict[int, float] = {}
    busiest: dict[int, float] = {}
    with tempfile.TemporaryDirectory(prefix="imagewave-scale-") as name:
        scratch = Path(name)
        size = draw_all(scratch / "pictures", options.jobs * options.pictures)
        write_jobs(scratch / "pictures", scratch / "results", options.jobs, options.pictures)
        command = [sys.executable, __file__, "--serve", str(scratch / "results")]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            for turn in range(options.turns):
                for workers in counts:
                    place = scratch / f"turn-{turn}"
                    taken, cpu, did = measure(url, place, workers, options.jobs, options.pictures)
                    print(
                        f"turn {turn + 1}: {workers} workers {taken:6.1f} s,"
                        f" the busiest {cpu:5.1f} s of CPU, jobs {did}",
                        flush=True,
                    )
                    seconds[workers] = min(taken, seconds.get(workers, taken))
                    busiest[workers] = min(cpu, busiest.get(workers, cpu))
                    shutil.rmtree(place)
        finally:
            server.terminate()
            server.wait()
    pictures = options.jobs * options.pictures
    print(f"{options.jobs} jobs, {pictures} pictures of 1024 x 1024, {size / 1e9:.2f} GB")
    for workers, taken in seconds.items():
        print(
            f"{workers} workers of one core each: {taken:6.1f} s, {pictures / taken:4.0f} images/s,"
            f" {seconds[1] / taken:.2f} times as fast as one;"
            f" CPU of the busiest {busiest[workers]:6.1f} s"
        )
    if options.svg:
        options.svg.write_text(draw(seconds, pictures))
    if 2 not in seconds:
        print("one core: nothing to share here")
        return 0
    gained = seconds[1] / seconds[2]
    print(f"two workers to one {gained:.2f}   (to hold: >= {TO_PASS})")
    return 0 if gained >= TO_PASS else 1


if __name__ == "__main__":
    sys.exit(main())
