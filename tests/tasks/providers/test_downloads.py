"""A download sees each byte once, however often its connection drops."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
import requests
from tests.tasks.providers.serving import serving

from imagewave.tasks.providers.downloads import DROPS, Changed, chunks_of

FILE = bytes(range(256)) * 20_000  # five chunks, the last one short


class Server:
    """A file server that drops the next connections after so many bytes of their answer."""

    def __init__(self) -> None:
        self.content = FILE
        self.drop_after: list[int] = []
        self.knows_ranges = True
        self.tells_length = True
        self.asked: list[str | None] = []
        self.url = ""

    def get(self, position: int) -> requests.Response:
        headers = {"Range": f"bytes={position}-"} if position else {}
        response = requests.get(self.url, headers=headers, stream=True, timeout=10)
        response.raise_for_status()
        return response

    def download(self) -> bytes:
        return b"".join(chunks_of(self.get, lambda error: False))


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            body = state.content
            if wanted and state.knows_ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                body = body[start:]
            else:
                self.send_response(200)
            if state.tells_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            drop = state.drop_after.pop(0) if state.drop_after else len(body)
            self.wfile.write(body[:drop])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as state.url:
        yield state


def test_an_undisturbed_download_asks_once(server: Server) -> None:
    assert server.download() == FILE
    assert server.asked == [None]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_drop_is_resumed_where_it_dropped(server: Server, share: float) -> None:
    server.drop_after = [int(len(FILE) * share)]
    assert server.download() == FILE
    assert len(server.asked) == 2
    if share >= 0.5:
        assert server.asked[1] is not None


def test_drops_without_end_are_resumed_as_long_as_bytes_arrive(server: Server) -> None:
    server.drop_after = [300_000] * 12
    assert server.download() == FILE
    assert len(server.asked) > 12


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_server_without_ranges_is_read_over(server: Server, share: float) -> None:
    server.knows_ranges = False
    server.drop_after = [int(len(FILE) * share), 10]
    assert server.download() == FILE


def test_a_file_of_unknown_length_is_read_to_its_end(server: Server) -> None:
    server.tells_length = False
    assert server.download() == FILE


def test_an_empty_file_is_empty(server: Server) -> None:
    server.content = b""
    assert server.download() == b""


def test_a_file_that_changed_meanwhile_is_not_patched_together(server: Server) -> None:
    server.drop_after = [2_000_000]
    chunks = chunks_of(server.get, lambda error: False)
    next(chunks)
    server.content = FILE + b"more"
    with pytest.raises(Changed):
        list(chunks)


def test_no_progress_ends_it(server: Server) -> None:
    server.drop_after = [0] * 3
    with pytest.raises(DROPS):
        server.download()
    assert len(server.asked) == 3


def test_an_answer_that_will_not_pass_is_not_asked_for_again() -> None:
    asked: list[int] = []

    def refuse(position: int) -> requests.Response:
        asked.append(position)
        raise LookupError("gone")

    with pytest.raises(LookupError):
        list(chunks_of(refuse, lambda error: False))
    assert asked == [0]


def test_an_abandoned_download_closes_its_connection(server: Server) -> None:
    opened: list[requests.Response] = []

    def get(position: int) -> requests.Response:
        opened.append(server.get(position))
        return opened[-1]

    chunks = chunks_of(get, lambda error: False)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert opened[0].raw.closed
