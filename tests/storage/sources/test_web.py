"""Sources by URL, from a real server: slow, chunked, packed, lying, endless, and leading astray."""

import functools
import gzip
import http.server
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.servers import free_port

from imagewave.storage.sources import web
from imagewave.storage.sources.fetch import read_url
from imagewave.storage.sources.rows import SourceError

pytestmark = pytest.mark.heavy

LIST = b"text\n" + b"".join(b"brief %d\n" % number for number in range(5000))
PACKED = gzip.compress(LIST)

Answer = Callable[["Server"], None]


class Server(http.server.BaseHTTPRequestHandler):
    """Answers each path as the test has said."""

    protocol_version = "HTTP/1.1"
    answers: dict[str, Answer] = {}  # noqa: RUF012 - each test's own class has its own
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.close_connection = True
        try:
            self.answers[self.path.partition("?")[0]](self)
        except OSError:
            return  # the client has seen enough

    def log_message(self, format: str, *args: Any) -> None:
        """Tests print nothing."""

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def chunks(self, data: bytes, size: int = 1000, pause_s: float = 0.0) -> None:
        for start in range(0, len(data), size):
            part = data[start : start + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
            time.sleep(pause_s)


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[str, list[str]]]]:
    """Starts a server with these answers by path; gives its URL and what it is asked for."""
    servers = []

    def start(**answers: Answer) -> tuple[str, list[str]]:
        paths = {f"/{name}": answer for name, answer in answers.items()}
        asked: list[str] = []
        handler = type("Handler", (Server,), {"answers": paths, "asked": asked})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def plain(server: Server) -> None:
    server.head(Content_Length=len(LIST))
    server.wfile.write(LIST)


def chunked(server: Server) -> None:
    server.head(Transfer_Encoding="chunked")
    server.chunks(LIST, pause_s=0.001)
    server.wfile.write(b"0\r\n\r\n")


def chunked_gzip(server: Server) -> None:
    server.head(Transfer_Encoding="chunked", Content_Encoding="gzip")
    server.chunks(PACKED, 100, pause_s=0.001)
    server.wfile.write(b"0\r\n\r\n")


def gzip_in_members(server: Server) -> None:
    data = gzip.compress(LIST[:100]) + gzip.compress(LIST[100:])
    server.head(Content_Length=len(data), Content_Encoding="gzip")
    server.wfile.write(data)


def deflated(server: Server) -> None:
    data = zlib.compress(LIST)
    server.head(Content_Length=len(data), Content_Encoding="deflate")
    server.wfile.write(data)


def until_closed(server: Server) -> None:
    server.head(Connection="close")
    server.wfile.write(LIST)


@pytest.mark.parametrize(
    "answer", [plain, chunked, chunked_gzip, gzip_in_members, deflated, until_closed]
)
def test_all_of_an_answer_is_read(
    serve: Callable[..., tuple[str, list[str]]], answer: Answer
) -> None:
    url, _ = serve(list=answer)
    assert read_url(f"{url}/list") == LIST


def short(server: Server) -> None:
    server.head(Content_Length=len(LIST))
    server.wfile.write(LIST[:1000])


def chunks_without_an_end(server: Server) -> None:
    server.head(Transfer_Encoding="chunked")
    server.chunks(LIST)


def gzip_cut_off(server: Server) -> None:
    server.head(Transfer_Encoding="chunked", Content_Encoding="gzip")
    server.chunks(PACKED[: len(PACKED) // 2])
    server.wfile.write(b"0\r\n\r\n")


def gzip_damaged(server: Server) -> None:
    server.head(Content_Length=1000, Content_Encoding="gzip")
    server.wfile.write(b"\x1f\x8b\x08" + b"x" * 997)


def packed_otherwise(server: Server) -> None:
    server.head(Content_Length=3, Content_Encoding="br")
    server.wfile.write(b"abc")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (short, "did not come whole"),
        (chunks_without_an_end, "did not come whole"),
        (gzip_cut_off, "did not come whole"),
        (gzip_damaged, "damaged"),
        (packed_otherwise, "'br'"),
    ],
)
def test_what_did_not_come_whole_is_an_error(
    serve: Callable[..., tuple[str, list[str]]], answer: Answer, words: str
) -> None:
    url, _ = serve(list=answer)
    with pytest.raises(SourceError, match=words):
        read_url(f"{url}/list")


def endless(server: Server) -> None:
    server.head(Transfer_Encoding="chunked")
    while True:
        server.chunks(bytes(2**16), 2**16)


def endless_gzip(server: Server) -> None:
    server.head(Transfer_Encoding="chunked", Content_Encoding="gzip")
    pack = zlib.compressobj(wbits=31)
    while True:
        if data := pack.compress(bytes(2**20)):
            server.chunks(data)


def promises_much(server: Server) -> None:
    server.head(Content_Length=2**40)
    server.chunks(b"x")


@pytest.mark.parametrize("answer", [endless, endless_gzip, promises_much])
def test_no_more_is_read_than_is_allowed(
    serve: Callable[..., tuple[str, list[str]]], answer: Answer
) -> None:
    url, _ = serve(list=answer)
    with pytest.raises(SourceError, match="more than 1 MiB"):
        read_url(f"{url}/list", 2**20)


def silent(server: Server) -> None:
    server.head(Content_Length=100)
    server.wfile.write(b"text")
    server.wfile.flush()
    time.sleep(30)


def dripping(server: Server) -> None:
    server.head(Transfer_Encoding="chunked")
    while True:
        server.chunks(b"x", pause_s=0.05)


def dripping_head(server: Server) -> None:
    server.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        server.wfile.write(b"x")
        server.wfile.flush()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "limit"),
    [(silent, "SILENCE_S"), (dripping, "TOTAL_S"), (dripping_head, "TOTAL_S")],
)
def test_a_server_that_lets_wait_is_given_up(
    serve: Callable[..., tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    limit: str,
) -> None:
    monkeypatch.setattr(web, limit, 0.5)
    url, _ = serve(list=answer)
    with pytest.raises(SourceError, match="in time"):
        read_url(f"{url}/list")


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "does not exist"), (410, "does not exist"), (403, "403"), (500, "500"), (206, "206")],
)
def test_a_refusal_is_told(
    serve: Callable[..., tuple[str, list[str]]], status: int, words: str
) -> None:
    url, _ = serve(list=lambda server: server.head(status, Content_Length=0))
    with pytest.raises(SourceError, match=words):
        read_url(f"{url}/list")


def test_a_host_that_does_not_answer_is_not_said_to_lack_the_file() -> None:
    with pytest.raises(SourceError, match=r"could not be reached.*Cannot connect") as error:
        read_url(f"http://127.0.0.1:{free_port()}/briefs.csv")
    assert "does not exist" not in str(error.value)


def leads_to(place: str) -> Answer:
    return functools.partial(_lead, place)


def _lead(place: str, server: Server) -> None:
    server.head(302, Location=place, Content_Length=0)


def test_a_redirect_within_the_server_is_followed(
    serve: Callable[..., tuple[str, list[str]]],
) -> None:
    url, asked = serve(list=plain, old=leads_to("/list?new=1"))
    assert read_url(f"{url}/old") == LIST
    assert asked == ["/old", "/list?new=1"]


def test_redirects_end(serve: Callable[..., tuple[str, list[str]]]) -> None:
    url, asked = serve(list=leads_to("/list"))
    with pytest.raises(SourceError, match="more than 5 times"):
        read_url(f"{url}/list")
    assert len(asked) == 6


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://example.org/a", "s3://bucket/a", "data:text/csv,text"]
)
def test_a_redirect_to_another_scheme_is_refused(
    serve: Callable[..., tuple[str, list[str]]], place: str
) -> None:
    url, _ = serve(list=leads_to(place))
    with pytest.raises(SourceError, match="leads from http on to"):
        read_url(f"{url}/list")


def test_a_redirect_to_another_server_of_this_machine_is_refused(
    serve: Callable[..., tuple[str, list[str]]],
) -> None:
    inner, asked = serve(list=plain)
    url, _ = serve(list=leads_to(f"{inner}/list"))
    with pytest.raises(SourceError, match=r"127\.0\.0\.1 is no public address"):
        read_url(f"{url}/list")
    assert asked == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "0.0.0.0", "10.1.2.3", "192.168.0.1"),
        *("172.16.0.1", "100.64.0.1", "169.254.169.254", "[::1]", "[::]", "[fe80::1]", "[fd00::1]"),
        *("[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1"),
    ],
)
def test_what_a_stranger_names_may_not_be_in_a_private_network(host: str) -> None:
    with pytest.raises(SourceError, match="no public address"):
        read_url(f"http://{host}:9/list", trusted="http://example.org/wave.toml")


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001"])
def test_addresses_in_other_spellings_are_none(host: str) -> None:
    with pytest.raises(SourceError, match=r"no public address|canonical|reached"):
        read_url(f"http://{host}:9/list", trusted="http://example.org/wave.toml")


def test_a_name_is_held_by_the_address_that_is_connected_to(
    serve: Callable[..., tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = serve(list=plain)
    port = url.rpartition(":")[2]
    real = socket.getaddrinfo

    def rebound(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host == "public.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    place = f"http://public.example:{port}"
    with pytest.raises(SourceError, match="no public address"):
        read_url(f"{place}/list", trusted=f"{url}/wave.toml")
    assert asked == []
    # A name that the user says may be of this network.
    assert read_url(f"{place}/list") == LIST
