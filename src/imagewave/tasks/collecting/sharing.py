"""Collects the jobs of a round together with other processes, on this and other machines.

Everybody takes jobs from one list in the store (`storage/jobs/shares.py`), the wave's own run too:
with no helper at all it does everything itself. A job that was collected twice is collected once,
because all that collecting writes is named for what it holds.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import JobStatus
from imagewave.storage.facts import facts
from imagewave.storage.files.protocol import StoreError
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.jobs.shares import Shares, Taken
from imagewave.storage.records import as_record
from imagewave.storage.store import Store

AT_ONCE = 2
"""Jobs that one process collects at once: the end of one overlaps the beginning of the next."""

_LOOK_S = 1.0
_PAUSE_S = 0.2


class Started(Protocol):
    """What collecting a job in the background gives: a future, Prefect's or any other."""

    def result(self, timeout: float | None = None) -> Any:
        """Raises TimeoutError while it is not done, or what collecting raised."""
        ...


Start = Callable[[str, JobStatus], Started]
"""Starts to collect a job that its provider has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What has happened since the last step: jobs done by anybody, and those that this process
    could not collect and has given back."""

    done: frozenset[str] = frozenset()
    dropped: dict[str, ImagewaveError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Working:
    taken: Taken
    future: Started
    since: float


class Sharing:
    """One process's part in collecting the jobs of a round. Call `step` until nothing is left."""

    def __init__(self, store: Store, shares: Shares, start: Start) -> None:
        self._store = store
        self._shares = shares
        self._start = start
        self._working: dict[str, _Working] = {}
        self._reported: set[str] = set()
        self._looked_at = 0.0
        self.finished = 0
        """Jobs that this process has collected."""

    @property
    def left(self) -> set[str]:
        """The jobs that were offered and that nobody has finished, as far as is known."""
        return self._shares.left | self._working.keys()

    @property
    def at_work(self) -> int:
        """How many jobs this process collects now."""
        return len(self._working)

    def offer(self, job_id: str, status: JobStatus) -> None:
        """Says that the provider has ended the job."""
        self._shares.offer(job_id, asdict(status))
        self._looked_at = 0.0

    def step(self, *, but: frozenset[str] = frozenset()) -> Step:
        """Gathers what is done and takes what is free; returns at once. `but` is left to others.

        Raises:
            StoreError: the store refused.
        """
        dropped = self._gather()
        if time.monotonic() - self._looked_at >= _LOOK_S:
            self._shares.look()
            self._looked_at = time.monotonic()
        while len(self._working) < AT_ONCE:
            taken = self._shares.take(but=but | dropped.keys())
            if taken is None:
                break
            status = as_record(taken.offer, JobStatus, f"The offer of job {taken.shard}")
            future = self._start(taken.shard, status)
            self._working[taken.shard] = _Working(
                taken=taken, future=future, since=time.monotonic()
            )
        news = frozenset(self._shares.done - self._reported)
        self._reported |= news
        return Step(done=news, dropped=dropped)

    def _gather(self) -> dict[str, ImagewaveError]:
        dropped: dict[str, ImagewaveError] = {}
        for job_id, working in list(self._working.items()):
            try:
                working.future.result(timeout=0)
            except TimeoutError:
                continue
            except StoreError:
                raise
            except ImagewaveError as error:
                del self._working[job_id]
                self._shares.give_back(job_id)
                dropped[job_id] = error
                continue
            del self._working[job_id]
            self._record(working)
            self._shares.finish(job_id)
            self.finished += 1
            self._looked_at = 0.0  # there is room for another
        return dropped

    def _record(self, working: _Working) -> None:
        job_id, claim = working.taken.shard, working.taken.claim
        row = {
            "wave": JobFolder(self._store, job_id).plan().wave,
            "job_id": job_id,
            "worker": worker_name(),
            "claim": claim,
            "seconds": time.monotonic() - working.since,
        }
        facts.append(self._store, "shares", f"{job_id}-{claim}", [row])


def help_out(sharing: Sharing) -> int:
    """Takes shares until all that was offered is done; returns how many this process did.

    What it cannot collect it leaves to others.

    Raises:
        StoreError: the store refused.
    """
    refused: frozenset[str] = frozenset()
    while sharing.left - refused:
        refused |= sharing.step(but=refused).dropped.keys()
        time.sleep(_PAUSE_S)
    return sharing.finished


def worker_name() -> str:
    """Machine and process, as the facts call whoever did a share."""
    return f"{socket.gethostname()}:{os.getpid()}"
