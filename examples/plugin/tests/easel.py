"""A stand-in for Easel's service: it draws noise, keeps books, and misbehaves on command."""

import base64
import hashlib
import io
import itertools
import json
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

USD, TOKENS = "0.01", 1000
_DEFECT = re.compile(r"\[\[sandbox:(\w+)\]\]")
_CODES = {"error_3": 3, "error_8": 8, "error_13": 13}


class Easel:
    """The service; `url` is where it answers between `start` and `stop`."""

    def __init__(self, draws_for_s: float = 0.02) -> None:
        self.draws_for_s = draws_for_s
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._inputs: dict[str, list[dict[str, Any]]] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        self._files: dict[str, bytes] = {}
        self._books: list[dict[str, Any]] = []
        self._armed: dict[str, dict[str, Any]] = {}
        handler = type("Handler", (_Handler,), {"easel": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # ------------------------------------------------------------ what the contract asks for

    def arm(self, **faults: Any) -> None:
        with self._lock:
            for name, value in faults.items():
                fault = dict(value) if isinstance(value, dict) else {"times": value}
                self._armed[name] = {"times": 1, **fault}

    def disarm(self) -> None:
        with self._lock:
            self._armed = {}

    def jobs(self) -> int:
        return len(self._jobs)

    def ledger(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._books)

    # ------------------------------------------------------------------------ how it works

    def take(self, name: str) -> dict[str, Any] | None:
        """Uses an armed fault up once."""
        with self._lock:
            fault = self._armed.get(name)
            if not fault:
                return None
            fault["times"] -= 1
            if fault["times"] <= 0:
                del self._armed[name]
            return fault

    def keep_input(self, body: bytes) -> str:
        name = f"input-{next(self._numbers)}"
        self._inputs[name] = [json.loads(line) for line in body.splitlines()]
        return name

    def accept(self, asked: dict[str, Any]) -> str:
        with self._lock:
            name = f"job-{next(self._numbers)}"
            dealt = ("job_partial", "result_gone", "result_crlf")
            dealt += ("result_no_final_newline", "result_truncated")
            self._jobs[name] = {
                "id": name,
                "token": asked["token"],
                "lines": self._inputs[asked["input"]],
                "due": time.monotonic() + self.draws_for_s,
                "faults": {fault for fault in dealt if self.take(fault)},
                "state": "drawing",
            }
            return name

    def job(self, name: str) -> dict[str, Any] | None:
        """The job, drawn to its end where its time has come."""
        with self._lock:
            job = self._jobs.get(name)
            if job and job["state"] == "drawing" and time.monotonic() >= job["due"]:
                self._draw(job)
            return job

    def page(self, after: str, limit: int) -> dict[str, Any]:
        with self._lock:
            names = list(reversed(self._jobs))
            begin = names.index(after) + 1 if after else 0
            jobs = [{"id": n, "token": self._jobs[n]["token"]} for n in names[begin:][:limit]]
            return {"data": jobs, "has_more": begin + limit < len(names)}

    def cancel(self, name: str) -> bool:
        """Whether there was anything to stop."""
        with self._lock:
            job = self.job(name)
            if job is None or job["state"] != "drawing":
                return False
            job.update(state="cancelled", results="")
            return True

    def file(self, name: str) -> bytes | None:
        return self._files.get(name)

    def _draw(self, job: dict[str, Any]) -> None:
        faults, lines = job["faults"], []
        for number, asked in enumerate(job["lines"]):
            if "job_partial" in faults and number >= len(job["lines"]) - 1:
                lines.append({"id": asked["id"], "error": {"message": "not drawn"}})
            else:
                lines.append(self._result(asked))
        ending = b"\r\n" if "result_crlf" in faults else b"\n"
        file = b"".join(json.dumps(line).encode() + ending for line in lines)
        if "result_no_final_newline" in faults:
            file = file.removesuffix(ending)
        if "result_truncated" in faults:
            file = file[:-40]
        if "result_gone" not in faults:
            self._files[job["id"]] = file
        job.update(state="partly done" if "job_partial" in faults else "done", results=job["id"])

    def _result(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = _DEFECT.search(asked["prompt"])
        defect = found[1] if found else ""
        if defect in _CODES:
            return {"id": asked["id"], "error": {"code": _CODES[defect], "message": defect}}
        if defect in ("block_safety", "finish_safety", "finish_image_safety"):
            return {"id": asked["id"], "refused": defect}
        self._books.append({"id": asked["id"], "usd": USD})
        image = base64.b64encode(_picture(asked)).decode()
        line: dict[str, Any] = {"id": asked["id"], "image": image, "tokens": TOKENS}
        if defect == "no_image":
            del line["image"]
        if defect == "bad_base64":
            line["image"] = "!" + image[1:]
        if defect == "usage_missing":
            del line["tokens"]
        return line


def _picture(asked: dict[str, Any]) -> bytes:
    """Noise that is the request's own."""
    width, height = asked["pixels"]
    seed = hashlib.sha256(asked["id"].encode()).digest()
    noise = (seed * (width * height * 3 // len(seed) + 1))[: width * height * 3]
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(out, "PNG")
    return out.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    easel: Easel

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        if url.path == "/sandbox":  # by this imagewave knows that no money is real
            self._answer(200, {"sandbox": "imagewave"})
        elif self._may_not_pass():
            pass
        elif parts == ["models"]:
            self._answer(200, {"data": [{"id": "easel-1"}]})
        elif parts == ["jobs"]:
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            if self.easel.take("list_500"):
                self._refuse(500, "internal")
            else:
                page = self.easel.page(query.get("after", ""), int(query.get("limit", 20)))
                self._answer(200, page)
        elif parts[0] == "jobs" and (job := self.easel.job(parts[1])):
            named = "" if self.easel.take("output_unnamed") else job.get("results", "")
            self._answer(200, {"id": job["id"], "state": job["state"], "results": named})
        elif parts[0] == "results":
            self._send_file(parts[1])
        else:
            self._refuse(404, "not_found")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.strip("/").split("/")
        if self._may_not_pass():
            return
        if parts == ["inputs"]:
            self._answer(200, {"id": self.easel.keep_input(body)})
        elif parts == ["jobs"]:
            self._create(json.loads(body))
        elif parts[0] == "jobs" and self.easel.cancel(parts[1]):
            self._answer(200, {})
        else:
            self._refuse(400 if self.easel.job(parts[1]) else 404, "not_open")

    def _create(self, asked: dict[str, Any]) -> None:
        easel = self.easel
        if easel.take("create_unheard"):
            self._hang_up()
            return
        if fault := easel.take("create_429"):
            self._refuse(429, "quota", {"Retry-After": str(fault["retry_after"])})
            return
        for status in (500, 503):
            if fault := easel.take(f"create_{status}"):
                if fault.get("accepted"):
                    easel.accept(asked)
                self._refuse(status, "internal")
                return
        name = easel.accept(asked)
        if easel.take("create_dropped"):
            self._hang_up()
        else:
            self._answer(200, {"id": name})

    def _send_file(self, name: str) -> None:
        file = self.easel.file(name)
        if file is None or self.easel.take("download_404"):
            self._refuse(404, "not_found")
            return
        if self.easel.take("download_500"):
            self._refuse(500, "internal")
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if start >= len(file):
            self._answer(416, {}, {"Content-Range": f"bytes */{len(file)}"})
            return
        rest = file[start:]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(file) - 1}/{len(file)}")
        short = self.easel.take("download_short")
        dropped = None if short else self.easel.take("download_dropped")
        if short:  # no length: the end of the connection looks like the end of the file
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        cut = short or dropped
        self.wfile.write(rest[: int(len(rest) * cut["fraction"])] if cut else rest)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def _may_not_pass(self) -> bool:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not key or key.startswith("bad"):
            self._refuse(401, "unauthorized")
            return True
        return False

    def _refuse(self, status: int, kind: str, headers: dict[str, str] | None = None) -> None:
        self._answer(status, {"error": {"kind": kind, "message": f"no: {kind}"}}, headers)

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        pass
