"""A download sees each byte once, however often its connection drops."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
import requests
from tests.providers.serving import serving

from imagewave.providers.http.downloads import DROPS, Changed, chunks_of

FILE = bytes(range(256)) * 20_000  # five chunks, the last one short


class Server:
    """A file server that drops the next connections after so many bytes of their answer.

    `cut_to` has the next answers end after so many bytes, as if that were all. Without a length,
    answers are chunked.
    """

    def __init__(self) -> None:
        self.content = FILE
        self.drop_after: list[int] = []
        self.knows_ranges = True
        self.tells_length = True
        self.cut_to: list[int] = []
        self.asked: list[str | None] = []
        self.url = ""

    def get(self, position: int) -> requests.Response:
        headers = {"Range": f"bytes={position}-"} if position else {}
        response = requests.get(self.url, headers=headers, stream=True, timeout=10)
        if response.status_code != 416:
            response.raise_for_status()
        return response

    def download(self) -> bytes:
        return b"".join(chunks_of(self.get, lambda error: False))


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            body, whole = state.content, len(state.content)
            if wanted and state.knows_ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= whole:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{whole}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
                body = body[start:]
            else:
                self.send_response(200)
            drop = state.drop_after.pop(0) if state.drop_after else None
            if state.cut_to:
                body = body[: state.cut_to.pop(0)]
            if state.tells_length:
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:drop])
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if body[:drop]:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(body[:drop]), body[:drop]))
            if drop is None:
                self.wfile.write(b"0\r\n\r\n")

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
    assert server.asked == [None, f"bytes={len(FILE)}-"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_drop_of_a_file_of_unknown_length_is_resumed(
    server: Server, share: float, ranges: bool
) -> None:
    server.tells_length, server.knows_ranges = False, ranges
    server.drop_after = [int(len(FILE) * share)]
    assert server.download() == FILE


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_an_answer_without_a_length_that_ends_early_is_not_the_file(
    server: Server, share: float, ranges: bool
) -> None:
    server.tells_length, server.knows_ranges = False, ranges
    server.cut_to = [int(len(FILE) * share)]
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
