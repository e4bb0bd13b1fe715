"""A Prefect server that is named but does not answer, or not yet, or not us."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from tests.servers import environment, free_port

from imagewave.errors import ImagewaveError
from imagewave.flows.prefect.server import WAIT_VARIABLE, ServerError, working_with
from imagewave.flows.progress import Progress, watched_by

pytestmark = pytest.mark.heavy


class _Server(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        """Answers as told."""
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _Refusing(_Server):
    status = 401


@contextmanager
def serving(port: int, handler: type[_Server]) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.fixture
def port() -> Iterator[int]:
    """A port that Prefect takes for its server's."""
    port = free_port()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        yield port


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def test_a_server_that_starts_late_is_waited_for(port: int) -> None:
    told: list[Progress] = []
    servers = []

    def start(progress: Progress) -> None:
        if not told:
            server = serving(port, _Server)
            server.__enter__()
            servers.append(server)
        told.append(progress)

    with watched_by(start), working_with(url(port)):
        assert "waiting for the server at" in told[0].note
        assert told[-1].requests_done == 1
    servers[0].__exit__(None, None, None)


def test_a_server_that_never_answers_is_one_error(port: int) -> None:
    with (
        environment(**{WAIT_VARIABLE: "0.1"}),
        pytest.raises(ServerError, match=r"has not answered for 0\.1 s") as error,
        working_with(url(port)),
    ):
        raise AssertionError("it did not answer")
    assert url(port) in str(error.value)
    assert WAIT_VARIABLE in str(error.value)
    assert "take PREFECT_API_URL away" in str(error.value)


def test_a_server_that_refuses_is_not_waited_for(port: int) -> None:
    told: list[Progress] = []
    with (
        serving(port, _Refusing),
        watched_by(told.append),
        pytest.raises(ServerError, match=r"refuses: .*401"),
        working_with(url(port)),
    ):
        raise AssertionError("it refused")
    assert told == []


def test_a_server_that_is_lost_meanwhile_is_one_error(port: int) -> None:
    with (
        serving(port, _Server),
        pytest.raises(ServerError, match="failed: gone for good") as error,
        working_with(url(port)),
    ):
        raise httpx.ConnectError("gone for good")
    assert "run the same command again" in str(error.value)


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "inf"])
def test_a_wait_that_is_no_number_is_refused(port: int, given: str) -> None:
    with (
        environment(**{WAIT_VARIABLE: given}),
        pytest.raises(ImagewaveError, match="is no number of seconds"),
        working_with(url(port)),
    ):
        raise AssertionError("it was no number")


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "127.0.0.1:4200/api",
        "http//127.0.0.1:4200/api",
        "http://:4200/api",
        "http:///api",
        "http://127.0.0.1:99999/api",
        "http://127.0.0.1:42x/api",
        "http://127.0.0.1:0/api",
        "ftp://127.0.0.1:4200/api",
    ],
)
def test_what_is_no_address_is_refused_and_not_waited_for(address: str) -> None:
    told: list[Progress] = []
    with (
        temporary_settings({PREFECT_API_URL: address}),
        watched_by(told.append),
        pytest.raises(ServerError, match="not the address of a server") as error,
        working_with(address),
    ):
        raise AssertionError("it was no address")
    assert told == []
    assert address in str(error.value)
    assert "http://127.0.0.1:4200/api" in error.value.fix
