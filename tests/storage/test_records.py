"""Records of the store that a newer imagewave wrote, or that are damaged."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from imagewave.storage.jobs import untagged
from imagewave.storage.jobs.calls import CallFolder, CallJob
from imagewave.storage.jobs.folder import JobFolder, Plan, Settled, now
from imagewave.storage.jobs.renders import (
    Rendered,
    RenderFolder,
    RenderJob,
    RenderLine,
    write_input,
)
from imagewave.storage.jobs.shares import Shares
from imagewave.storage.money.ledger import Budget, Ledger
from imagewave.storage.records import BadRecord
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds import reruns, rounds
from imagewave.storage.rounds.rounds import Round
from imagewave.storage.store import Store
from imagewave.storage.waves.handover import Handover, hand_over, handed_over

ROUND = Round(wave="spring", revision="0a1b", kind=Kind.DRAFT, number=1)
REQUEST = Request(kind=Kind.DRAFT, model="gemini-3.1-flash-lite-image", prompt="red tulips")
PLAN = Plan(
    wave="spring",
    revision="0a1b",
    kind=Kind.DRAFT,
    round=1,
    attempt=1,
    lane="gemini-batch",
    model=REQUEST.model,
    requests=1,
    estimate_usd="0.02",
)
LINE = RenderLine(key="k", prompt="p", width=8, height=8, steps=1, guidance=1.5, seed=3)
RENDER = RenderJob(
    handle="h",
    model="sdxl",
    weights="w",
    revision="",
    batch_pixels=64,
    count=1,
    usd_per_hour="1.5",
    engine="local",
    host="here",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def job(store: Store) -> JobFolder:
    """A job with every record that it can have."""
    folder = JobFolder(store, "j1")
    folder.write_plan(PLAN, [REQUEST])
    intent = folder.claim(label="spring", lane="gemini-batch", held_usd="0.02", after=[])
    assert intent
    folder.accept(intent.token, "batches/1", adopted=False)
    folder.quarantine({"batches/1": intent.token})
    counts = {"image": 1}
    folder.settle(Settled(state="done", message="", counts=counts, captured_usd="0", at=now()))
    return folder


def share(store: Store) -> Shares:
    shares = Shares(store, "work", lease_s=0.0)
    shares.offer("s1", {"what": "this"})
    shares.look()
    assert shares.take()
    return shares


def offered(store: Store) -> object:
    shares = Shares(store, "work", lease_s=0.0)
    shares.look()
    taken = shares.take()
    return taken and taken.offer["what"]


def renders(store: Store) -> RenderFolder:
    folder = RenderFolder(store, "t")
    folder.start(RENDER)
    folder.claim()
    folder.record(Rendered(key="k", session="s", seconds=1.0, elapsed=2.0))
    return folder


def calls(store: Store) -> CallFolder:
    folder = CallFolder(store, "t")
    folder.start(CallJob(handle="h", model="m", count=1))
    folder.claim(0)
    return folder


def write_asked(store: Store) -> None:
    untagged.ask(store, "t", untagged.Asked(requests=3, after=""))
    untagged.own(store, "batch-1", "t")


def hold(store: Store) -> None:
    Ledger(store).hold("j1", "spring", Decimal("0.02"), Budget())


@dataclass(frozen=True)
class Record:
    """A record: its path, what writes it, and what reads of it what must be the same then."""

    path: str
    write: Callable[[Store], object]
    read: Callable[[Store], Any]


RECORDS = [
    Record("jobs/j1/plan.json", job, lambda s: JobFolder(s, "j1").plan()),
    Record("jobs/j1/intent.json", job, lambda s: JobFolder(s, "j1").intents()),
    Record("jobs/j1/accepted.json", job, lambda s: JobFolder(s, "j1").accepted()),
    Record("jobs/j1/quarantine.json", job, lambda s: JobFolder(s, "j1").quarantined()),
    Record("jobs/j1/settled.json", job, lambda s: JobFolder(s, "j1").settled()),
    Record(
        "waiting/spring.json",
        lambda s: hand_over(s, Handover(wave="spring", wave_file="f", helpers=2)),
        lambda s: handed_over(s, "spring"),
    ),
    Record(
        f"rounds/{ROUND.part}.json",
        lambda s: rounds.close(s, ROUND, [], ["r1"]),
        lambda s: rounds.outcome(s, ROUND),
    ),
    Record(
        "reruns/spring-0a1b-1.json",
        lambda s: reruns.record(
            s,
            "spring",
            "0a1b",
            "true",
            [reruns.Redo(kind=Kind.DRAFT, brief="b", request_id="r", round=1)],
        ),
        lambda s: reruns.load(s, "spring", "0a1b"),
    ),
    Record("calls/t/job.json", calls, lambda s: CallFolder(s, "t").job),
    Record("calls/t/0.claim", calls, lambda s: CallFolder(s, "t").is_abandoned(0)),
    Record("asked/t.json", write_asked, lambda s: untagged.asked_for(s, "t")),
    Record("asked/jobs/batch-1.json", write_asked, lambda s: untagged.owner(s, "batch-1")),
    Record("renders/t/renderer.json", renders, lambda s: RenderFolder(s, "t").renderer()),
    Record("renders/t/done/k.json", renders, lambda s: RenderFolder(s, "t").records()),
    Record("shares/work/s1/offer.json", share, offered),
    Record("ledger/000000000001.json", hold, lambda s: Ledger(s).open_holds()),
]
EXACT = [
    Record("jobs/j1/requests.jsonl", job, lambda s: JobFolder(s, "j1").requests()),
    Record("renders/t/job.json", renders, lambda s: RenderFolder(s, "t").job),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.path)
def test_fields_of_a_newer_version_are_passed_over(store: Store, record: Record) -> None:
    record.write(store)
    before = record.read(store)
    assert before is not None
    content = orjson.loads(store.read(record.path))
    assert "newer" not in content
    store.write(record.path, orjson.dumps({**content, "newer": {"by": [1, 2]}}))
    assert record.read(store) == before


@pytest.mark.parametrize("record", EXACT, ids=lambda record: record.path)
def test_what_says_what_is_drawn_is_never_read_in_part(store: Store, record: Record) -> None:
    record.write(store)
    content = orjson.loads(store.read(record.path))
    store.write(record.path, orjson.dumps({**content, "newer": 1}))
    with pytest.raises(BadRecord, match=r"newer.*upgrade") as refused:
        record.read(store)
    assert store.url_of(record.path) in str(refused.value)


def test_a_line_to_render_is_never_read_in_part(store: Store) -> None:
    handle = write_input(store, [LINE])
    path = f"renders/inputs/{handle}.jsonl"
    folder = RenderFolder(store, "t")
    folder.start(RenderJob(**{**orjson.loads(orjson.dumps(RENDER)), "handle": handle}))
    assert folder.lines() == [LINE]
    store.write(path, orjson.dumps({**orjson.loads(store.read(path)), "newer": 1}))
    with pytest.raises(BadRecord, match="newer"):
        folder.lines()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"\xff", b"{}"])
@pytest.mark.parametrize(
    "record",
    [record for record in RECORDS if not record.path.startswith(("ledger", "shares"))] + EXACT[1:],
    ids=lambda record: record.path,
)
def test_a_damaged_record_is_named(store: Store, record: Record, damage: bytes) -> None:
    record.write(store)
    store.write(record.path, damage)
    with pytest.raises(BadRecord) as refused:
        record.read(store)
    assert f"{store.url_of(record.path)} cannot be read" in str(refused.value)


def test_a_value_of_a_newer_version_is_not_guessed_at(store: Store) -> None:
    job(store)
    content = orjson.loads(store.read("jobs/j1/plan.json"))
    store.write("jobs/j1/plan.json", orjson.dumps({**content, "kind": "video"}))
    with pytest.raises(BadRecord, match="kind"):
        JobFolder(store, "j1").plan()
