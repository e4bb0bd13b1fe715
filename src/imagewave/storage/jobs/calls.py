"""Jobs of the interactive lane: single calls, each claimed before it is made.

    calls/inputs/<handle>.jsonl    the requests' lines, as a batch would be sent
    calls/<token>/job.json         what was asked for, once
    calls/<token>/<n>.claim        line n is being called, or was when its caller died
    calls/<token>/<n>.answer       what came back for it, as a batch's result line
    calls/<token>/<n>.lost         nothing came back: the call may have been billed all the same
    calls/<token>/cancelled        no more calls, please

Each file is written once, with put-if-absent, so that a line is called once, however many
processes work on the job.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property

import orjson

from imagewave import clock
from imagewave.storage.jobs.folder import Signature
from imagewave.storage.records import read_record
from imagewave.storage.store import Store

LEASE = timedelta(hours=1)
"""A claim of which nothing more is known is dead after so long: far longer than calls take."""

WATCHED = timedelta(minutes=30)
"""For so long, at the least, it must have been watched in vain, by a clock that nobody can set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallJob:
    """What was asked for: `count` lines of an input, all of one model."""

    handle: str
    model: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The lines of a job by what became of them; those that nobody has claimed are in none."""

    answered: set[int]
    lost: set[int]
    under_way: set[int]


def write_input(store: Store, lines: bytes) -> str:
    """Keeps the lines of a job; returns their handle, the same for the same lines."""
    handle = hashlib.sha256(lines).hexdigest()[:32]
    store.put_if_absent(_input_path(handle), lines)
    return handle


def read_input(store: Store, handle: str) -> list[bytes]:
    """The lines, without their newlines.

    Raises:
        FileNotFoundError: there is no such input.
    """
    return store.read(_input_path(handle)).splitlines()


def _input_path(handle: str) -> str:
    return f"calls/inputs/{handle}.jsonl"


class CallFolder:
    """The folder of one job."""

    def __init__(self, store: Store, token: str) -> None:
        self.store = store
        self.token = token
        self._root = f"calls/{token}"

    def start(self, job: CallJob) -> None:
        """Asks for the job, unless it was asked for already."""
        self._put("job.json", orjson.dumps(asdict(job)))

    @cached_property
    def job(self) -> CallJob:
        """What was asked for.

        Raises:
            FileNotFoundError: nobody has asked for such a job.
        """
        return read_record(self.store, f"{self._root}/job.json", CallJob)

    def exists(self) -> bool:
        """Whether somebody has asked for it."""
        return self.store.exists(f"{self._root}/job.json")

    def claim(self, number: int) -> bool:
        """Makes line `number` this process's to call; False if it is somebody's already."""
        claim = asdict(Signature.of_this_process())
        return self._put(f"{number}.claim", orjson.dumps(claim))

    def unclaim(self, number: int) -> None:
        """Gives one's own claim on the line back: it was not called, and nobody will."""
        self.store.delete(f"{self._root}/{number}.claim")

    def is_abandoned(self, number: int, watched: timedelta = LEASE) -> bool:
        """Whether the claimer of the line can answer no more.

        Of one on another machine only time tells, and the calendars of the two may differ: so it
        also counts for how long it was `watched`. Without that, the answer is a guess.
        """
        try:
            claim = read_record(self.store, f"{self._root}/{number}.claim", Signature)
        except FileNotFoundError:  # given back
            return False
        if claim.claimer.known_dead():
            return True
        age = clock.now() - datetime.fromisoformat(claim.at)
        return watched > LEASE or (watched >= WATCHED and age > LEASE)

    def answer(self, number: int, line: bytes) -> None:
        """Keeps what came back for the line."""
        self._put(f"{number}.answer", line)

    def lose(self, number: int, why: str) -> None:
        """Keeps that nothing came back for the line, though it may have been heard."""
        self._put(f"{number}.lost", why.encode())

    def cancel(self) -> None:
        """Asks for no more calls."""
        self._put("cancelled", b"")

    def is_cancelled(self) -> bool:
        """Whether no more calls are to be made."""
        return self.store.exists(f"{self._root}/cancelled")

    def marks(self) -> Marks:
        """Where the lines stand, in one look."""
        found: dict[str, set[int]] = {"claim": set(), "answer": set(), "lost": set()}
        for path in self.store.list(self._root):
            number, _, kind = path.rpartition("/")[2].partition(".")
            if kind in found:
                found[kind].add(int(number))
        # Who is given up may answer after all; the answer counts.
        lost = found["lost"] - found["answer"]
        under_way = found["claim"] - found["answer"] - lost
        return Marks(answered=found["answer"], lost=lost, under_way=under_way)

    def results(self) -> Iterator[tuple[int, bytes | None, str]]:
        """(line, answer, "") or (line, None, why it was lost), in order, of all that is over."""
        marks = self.marks()
        for number in sorted(marks.answered | marks.lost):
            if number in marks.answered:
                yield number, self.store.read(f"{self._root}/{number}.answer"), ""
            else:
                yield number, None, self.store.read(f"{self._root}/{number}.lost").decode()

    def _put(self, name: str, data: bytes) -> bool:
        return self.store.put_if_absent(f"{self._root}/{name}", data)
