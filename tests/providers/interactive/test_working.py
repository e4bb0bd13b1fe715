"""Answers are paid for when they arrive: none is lost to a full store or to a process that ends."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from tests.providers.interactive.test_lane import (
    LITE,
    SETTINGS,
    billed_prompts,
    calls,
    drafts,
    finish,
    no_images,
)
from tests.providers.serving import serving

from imagewave import clock
from imagewave.providers.gemini.caller import GeminiCaller
from imagewave.providers.interactive import working
from imagewave.providers.interactive.lane import InteractiveLane
from imagewave.providers.protocol import AnswersLost, JobState, JobStatus
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.jobs.calls import CallFolder
from imagewave.storage.requests import Status
from imagewave.storage.store import Store, StoreError

pytestmark = pytest.mark.heavy


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with EmbeddedSandbox(tmp_path / "sandbox", settings=SETTINGS) as sandbox:
        yield sandbox.url


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


class Full:
    """Has the store refuse files whose names end in `suffix`, as a full disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
        self.suffix = suffix
        put = Store.put_if_absent

        def refusing(store: Store, path: str, data: bytes) -> bool:
            if self.suffix and path.endswith(self.suffix):
                raise StoreError(f"{path}: No space left on device.", "Free some space there.")
            return put(store, path, data)

        monkeypatch.setattr(Store, "put_if_absent", refusing)

    def freed(self) -> None:
        """There is room again."""
        self.suffix = ""


def lane_on(store: Store, url: str) -> InteractiveLane:
    return InteractiveLane(store, {"google": GeminiCaller("key", url)})


def start(lane: InteractiveLane, count: int) -> str:
    return lane.create(lane.prepare(drafts(count), no_images, "input"), LITE, "token")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def poll_until_held(lane: InteractiveLane, name: str, count: int) -> JobStatus:
    until(lambda: lane.poll(name).message.startswith(f"{count} answers "))
    return lane.poll(name)


def test_answers_that_the_store_cannot_take_are_kept_until_it_can(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Full(monkeypatch, ".answer")
    lane = lane_on(store, url)
    name = start(lane, 3)

    status = poll_until_held(lane, name, 3)
    assert status.state is JobState.RUNNING
    assert "of job token (lines 0, 1, 2), worth $0.10" in status.message
    assert "No space left on device" in status.message

    full.freed()
    assert finish(lane, name) is JobState.SUCCEEDED
    found = list(lane.results(name, lambda key: True))
    assert [outcome.status for outcome in found] == [Status.IMAGE] * 3
    assert calls(url) == 3


def test_a_store_that_takes_no_claims_stops_the_run_and_nothing_is_called(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Full(monkeypatch, ".claim")
    lane = lane_on(store, url)
    name = start(lane, 3)
    with pytest.raises(StoreError, match="No space left"):
        finish(lane, name)
    assert calls(url) == 0
    full.freed()
    assert finish(lane, name) is JobState.SUCCEEDED
    assert calls(url) == 3


def test_a_lane_that_is_closed_waits_for_the_store(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Full(monkeypatch, ".answer")
    lane = lane_on(store, url)
    name = start(lane, 2)
    poll_until_held(lane, name, 2)
    threading.Timer(0.5, full.freed).start()
    lane.close()
    assert CallFolder(store, name).marks().answered == {0, 1}


def test_what_the_store_never_takes_is_named_with_its_price(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "LAST_TRIES_S", 0.1)
    Full(monkeypatch, ".answer")
    lane = lane_on(store, url)
    poll_until_held(lane, start(lane, 2), 2)
    with pytest.raises(AnswersLost) as lost:
        lane.close()
    assert "Paid for, and lost: 2 answers of job token (lines 0, 1), worth $0.0" in str(lost.value)


class Gate(BaseHTTPRequestHandler):
    """Lets no call through before `opened` is set."""

    opened: threading.Event
    heard: ClassVar[list[str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.heard.append(self.path)
        self.opened.wait(60)
        body = b'{"candidates": [{"finishReason": "NO_IMAGE"}]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def gate() -> Iterator[tuple[str, type[Gate]]]:
    class Own(Gate):
        opened = threading.Event()
        heard: ClassVar[list[str]] = []

    with serving(Own) as address:
        try:
            yield address, Own
        finally:
            Own.opened.set()


def test_closing_waits_for_calls_under_way_and_makes_no_more(
    store: Store, gate: tuple[str, type[Gate]]
) -> None:
    address, handler = gate
    lane = lane_on(store, address)
    name = start(lane, 40)
    until(lambda: len(handler.heard) >= 4)
    closing = threading.Thread(target=lane.close)
    closing.start()
    until(lambda: not lane._at_work)
    handler.opened.set()
    closing.join()
    marks = CallFolder(store, name).marks()
    assert (len(marks.answered), marks.under_way) == (len(handler.heard), set())
    assert len(handler.heard) < 40
    assert lane.look(name).state is JobState.PENDING


def test_a_look_makes_no_call(url: str, store: Store) -> None:
    lane = lane_on(store, url)
    handle = lane.prepare(drafts(2), no_images, "input")
    folder = CallFolder(store, "token")
    lane._lock.acquire()  # so that nobody begins
    creating = threading.Thread(target=lane.create, args=(handle, LITE, "token"))
    creating.start()
    until(folder.exists)
    assert lane.look("token").state is JobState.PENDING
    assert folder.claim(0)
    assert lane.look("token").state is JobState.RUNNING, "this very process has claimed a line"
    assert calls(url) == 0
    folder.unclaim(0)
    lane._lock.release()
    creating.join()
    assert finish(lane, "token") is JobState.SUCCEEDED
    assert lane.look("token").state is JobState.SUCCEEDED


class Set:
    """A clock that somebody sets, and by which time may pass faster."""

    def __init__(self) -> None:
        self.calendar, self.passed = timedelta(0), timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.calendar + self.passed

    def steady(self) -> float:
        return time.monotonic() + self.passed.total_seconds()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@pytest.fixture
def time_of_day() -> Iterator[Set]:
    set_clock = Set()
    before = clock.use(set_clock)
    try:
        yield set_clock
    finally:
        clock.use(before)


def begun_elsewhere(lane: InteractiveLane, store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job of two lines, of which a process of another machine calls the first."""
    handle = lane.prepare(drafts(2), no_images, "input")
    with monkeypatch.context() as patched:
        patched.setattr("imagewave.storage.jobs.folder._machine", lambda: "another machine")
        assert CallFolder(store, "token").claim(0)
    return lane.create(handle, LITE, "token")


def answered(lane: InteractiveLane, name: str, count: int) -> JobStatus:
    until(lambda: (lane.poll(name).succeeded or 0) == count)
    return lane.poll(name)


def test_a_clock_that_is_set_forward_gives_up_no_call_of_another_machine(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch, time_of_day: Set
) -> None:
    lane = lane_on(store, url)
    name = begun_elsewhere(lane, store, monkeypatch)
    assert answered(lane, name, 1).state is JobState.RUNNING
    time_of_day.calendar = timedelta(hours=5)
    for _ in range(5):
        assert lane.poll(name).state is JobState.RUNNING
    lane.close()
    assert CallFolder(store, name).marks().lost == set()


@pytest.mark.parametrize("calendar", [timedelta(0), timedelta(hours=-5)])
def test_a_call_of_another_machine_that_was_watched_in_vain_is_given_up(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch, time_of_day: Set, calendar: timedelta
) -> None:
    lane = lane_on(store, url)
    name = begun_elsewhere(lane, store, monkeypatch)
    time_of_day.calendar = calendar
    answered(lane, name, 1)
    time_of_day.passed = timedelta(minutes=59)
    assert answered(lane, name, 1).state is JobState.RUNNING
    time_of_day.passed = timedelta(minutes=61)
    assert finish(lane, name) is JobState.SUCCEEDED
    assert CallFolder(store, name).marks().lost == {0}


def test_a_run_that_comes_later_watches_for_half_an_hour(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch, time_of_day: Set
) -> None:
    lane = lane_on(store, url)
    name = begun_elsewhere(lane, store, monkeypatch)
    answered(lane, name, 1)
    lane.close()
    time_of_day.passed = timedelta(hours=2)
    later = lane_on(store, url)
    assert later.look(name).state is JobState.PENDING, "a guess, for a run to look into"
    assert answered(later, name, 1).state is JobState.RUNNING
    time_of_day.passed += timedelta(minutes=31)
    assert finish(later, name) is JobState.SUCCEEDED
    assert CallFolder(store, name).marks().lost == {0}


ENDING = """
import sys
from tests.providers.interactive.test_lane import LITE, drafts
from imagewave.storage.store import Store
from imagewave.providers.gemini.caller import GeminiCaller
from imagewave.providers.interactive.lane import InteractiveLane
from imagewave.providers.interactive.working import under_way
url, folder = sys.argv[1:]
lane = InteractiveLane(Store.open(folder), {"google": GeminiCaller("key", url)})
lane.create(lane.prepare(drafts(40), None, "input"), LITE, "token")
while not under_way():
    pass
"""


def test_a_process_that_ends_takes_its_answers_in_first(url: str, store: Store) -> None:
    subprocess.run([sys.executable, "-c", ENDING, url, store.url], check=True)
    marks = CallFolder(store, "token").marks()
    assert marks.answered
    assert marks.under_way == set()
    assert len(billed_prompts(url)) == len(marks.answered)


STOPPING = """
import os, signal, sys, threading, time
from tests.providers.interactive.test_lane import LITE, drafts
from imagewave.cli.run import stopping_cleanly
from imagewave.storage.store import Store
from imagewave.providers.gemini.caller import GeminiCaller
from imagewave.providers.interactive.lane import InteractiveLane
from imagewave.providers.interactive.working import under_way
url, folder = sys.argv[1:]
store = Store.open(folder)
lane = InteractiveLane(store, {"google": GeminiCaller("key", url)})
with stopping_cleanly(store, "spring"):
    lane.create(lane.prepare(drafts(2), None, "input"), LITE, "token")
    while under_way() < 2:
        pass
    print("calling", flush=True)
    while True:
        time.sleep(0.1)
"""


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_waits_for_paid_answers_unless_it_comes_twice(
    store: Store, gate: tuple[str, type[Gate]], twice: bool
) -> None:
    address, handler = gate
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPING, address, store.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "calling\n"
    until(lambda: len(handler.heard) == 2)
    process.send_signal(2)
    said = ""
    while "Ctrl-C again drops them" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    assert "Waiting for 2 calls that will be billed" in said
    if twice:
        process.send_signal(2)
    else:
        handler.opened.set()
    assert process.wait(60) == 130
    answered = CallFolder(store, "token").marks().answered
    assert answered == (set() if twice else {0, 1})
