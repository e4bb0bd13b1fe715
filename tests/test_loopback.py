"""HTTP clients of this process and this machine's own servers, where a proxy is set."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.servers import environment, free_port

from imagewave.loopback import spare_loopback
from imagewave.sandbox.embedded import EmbeddedSandbox

pytestmark = pytest.mark.heavy

# Each says the status that its client got; they are what our own code and the SDKs use.
_CLIENTS = {
    "requests": "import requests; print(requests.get(url).status_code)",
    "httpx": "import httpx; print(httpx.get(url).status_code)",
    "httpx2": "import httpx2; print(httpx2.get(url).status_code)",
    "urllib": "import urllib.request; print(urllib.request.urlopen(url).status)",
    "aiohttp": """
import aiohttp, asyncio
async def ask():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get(url) as answer:
            print(answer.status)
asyncio.run(ask())
""",
    "botocore": """
from botocore.session import Session
client = Session().create_client("s3", "us-east-1", endpoint_url=url,
    aws_access_key_id="a", aws_secret_access_key="b")
print(client.list_buckets()["ResponseMetadata"]["HTTPStatusCode"])
""",
    "websockets": """
from websockets.proxy import get_proxy
from websockets.uri import parse_uri
print(200 if get_proxy(parse_uri(url.replace("http", "ws"))) is None else "through the proxy")
""",
}


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answers whatever is asked for."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """A port of every loopback address, at which a server answers."""
    with HTTPServer(("0.0.0.0", 0), _Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def proxied() -> Iterator[dict[str, str]]:
    """An environment with a proxy that nobody answers at, for this process and its children."""
    proxy = f"http://127.0.0.1:{free_port()}"
    names = ("http_proxy", "https_proxy", "all_proxy")
    settings = {spelled: proxy for name in names for spelled in (name, name.upper())}
    with environment(**settings, no_proxy="", NO_PROXY=""):
        yield settings


@pytest.mark.parametrize("client", _CLIENTS)
def test_no_client_asks_the_proxy_for_this_machine(
    client: str, port: int, proxied: dict[str, str]
) -> None:
    spare_loopback(["127.0.0.7"])
    for host in ("127.0.0.1", "localhost", "127.0.0.7"):
        code = f"url = 'http://{host}:{port}/'\n{_CLIENTS[client]}"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert said.stdout.strip() == "200", f"{host}: {said.stdout}{said.stderr[-500:]}"


def test_other_hosts_are_asked_for_as_before(port: int, proxied: dict[str, str]) -> None:
    with environment(NO_PROXY="example.com, .internal"):
        spare_loopback()
        code = (
            "import requests.utils as u;"
            "print([u.should_bypass_proxies(url, None) for url in ('http://example.com/',"
            " 'http://a.internal/', 'http://elsewhere.org/', 'http://[::1]:80/')])"
        )
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.strip() == "[True, True, False, True]", said.stderr


def test_the_embedded_sandbox_is_reached_by_whoever_starts_it(
    tmp_path: Path, proxied: dict[str, str]
) -> None:
    with EmbeddedSandbox(tmp_path) as sandbox:
        code = f"url = '{sandbox.url}/sandbox/ledger'\n{_CLIENTS['httpx']}"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.strip() == "200", said.stderr
