"""A job's folder: its files are its state, each written once.

    jobs/<job_id>/plan.json        what the job is for
    jobs/<job_id>/requests.jsonl   what will be sent
    jobs/<job_id>/intent.json      the claim; intent.2.json and on: later claims
    jobs/<job_id>/released.json    that claim was given back; released.2.json and on likewise
    jobs/<job_id>/accepted.json    the provider's name for the job
    jobs/<job_id>/quarantine.json  several provider jobs carry its tokens; a person must look
    jobs/<job_id>/abandoned.json   given up as too old; what it still brings is kept
    jobs/<job_id>/missing.json     since when the provider owes what it says that it has done
    jobs/<job_id>/settled.json     the end: state, counts, captured cost
    jobs/<job_id>/found.json       results that came to light later; found.2.json and on likewise

Only the writer of the newest intent may create the provider's job, and hold its money or give it
back. Nothing is ever deleted, so the number of a claim is never used twice.
"""

import functools
import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson
import psutil

from imagewave import clock
from imagewave.storage.records import bad_record, read_record
from imagewave.storage.requests import Kind, Request
from imagewave.storage.store import Store

MISSING_HOURS = 6.0
"""So long is looked again for what a provider has done and does not deliver."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job is for; `estimate_usd` is what will be held for it."""

    wave: str
    revision: str
    kind: Kind
    round: int
    attempt: int
    lane: str
    model: str
    requests: int
    estimate_usd: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimer:
    """The process that made a claim, told apart from every other process anywhere.

    `started` is when it started, by a clock that nobody can set where there is one.
    """

    machine: str
    pid: int
    started: float

    @classmethod
    def this_process(cls) -> "Claimer":
        """The running process."""
        return cls(machine=_machine(), pid=os.getpid(), started=_started(os.getpid()))

    def known_dead(self) -> bool:
        """Whether this machine can tell that the claimer no longer runs.

        False for a claimer on another machine or before a reboot: of those, nothing can be told
        from here.
        """
        if self.machine != _machine():
            return False
        try:
            return _started(self.pid) != self.started
        except psutil.NoSuchProcess:
            return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who wrote a file, and when."""

    claimer: Claimer
    at: str

    @classmethod
    def of_this_process(cls) -> "Signature":
        """The running process's, now."""
        return cls(claimer=Claimer.this_process(), at=now())


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The claim on a job: whoever wrote it may call `create` once, soon, with its token."""

    token: str
    generation: int
    claimer: Claimer
    claimed_at: str
    lane: str
    held_usd: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The provider has the job."""

    provider_job: str
    token: str
    adopted: bool
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Several provider jobs carry a job's tokens: token by provider's name."""

    provider_jobs: dict[str, str]
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What the job's provider owes, and since when."""

    what: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The job is over, and all that it gave is stored."""

    state: str
    message: str
    counts: dict[str, int]
    captured_usd: str
    at: str


def now() -> str:
    """This moment in UTC, as written into job files."""
    return clock.now().isoformat(timespec="milliseconds")


class JobFolder:
    """One job's folder in the store.

    Whatever reads a file raises BadRecord where that is damaged, or only a newer imagewave
    understands it.
    """

    def __init__(self, store: Store, job_id: str) -> None:
        self.store = store
        self.job_id = job_id
        self._root = f"jobs/{job_id}"

    def write_plan(self, plan: Plan, requests: Iterable[Request]) -> None:
        """Writes what the job is for and what it will send, unless that stands already."""
        lines = b"".join(request.to_json() + b"\n" for request in requests)
        self.store.put_if_absent(f"{self._root}/requests.jsonl", lines)
        self._put(f"{self._root}/plan.json", plan)

    def plan(self) -> Plan:
        """What the job is for.

        Raises:
            FileNotFoundError: nobody has planned such a job.
        """
        return read_record(self.store, f"{self._root}/plan.json", Plan)

    def requests(self) -> list[Request]:
        """What the job sends, in order."""
        path = f"{self._root}/requests.jsonl"
        try:
            return [Request.from_json(line) for line in self.store.read(path).splitlines()]
        except (ValueError, KeyError, TypeError) as error:
            raise bad_record(self.store.url_of(path), str(error)) from error

    def intents(self) -> list[Intent]:
        """All claims that were ever made, oldest first; the last one rules unless released."""
        intents: list[Intent] = []
        while (found := self._read(self._path("intent", len(intents) + 1), Intent)) is not None:
            intents.append(found)
        return intents

    def standing(self, intents: Sequence[Intent]) -> list[Intent]:
        """Those of the claims that were not given back: each may have led to a provider's job."""
        return [
            intent
            for intent in intents
            if not self.store.exists(self._path("released", intent.generation))
        ]

    def claim(
        self, *, label: str, lane: str, held_usd: str, after: Sequence[Intent]
    ) -> Intent | None:
        """Claims the job on top of all the claims `after`; None if somebody was faster.

        `label` opens the token, so that a person who reads the provider's list knows the job.
        """
        intent = Intent(
            token=f"{label}-{self.job_id[:12]}-{secrets.token_hex(6)}",
            generation=len(after) + 1,
            claimer=Claimer.this_process(),
            claimed_at=now(),
            lane=lane,
            held_usd=held_usd,
        )
        return intent if self._put(self._path("intent", intent.generation), intent) else None

    def release(self, intent: Intent) -> None:
        """Gives one's own claim back: it has led to no provider's job and never will."""
        content = orjson.dumps({"token": intent.token, "at": now()})
        self.store.put_if_absent(self._path("released", intent.generation), content)

    def accept(self, token: str, provider_job: str, *, adopted: bool) -> Accepted:
        """Records the provider's job; returns what stands recorded, which may be another's."""
        accepted = Accepted(provider_job=provider_job, token=token, adopted=adopted, at=now())
        if self._put(f"{self._root}/accepted.json", accepted):
            return accepted
        standing = self.accepted()
        assert standing is not None
        return standing

    def accepted(self) -> Accepted | None:
        """The provider's job, if it is known."""
        return self._read(f"{self._root}/accepted.json", Accepted)

    def quarantine(self, provider_jobs: Mapping[str, str]) -> None:
        """Records that several provider jobs carry this job's tokens: token by provider's name."""
        record = Quarantine(provider_jobs=dict(provider_jobs), at=now())
        self._put(f"{self._root}/quarantine.json", record)

    def quarantined(self) -> dict[str, str]:
        """The provider jobs among which a person must choose; empty when there is no doubt."""
        found = self._read(f"{self._root}/quarantine.json", Quarantine)
        return {} if found is None else found.provider_jobs

    def abandon(self, reason: str) -> None:
        """Records that nobody waits for the job any longer; what it still brings is kept."""
        content = orjson.dumps({"reason": reason, "at": now()})
        self.store.put_if_absent(f"{self._root}/abandoned.json", content)

    def abandoned(self) -> bool:
        """Whether the job was given up."""
        return self.store.exists(f"{self._root}/abandoned.json")

    def miss(self, what: str) -> datetime:
        """Records what its provider owes, unless that stands already; returns since when."""
        self._put(f"{self._root}/missing.json", Missing(what=what, at=now()))
        return datetime.fromisoformat(
            read_record(self.store, f"{self._root}/missing.json", Missing).at
        )

    def settle(self, settled: Settled) -> None:
        """Closes the job. Everything it gave must be durable before."""
        self._put(f"{self._root}/settled.json", settled)

    def settled(self) -> Settled | None:
        """How the job ended, if it has."""
        return self._read(f"{self._root}/settled.json", Settled)

    def add_found(self, number: int, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Records the n-th find (from 1) of results that were held for lost, as JSON values.

        False if somebody else has recorded one of that number.
        """
        return self.store.put_if_absent(self._path("found", number), orjson.dumps(list(rows)))

    def found(self) -> list[list[dict[str, Any]]]:
        """What was found after the job was settled, find by find."""
        finds: list[list[dict[str, Any]]] = []
        kind = list[dict[str, Any]]
        while (find := self._read(self._path("found", len(finds) + 1), kind)) is not None:
            finds.append(find)
        return finds

    def _path(self, name: str, generation: int) -> str:
        suffix = "" if generation == 1 else f".{generation}"
        return f"{self._root}/{name}{suffix}.json"

    def _put(
        self, path: str, record: Plan | Intent | Accepted | Quarantine | Missing | Settled
    ) -> bool:
        content = orjson.dumps(asdict(record), option=orjson.OPT_INDENT_2)
        return self.store.put_if_absent(path, content)

    def _read(self, path: str, kind: type[T]) -> T | None:
        try:
            return read_record(self.store, path, kind)
        except FileNotFoundError:
            return None


@functools.cache
def _machine() -> str:
    """What tells this boot of this machine (or container) from all others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Two containers of one host share the boot id, but neither sees the other's processes, so
        # neither may call them dead.
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        boot, namespace = str(int(psutil.boot_time())), ""
    return f"{socket.gethostname()} {boot} {namespace}".strip()


def _started(pid: int) -> float:
    """When the process started. On Linux in clock ticks since boot, else in epoch seconds.

    psutil derives the time from that of the boot, which moves when somebody sets the clock: the
    claimer would look like another process, and its claim be taken over while it lives.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            raise psutil.NoSuchProcess(pid) from None
        return psutil.Process(pid).create_time()
    # The name, in parentheses, may hold spaces; what follows begins with field 3, the state.
    fields = stat.rpartition(b") ")[2].split()
    if fields[0] in (b"Z", b"X"):  # dead, and nobody has taken notice yet
        raise psutil.NoSuchProcess(pid)
    return float(fields[19])
