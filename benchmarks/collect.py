"""Collecting a batch's results: ours against the machine's own limit and against the plain way.

    python benchmarks/collect.py            # a result file of 3 GB, and one of 300 MB
    python benchmarks/collect.py --gb 0.3   # a quick look

A server in a process of its own sends a result file that it makes up on the way, lines of 1.4 MB of
base64, over loopback. Each contender runs in a fresh process and is measured from the first byte
asked for to the last picture written:

    ours    the lane's results -> intake: received, split, parsed, decoded, hashed, stored
    limit   the same bytes received, decoded and written as durably, by as many threads; no parsing,
            no hashing, and nothing but a raw socket and a line length known beforehand
    plain   `files.download` into memory, `json.loads` per line, `base64`, written one by one

All three write through the same store, so that what they leave behind is equally durable. They take
turns, so that a busy neighbour meets all of them; the fastest turn of each counts.
"""

import argparse
import base64
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PICTURE = 1_050_000
"""Bytes of a picture; 1.4 MB as base64."""

SMALL_GB = 0.3
TURNS = 3
LIMIT_TO_PASS, PLAIN_TO_PASS, RSS_TO_PASS, GROWTH_TO_PASS = 0.5, 4.0, 350, 0.10


def head(number: int) -> bytes:
    """A line up to its base64, as long for each line; the number makes key and picture unique."""
    return (
        b'{"key":"%032x","response":{"candidates":[{"content":{"parts":[{"inlineData":'
        b'{"mimeType":"image/jpeg","data":"%s'
    ) % (number, base64.b64encode(b"\xff\xd8\xff\xe0" + b"%08d" % number))


TAIL = (
    b'"}}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":21,'
    b'"candidatesTokenCount":1120,"totalTokenCount":1141,"candidatesTokensDetails":'
    b'[{"modality":"IMAGE","tokenCount":1120}]},"modelVersion":"gemini-3.1-flash-lite-image"}}\n'
)
BODY = base64.b64encode(os.urandom(PICTURE - 12))
LINE = len(head(0)) + len(BODY) + len(TAIL)


class Answers(BaseHTTPRequestHandler):
    """The two answers that collecting needs; the file's length is part of its name."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        lines = int(re.findall(r"lines-(\d+)", self.path)[0])
        self.send_response(200)
        if "download" not in self.path:
            name = f"batches/lines-{lines}"
            output = {"responsesFile": f"files/lines-{lines}"}
            metadata = {"state": "BATCH_STATE_SUCCEEDED", "output": output}
            answer = json.dumps({"name": name, "done": True, "metadata": metadata}).encode()
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            return
        self.send_header("Content-Length", str(lines * LINE))
        self.end_headers()
        for number in range(lines):
            for piece in (head(number), BODY, TAIL):
                self.connection.sendall(piece)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def ours(base_url: str, lines: int, folder: Path) -> Callable[[], int]:
    from imagewave.providers.gemini.batch import GeminiBatchLane
    from imagewave.storage.store import Store
    from imagewave.tasks.collecting.intake import intake

    lane = GeminiBatchLane("benchmark", base_url)
    store = Store.open(str(folder))

    def run() -> int:
        outcomes = lane.results(f"batches/lines-{lines}", lambda key: True)
        return sum(taken.image is not None for taken in intake(store, outcomes))

    return run


def limit(base_url: str, lines: int, folder: Path) -> Callable[[], int]:
    import pybase64

    from imagewave.storage.store import Store
    from imagewave.tasks.collecting.intake import IN_FLIGHT, LOCAL_WRITERS

    store = Store.open(str(folder))
    first = len(head(0)) - 16

    def write(line: bytearray, number: int) -> None:
        data = pybase64.b64decode(memoryview(line)[first : LINE - len(TAIL)])
        store.put_if_absent(f"images/{number % 256:02x}/{number}.jpg", data)

    def run() -> int:
        host, port = base_url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)))
        connection.sendall(
            f"GET /v1beta/files/lines-{lines}:download HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(1)
        waiting: list[Future[None]] = []
        with ThreadPoolExecutor(LOCAL_WRITERS) as pool:
            for number in range(lines):
                line = bytearray(LINE)
                connection.recv_into(line, LINE, socket.MSG_WAITALL)
                waiting.append(pool.submit(write, line, number))
                if len(waiting) > IN_FLIGHT // LINE:
                    waiting.pop(0).result()
            for future in waiting:
                future.result()
        return lines

    return run


def plain(base_url: str, lines: int, folder: Path) -> Callable[[], int]:
    from google import genai
    from google.genai.types import HttpOptions

    from imagewave.storage.store import Store

    store = Store.open(str(folder))
    client = genai.Client(api_key="benchmark", http_options=HttpOptions(base_url=base_url))

    def run() -> int:
        content = client.files.download(file=f"files/lines-{lines}")
        count = 0
        for line in content.decode().splitlines():
            result = json.loads(line)
            part = result["response"]["candidates"][0]["content"]["parts"][0]
            data = base64.b64decode(part["inlineData"]["data"])
            store.put_if_absent(f"images/{count % 256:02x}/{result['key']}.jpg", data)
            count += 1
        return count

    return run


CONTENDERS = {"ours": ours, "limit": limit, "plain": plain}


def contend(name: str, base_url: str, lines: int) -> None:
    """Runs in a process of its own; prints seconds, CPU seconds and peak RSS in MB."""
    with tempfile.TemporaryDirectory(prefix="imagewave-collect-") as folder:
        run = CONTENDERS[name](base_url, lines, Path(folder))
        started, used = time.perf_counter(), time.process_time()
        written = run()
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
        stored = sum(len(files) for _, _, files in os.walk(folder))
        if written != lines or stored < lines:
            raise SystemExit(f"{name} wrote {written} of {lines} pictures")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "cpu": cpu, "rss": peak}))


def measure(name: str, base_url: str, lines: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--contend", name, base_url, str(lines)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def best_of(names: tuple[str, ...], base_url: str, lines: int) -> dict[str, dict[str, float]]:
    best: dict[str, dict[str, float]] = {}
    for _ in range(TURNS):
        for name in names:
            figures = measure(name, base_url, lines)
            if name not in best or figures["seconds"] < best[name]["seconds"]:
                best[name] = figures
    gigabytes = lines * LINE / 1e9
    for name, figures in best.items():
        print(
            f"{gigabytes:5.1f} GB  {name:6}{lines / figures['seconds']:8.0f} images/s"
            f"{1000 * gigabytes / figures['seconds']:8.0f} MB/s"
            f"{1000 * figures['cpu'] / lines:7.2f} ms CPU per image{figures['rss']:7.0f} MB peak"
        )
    return best


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--gb", type=float, default=3.0, help="size of the large result file")
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--contend", nargs=3, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve:
        serve()
    if chosen.contend:
        name, base_url, lines = chosen.contend
        contend(name, base_url, int(lines))
        return 0

    needed = 2 * chosen.gb * 1e9
    if shutil.disk_usage(tempfile.gettempdir()).free < needed:
        raise SystemExit(f"this needs {needed / 1e9:.0f} GB in {tempfile.gettempdir()}; set TMPDIR")
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        base_url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        large = best_of(("ours", "limit"), base_url, int(chosen.gb * 1e9 / LINE))
        small = best_of(("ours", "plain"), base_url, int(SMALL_GB * 1e9 / LINE))
    finally:
        server.terminate()
        server.wait()

    to_limit = large["limit"]["seconds"] / large["ours"]["seconds"]
    to_plain = small["plain"]["seconds"] / small["ours"]["seconds"]
    peak = large["ours"]["rss"]
    growth = peak / small["ours"]["rss"] - 1
    held = (
        to_limit >= LIMIT_TO_PASS
        and to_plain >= PLAIN_TO_PASS
        and peak <= RSS_TO_PASS
        and abs(growth) <= GROWTH_TO_PASS
    )
    print(f"of the limit     {to_limit:6.2f}   (to hold: >= {LIMIT_TO_PASS})")
    print(f"times the plain  {to_plain:6.2f}   (to hold: >= {PLAIN_TO_PASS})")
    print(f"peak RSS, MB     {peak:6.0f}   (to hold: <= {RSS_TO_PASS})")
    print(f"large to small  {growth:+7.1%}   (to hold: within {GROWTH_TO_PASS:.0%})")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
