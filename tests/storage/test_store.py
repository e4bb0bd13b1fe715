"""The store: files written once and whole, on a disk and in a bucket alike."""

import errno
import json
import multiprocessing
import os
import pickle
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.servers import free_port, s3_environment

from imagewave.storage.files import local
from imagewave.storage.files.protocol import Buffer
from imagewave.storage.realms import Realm
from imagewave.storage.store import NoStore, Store, StoreError

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b"{}", b"\xff"])
def test_a_damaged_marker_is_named(local_store: Store, content: bytes) -> None:
    local_store.write("store.json", content)
    with pytest.raises(StoreError, match=r"/store\.json is damaged: .* \(from a backup\)"):
        Store.open(local_store.url)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where root cannot write either")
def test_a_place_where_nothing_can_be_made_is_named() -> None:
    with pytest.raises(StoreError, match=r"^/proc/probe-\w+: No such file or directory\. Name an"):
        Store.try_out("/proc/store")


def test_what_is_written_is_read_back(store: Store) -> None:
    store.write("jobs/1/plan.json", b"first")
    store.write("jobs/1/plan.json", b"second")
    assert store.read("jobs/1/plan.json") == b"second"
    assert store.exists("jobs/1/plan.json")
    with store.open_read("jobs/1/plan.json") as stream:
        assert stream.read(3) == b"sec"


def test_many_files_are_read_at_once(store: Store) -> None:
    expected = {f"facts/{number}": b"%d" % number for number in range(40)}
    for path, data in expected.items():
        store.write(path, data)
    assert store.read_many(list(expected)) == expected
    assert store.read_many(["facts/7"]) == {"facts/7": b"7"}
    assert store.read_many([]) == {}


def test_many_files_are_written_at_once(store: Store) -> None:
    store.write("a/1", b"old")
    wanted = {f"{folder}/{number}": b"%d" % number for folder in "ab" for number in range(20)}
    store.write_many(iter(wanted.items()))
    store.write_many([])
    assert {path: store.read(path) for path in wanted} == wanted


def test_a_source_of_files_that_fails_leaves_none_half_written(local_store: Store) -> None:
    def files() -> Iterator[tuple[str, bytes]]:
        yield "a/1", b"one"
        raise RuntimeError("no second file")

    with pytest.raises(RuntimeError, match="no second file"):
        local_store.write_many(files())
    folder = local_store.local_path("a")
    assert folder is not None
    assert list(folder.iterdir()) == []


def test_put_if_absent_keeps_the_first(store: Store) -> None:
    assert store.put_if_absent("jobs/1/intent.json", b"mine")
    assert not store.put_if_absent("jobs/1/intent.json", b"yours")
    assert store.read("jobs/1/intent.json") == b"mine"


@pytest.mark.parametrize("data", [b"", bytearray(b"x" * 70_000), memoryview(b"view")])
def test_any_bytes_can_be_put(store: Store, data: Buffer) -> None:
    assert store.put_if_absent("some/file", data)
    assert store.read("some/file") == bytes(data)


def test_of_16_threads_one_wins(store: Store) -> None:
    start = threading.Barrier(16)

    def race(number: int) -> bool:
        start.wait()
        return store.put_if_absent("jobs/1/intent.json", b"%d" % number)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(race, range(16)))
    assert won.count(True) == 1
    assert store.read("jobs/1/intent.json") == b"%d" % won.index(True)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_of_several_processes_one_wins(store: Store, method: str) -> None:
    context = multiprocessing.get_context(method)
    with context.Pool(4) as pool:
        won = pool.starmap(_put, [(store, b"%d" % number) for number in range(16)], chunksize=1)
    assert won.count(True) == 1
    assert store.read("jobs/1/intent.json") == b"%d" % won.index(True)


def _put(store: Store, data: bytes) -> bool:
    return store.put_if_absent("jobs/1/intent.json", data)


def test_listing_names_every_file_below_a_folder(store: Store) -> None:
    for path in ("a/2", "a/1", "a/b/3", "ab/4"):
        store.write(path, b"")
    assert store.list("a") == ["a/1", "a/2", "a/b/3"]
    assert store.list("none") == []
    assert {"a/1", "ab/4"} < set(store.list(""))


def test_listing_is_never_stale(store: Store) -> None:
    rival = Store.open(store.url)
    assert store.list("a") == []
    rival.write("a/1", b"")
    assert store.list("a") == ["a/1"]
    rival.delete("a/1")
    assert store.list("a") == []
    assert not store.exists("a/1")


def test_deleting_twice_is_no_error(store: Store) -> None:
    store.write("a/1", b"")
    store.delete("a/1")
    store.delete("a/1")
    assert not store.exists("a/1")


def test_an_absent_file_is_file_not_found(store: Store) -> None:
    store.write("a/folder/file", b"")
    assert not store.exists("a/folder")
    with pytest.raises(FileNotFoundError):
        store.read("a/none")
    with pytest.raises(FileNotFoundError):
        store.read_many(["a/folder/file", "a/none"])
    with pytest.raises(FileNotFoundError):
        store.open_read("a/none")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up", "a/../../up", "a//b", "a/", "", ".", "a\\b", "nul\0"]
)
def test_a_path_that_leaves_the_store_is_refused(tmp_path: Path, path: str) -> None:
    store = Store.open(str(tmp_path / "store"))
    for attempt in (store.read, store.exists, store.delete, store.url_of, store.open_read):
        with pytest.raises(ValueError, match="not a path inside a store"):
            attempt(path)
    with pytest.raises(ValueError, match="not a path inside a store"):
        store.put_if_absent(path, b"")
    with pytest.raises(ValueError, match="not a path inside a store"):
        store.write(path, b"")


def test_a_store_pickles_as_its_url(store: Store) -> None:
    store.write("a/1", b"data")
    again = pickle.loads(pickle.dumps(store))
    assert again.url == store.url
    assert again.read("a/1") == b"data"


def test_only_a_local_store_has_local_paths(store: Store) -> None:
    store.write("a/1", b"data")
    path = store.local_path("a/1")
    if store.url.startswith("s3://"):
        assert path is None
        assert store.url_of("a/1") == f"{store.url}/a/1"
    else:
        assert path is not None
        assert path.read_bytes() == b"data"
        assert store.url_of("a/1") == str(path)


def test_a_local_store_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.open("data")
    monkeypatch.chdir("/")
    assert Path(store.url) == tmp_path / "data"
    assert store.exists("store.json")
    assert Store.open(f"file://{tmp_path}/data").id == store.id


def test_opening_again_finds_the_same_store(store: Store) -> None:
    again = Store.open(store.url, create=False)
    assert again.id == store.id
    assert store.list("") == ["store.json"], "the probe leaves nothing behind"


def test_a_store_that_is_not_there_is_not_made_by_looking(store_url: str) -> None:
    with pytest.raises(NoStore, match="There is no store at"):
        Store.open(store_url, create=False)
    assert not Path(store_url).exists()


def test_a_store_of_a_newer_imagewave_is_refused(store: Store) -> None:
    store.write("store.json", json.dumps({"format": 99, "id": "x"}).encode())
    with pytest.raises(StoreError, match=r"format 99.*Upgrade imagewave"):
        Store.open(store.url)


@pytest.mark.parametrize("id", ["../../etc", "", "a" * 31, "A" * 32, 7, None])
def test_an_id_that_is_none_is_refused(local_store: Store, id: object) -> None:
    """It names a folder of the cache: whoever wrote the store must not choose any other."""
    local_store.write("store.json", json.dumps({"format": 1, "id": id}).encode())
    with pytest.raises(StoreError, match=r"store\.json is damaged: its id is not 32 hex digits"):
        _ = Store.open(local_store.url).id


@pytest.mark.parametrize("change", ["write", "write_many", "create", "delete"])
def test_a_link_out_of_the_store_is_not_followed_for_writing(tmp_path: Path, change: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.json").write_text("mine")
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "store" / "jobs").symlink_to(outside, target_is_directory=True)
    acts: dict[str, Callable[[], object]] = {
        "write": lambda: store.write("jobs/mine.json", b"theirs"),
        "write_many": lambda: store.write_many([("jobs/mine.json", b"theirs")]),
        "create": lambda: store.put_if_absent("jobs/new.json", b"theirs"),
        "delete": lambda: store.delete("jobs/mine.json"),
    }
    with pytest.raises(StoreError, match=r"leads out of the store, to .*outside"):
        acts[change]()
    assert [(file.name, file.read_text()) for file in outside.iterdir()] == [("mine.json", "mine")]


def test_a_store_that_is_itself_a_link_is_used(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    store = Store.open(str(tmp_path / "link"))
    store.write("jobs/1/plan.json", b"plan")
    assert (tmp_path / "disk/jobs/1/plan.json").read_bytes() == b"plan"


def test_realms_are_not_mixed(store: Store) -> None:
    assert store.realm is None
    store.require_realm(Realm.LIVE)
    assert store.realm is None, "asking marks nothing"
    store.mark_realm(Realm.SANDBOX)
    store.mark_realm(Realm.SANDBOX)
    store.require_realm(Realm.SANDBOX)
    for refuses in (store.mark_realm, store.require_realm):
        with pytest.raises(StoreError) as refused:
            refuses(Realm.LIVE)
        assert f"{store.url} is of the realm 'sandbox'" in refused.value.message
        assert "This would be of the realm 'live'" in refused.value.message
        assert "--store" in refused.value.fix
        assert "go to imagewave-data" in refused.value.fix
    assert store.realm is Realm.SANDBOX


@pytest.mark.parametrize("content", ['{"realm": "moon"}', "{}", "sandbox"])
def test_a_realm_that_cannot_be_is_damage(store: Store, content: str) -> None:
    store.write("realm.json", content.encode())
    with pytest.raises(StoreError, match=r"realm\.json is damaged"):
        store.require_realm(Realm.LIVE)


# What a disk does wrong.


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(tmp_path / "store"))
    store.write("kept", b"before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(local, "_sync", full)
    for put in (store.write, store.put_if_absent):
        with pytest.raises(StoreError, match=r"new: No space left on device.*Free some space"):
            put("new", b"data")
    with pytest.raises(StoreError, match="No space left"):
        store.write("kept", b"after")
    assert store.read("kept") == b"before"
    assert sorted(os.listdir(tmp_path / "store")) == ["kept", "store.json"]


def test_a_file_too_large_for_the_disk_leaves_nothing(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    # A fork would try to flush what other tests have said, into a file that is now too large.
    child = multiprocessing.get_context("spawn").Process(target=_write_too_much, args=(store,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert os.listdir(tmp_path / "store") == ["store.json"]


def _write_too_much(store: Store) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    with pytest.raises(StoreError, match="File too large"):
        store.put_if_absent("large", b"x" * 100_000)


def test_a_disk_without_hard_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreError, match=r"no hard links.*in a bucket"):
        Store.open(str(tmp_path / "store"))
    assert os.listdir(tmp_path / "store") == []


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"cannot be made a store.*--store|Not a directory"):
        Store.open(str(tmp_path / "file" / "store"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with _as_nobody(tmp_path), pytest.raises(StoreError, match=r"Permission denied.*--store"):
        Store.open(str(closed / "store"))
    assert os.listdir(closed) == []


def test_a_store_that_was_closed_later_says_so(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "store").chmod(0o500)
    with _as_nobody(tmp_path), pytest.raises(StoreError, match="Permission denied"):
        store.put_if_absent("new", b"")
    assert os.listdir(tmp_path / "store") == ["store.json"]


@contextmanager
def _as_nobody(folder: Path) -> Iterator[None]:
    """Gives up root's right to write everywhere, but not the right to reach the folder."""
    if os.geteuid() != 0:
        yield
        return
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == 0 and parent.is_relative_to("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_unfinished_files_of_a_crash_are_not_seen(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    store.write("a/1", b"")
    (tmp_path / "store" / "a" / ".tmp-0123456789abcdef").write_bytes(b"half")
    assert store.list("a") == ["a/1"]


# What a bucket's server does wrong.


def test_a_missing_bucket_is_named(s3_url: str) -> None:
    with pytest.raises(StoreError, match=r"no such bucket.*Create it"):
        Store.open("s3://nobody-made-this-bucket/waves")


def test_missing_credentials_are_named(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
        Store.open(s3_url)


def test_a_server_that_overwrites_is_refused(
    s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _proxy(s3_endpoint, forgets="if-none-match") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StoreError, match=r"does not keep put-if-absent.*took its place"):
            Store.open(s3_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    with pytest.raises(NoStore):
        Store.open(s3_url, create=False)


def test_a_put_whose_answer_was_lost_still_counts_as_ours(
    s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _proxy(s3_endpoint, drops="intent.json") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = Store.open(s3_url)
        assert store.put_if_absent("jobs/1/intent.json", b"mine")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    assert not Store.open(store.url).put_if_absent("jobs/1/intent.json", b"mine")


def test_a_no_in_other_words_than_aws_is_a_no(
    s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MinIO and others answer 412 without AWS's element <Condition>."""
    with _proxy(s3_endpoint, leaves_out=b"<Condition>If-None-Match</Condition>") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = Store.open(s3_url)
        assert store.put_if_absent("jobs/1/intent.json", b"mine")
        assert not store.put_if_absent("jobs/1/intent.json", b"yours")
        assert store.read("jobs/1/intent.json") == b"mine"


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_put_that_meets_another_in_flight_is_tried_again(
    s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    left = [1, 1]

    def busy(method: str, path: str, headers: Message) -> tuple[int, str] | None:
        if method == "PUT" and path.endswith("intent.json") and left:
            left.pop()
            return 409, code
        return None

    with _proxy(s3_endpoint, answers=busy) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = Store.open(s3_url)
        assert store.put_if_absent("jobs/1/intent.json", b"mine")
        assert not left


def test_a_server_that_stays_busy_is_said_to(
    s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(method: str, path: str, headers: Message) -> tuple[int, str] | None:
        return (409, "OperationAborted") if path.endswith("intent.json") else None

    with _proxy(s3_endpoint, answers=busy) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = Store.open(s3_url)
        with pytest.raises(StoreError, match=r"intent\.json.*OperationAborted"):
            store.put_if_absent("jobs/1/intent.json", b"mine")


@pytest.mark.parametrize(
    ("header", "answer", "message"),
    [
        ("if-none-match", (501, "NotImplemented"), "put-if-absent (the header If-None-Match)"),
        (
            "x-amz-sdk-checksum-algorithm",
            (400, "Unsupported header x-amz-sdk-checksum-algorithm"),
            "AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
        ),
    ],
)
def test_a_server_that_does_not_know_a_header_is_refused_with_the_way_out(
    s3_url: str,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    header: str,
    answer: tuple[int, str],
    message: str,
) -> None:
    with _proxy(
        s3_endpoint, answers=lambda _, __, headers: answer if headers.get(header) else None
    ) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StoreError, match=re.escape(message)):
            Store.open(s3_url)


def test_each_operation_is_one_request(
    s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    with _proxy(s3_endpoint, heard=heard) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = Store.open(s3_url)
        heard.clear()
        store.write("a/1", b"one")
        assert store.put_if_absent("a/2", b"two")
        assert store.read("a/1") == b"one"
        assert store.exists("a/2")
        assert not store.exists("a/3")
        assert store.list("a") == ["a/1", "a/2"]
        assert store.list("a/1") == [], "a file is no folder"
        assert store.list("b") == []
        assert heard == ["PUT", "PUT", "GET", "HEAD", "HEAD", "GET", "GET", "GET"]


def test_a_refusal_to_say_is_no_no(
    s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _proxy(s3_endpoint, denies="secret.json") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = Store.open(s3_url)
        assert not store.exists("jobs/1/known.json")
        with pytest.raises(StoreError, match="access denied"):
            store.exists("jobs/1/secret.json")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://", "names no bucket"),
        ("nothing://bucket/prefix", "cannot be kept at nothing://"),
        ("s3:/bucket/prefix", r"Write s3://bucket/prefix"),
        ("memory://bucket/prefix", "cannot be kept at memory://"),
        ("sftp://host/folder", "pay for the same job"),
        ("gs://bucket/prefix", "s3://bucket/prefix"),
    ],
)
def test_a_url_that_is_none_is_refused(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store.open(url)


@contextmanager
def _proxy(
    endpoint: str,
    *,
    forgets: str = "",
    drops: str = "",
    denies: str = "",
    leaves_out: bytes = b"",
    answers: Callable[[str, str, Message], tuple[int, str] | None] = lambda *_: None,
    heard: list[str] | None = None,
) -> Iterator[str]:
    """A server in front of another.

    It forgets a header, or drops the connection after the first put of a key that ends so, when
    the server behind has heard it, or says 403 of such a key, or leaves words out of the answers;
    `answers` may give status and S3 code in place of the server behind, by method, path and
    headers. `heard` gets the methods of all requests.
    """
    dropped: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            if heard is not None:
                heard.append(self.command)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            # Without a type urllib would say that it sends a form.
            headers = {"content-type": "application/octet-stream"} | {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in (forgets, "expect", "connection")
            }
            if own := answers(self.command, self.path.partition("?")[0], self.headers):
                status, code = own
                content = f"<Error><Code>{code}</Code><Message>{code}.</Message></Error>".encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                return
            request = Request(endpoint + self.path, body or None, headers, method=self.command)
            try:
                answer = urlopen(request)
            except HTTPError as error:
                answer = error
            content = answer.read().replace(leaves_out, b"")
            path = self.path.partition("?")[0]
            if self.command == "PUT" and drops and path.endswith(drops) and not dropped:
                dropped.append(path)
                self.close_connection = True
                return
            self.send_response(403 if denies and path.endswith(denies) else answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            if self.command == "HEAD":
                self.send_header("content-length", answer.headers["content-length"] or "0")
            else:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
    assert dropped or not drops, "nothing was dropped"


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_environment(f"http://127.0.0.1:{free_port()}").items():
        monkeypatch.setenv(name, value)
    for create in (True, False):
        with pytest.raises(StoreError, match="could not be reached") as error:
            Store.open("s3://bucket/waves", create=create)
        assert "AWS_ENDPOINT_URL" in str(error.value)
        assert not isinstance(error.value, NoStore)


def test_a_web_address_is_no_store() -> None:
    with pytest.raises(StoreError, match="a web address, where nothing can be kept"):
        Store.open("https://bucket.example/waves")
