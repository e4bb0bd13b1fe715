"""Servers that tests start: real processes on loopback ports, gone when the test is."""

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# moto looks for the object and puts it in two steps, so of two conditional puts at once both may
# win. S3 promises that one does: puts go one after the other here. Each request is a line of the
# log, where one is asked for.
_MOTO = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

moto, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()
log = open(sys.argv[2], "a", buffering=1)

def application(environ, start_response):
    log.write(environ["REQUEST_METHOD"] + " " + environ["PATH_INFO"] + "\\n")
    if environ["REQUEST_METHOD"] != "PUT":
        return moto(environ, start_response)
    with one_at_a_time:
        return list(moto(environ, start_response))

run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True)
"""


@contextmanager
def start_moto(log: Path = Path(os.devnull)) -> Iterator[str]:
    """An S3-compatible server in a process of its own; yields its endpoint.

    The file `log` gets a line for each request, of its method and path.
    """
    port = free_port()
    command = [sys.executable, "-c", _MOTO, str(port), str(log)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _wait_for(endpoint, process)
            yield endpoint
        finally:
            process.kill()


def s3_environment(endpoint: str) -> dict[str, str]:
    """What to set so that S3 clients of this and of child processes talk to the endpoint."""
    return {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}


def make_bucket(endpoint: str) -> str:
    """Makes a bucket of a new name; returns the name."""
    name = f"test-{secrets.token_hex(6)}"
    request = urllib.request.Request(f"{endpoint}/{name}", method="PUT", headers=_signature())
    with urllib.request.urlopen(request):
        return name


@contextmanager
def provider_before(sandbox: str) -> Iterator[str]:
    """A real provider, as far as anybody can tell: the sandbox's API, and nothing besides it.

    Yields its address, where the sandbox's own endpoints, by which a stand-in is known, are not.
    """
    place = sandbox.removeprefix("http://")

    class Passing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.startswith("/sandbox"):
                status, headers, answer = 404, [], b"{}"
            else:
                there = HTTPConnection(place, timeout=60)
                there.request(self.command, self.path, body, dict(self.headers))
                said = there.getresponse()
                status, headers, answer = said.status, said.getheaders(), said.read()
                there.close()
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = pass_on  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables, set for the time of the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _signature() -> dict[str, str]:
    # moto reads the account and the service off the header and does not check the signature.
    scope = "testing/20260101/us-east-1/s3/aws4_request"
    return {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, "
        "SignedHeaders=host;x-amz-date, Signature=0"
    }


def _wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.05)
    raise RuntimeError(f"the server at {endpoint} did not start")
