"""Batch jobs: their states on the clock, the work behind them, and their bill, once.

A job is `jobs/<id>.json`. Until it is done, its state follows from the clock and its times, so a
restart needs nothing but the file. To finish, the result file is completed, then the bill is
written beside the job, then the ledger takes the bill, then the job is marked done: a kill between
any two of these is made good by going through the same steps again.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from imagewave.sandbox.batches.results import BadInput, Format, Setting
from imagewave.sandbox.core.config import Config
from imagewave.sandbox.core.disk import write_atomically
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.faults import Faults
from imagewave.sandbox.core.files import FileStore
from imagewave.sandbox.core.ledger import Entry, Ledger

_LOG = logging.getLogger(__name__)

PENDING, RUNNING, SUCCEEDED = "PENDING", "RUNNING", "SUCCEEDED"
FAILED, CANCELLED, EXPIRED = "FAILED", "CANCELLED", "EXPIRED"
PARTIAL = "PARTIALLY_SUCCEEDED"

_DEALT = (
    "list_lag",
    "job_failed",
    "job_cancelled",
    "job_expired",
    "job_partial",
    "job_stuck",
    "result_gone",
    "result_lacks",
    "result_truncated",
    "result_long_line",
    "result_crlf",
    "result_no_final_newline",
    "result_invalid_utf8",
)
_ENDS = {"job_failed": FAILED, "job_cancelled": CANCELLED, "job_expired": EXPIRED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job; `end` is its terminal state, empty until then; times are epoch seconds.

    `source` is the input file's id, empty for inline requests; `result` the result file's id.
    Google's batches have no `endpoint`; only OpenAI's have `metadata` and `errors`, the id of a
    second file. Claude's always have a result: a line for every request, answered or not.
    """

    id: str
    model: str
    display_name: str
    count: int
    created: float
    starts: float
    due: float
    expires: float
    source: str = ""
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoint: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    errors: str = ""
    end: str = ""
    ended: float = 0.0
    message: str = ""
    result: str = ""
    succeeded: int = 0
    failed: int = 0

    def state(self, now: float) -> str:
        """Where the job stands."""
        if self.end:
            return self.end
        return RUNNING if now >= self.starts and "job_stuck" not in self.faults else PENDING

    @property
    def listed_from(self) -> float:
        """When the list first shows the job."""
        return self.created + float(self.faults.get("list_lag", {}).get("seconds", 0))


class Jobs:
    """All jobs of a state folder and the tasks that move them; lives on one event loop."""

    def __init__(
        self,
        root: Path,
        *,
        files: FileStore,
        ledger: Ledger,
        faults: Faults,
        config: Callable[[], Config],
        read_file: Callable[[str], bytes],
        formats: Mapping[str, Format],
    ) -> None:
        self._root = root / "jobs"
        self._root.mkdir(parents=True, exist_ok=True)
        self._files = files
        self._ledger = ledger
        self._faults = faults
        self._config = config
        self._read_file = read_file
        self._formats = formats
        self._jobs = {
            job.id: job
            for path in self._root.glob("*.json")
            if (job := Job(**orjson.loads(path.read_bytes())))
        }
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="sandbox-draw")
        self._closing = False
        self._broken: BaseException | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}

    def resume(self) -> None:
        """Takes up every job that is not done."""
        for job in self._jobs.values():
            if not job.end:
                self._follow(job.id)
        # A drawing thread may have outlived its job's cancellation.
        for path in self._root.glob("*.results"):
            if self._is_over(path.stem):
                path.unlink()

    async def stop(self) -> None:
        """Leaves everything as it stands on disk."""
        self._closing = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def create(
        self,
        *,
        job_id: str,
        model: str,
        display_name: str,
        source: str,
        count: int,
        endpoint: str = "",
        metadata: dict[str, str] | None = None,
    ) -> Job:
        """Accepts a job; its input must already stand in `input_path(job_id)`. Raises as `get`."""
        self._refuse_if_broken()
        config, now = self._config(), time.time()
        dealt = {name: fault for name in _DEALT if (fault := self._faults.take(name))}
        starts = now + config.pending_s
        job = Job(
            id=job_id,
            model=model,
            display_name=display_name,
            count=count,
            created=now,
            starts=starts,
            due=starts + config.running_s + config.per_line_s * count,
            expires=now + config.expire_s,
            source=source,
            faults=dealt,
            endpoint=endpoint,
            metadata=metadata or {},
        )
        self._save(job)
        self._follow(job.id)
        return job

    def get(self, job_id: str) -> Job | None:
        """The job, or None.

        Raises:
            ApiError: a job has broken off, as on a full disk; a restart takes it up again.
        """
        self._refuse_if_broken()
        return self._jobs.get(job_id)

    def all(self) -> list[Job]:
        """Every job, newest first; raises as `get` does."""
        self._refuse_if_broken()
        return sorted(self._jobs.values(), key=lambda job: (-job.created, job.id))

    def open_count(self) -> int:
        """How many jobs are not done."""
        return sum(1 for job in self._jobs.values() if not job.end)

    def cancel(self, job_id: str) -> None:
        """Ends the job without results or bill; a job that is done stays as it is."""
        job = self._jobs[job_id]
        if job.end or self._faults.take("cancel_ignored"):
            return
        task = self._tasks[job_id]
        self._end(job, CANCELLED)
        task.cancel()

    def release(self, job_id: str) -> None:
        """Lets a stuck job start now."""
        job = self._jobs[job_id]
        faults = {name: fault for name, fault in job.faults.items() if name != "job_stuck"}
        self._save(replace(job, faults=faults))
        self._changed[job_id].set()

    def delete(self, job_id: str) -> None:
        """Removes the job and its result."""
        job = self._jobs.pop(job_id)
        if task := self._tasks.pop(job_id, None):
            task.cancel()
        if job.result and self._files.path(job.result).exists():
            self._files.delete(job.result)
        for path_of in (self._path, self._bill, self._out, self._errors, self.input_path):
            path_of(job_id).unlink(missing_ok=True)

    def input_path(self, job_id: str) -> Path:
        """Where a job's requests stand, as JSON Lines, until it is done."""
        return self._root / f"{job_id}.requests.jsonl"

    def _follow(self, job_id: str) -> None:
        self._changed[job_id] = asyncio.Event()
        task = asyncio.create_task(self._run(job_id), name=f"sandbox-job-{job_id}")
        task.add_done_callback(self._report)
        self._tasks[job_id] = task

    async def _run(self, job_id: str) -> None:
        changed = self._changed[job_id]
        while "job_stuck" in self._jobs[job_id].faults:
            changed.clear()
            try:
                async with asyncio.timeout(self._jobs[job_id].expires - time.time()):
                    await changed.wait()
            except TimeoutError:
                self._end(self._jobs[job_id], EXPIRED, _REASONS[EXPIRED])
                return
        job = self._jobs[job_id]
        await _sleep_until(job.starts)
        kept = self._format(job).keeps
        if ended := next((_ENDS[f] for f in _ENDS if f in job.faults and f not in kept), None):
            await _sleep_until(job.due)
            self._end(job, ended, _REASONS.get(ended, ""))
            return
        try:
            entries = await self._work(job)
        except BadInput as error:
            self._end(job, FAILED, str(error))
            return
        await _sleep_until(job.due)
        self._settle(job_id, entries)

    async def _work(self, job: Job) -> list[Entry]:
        """Draws the result file, or finds it drawn before a kill; returns the bill."""
        bill = self._bill(job.id)
        if bill.exists():
            return [Entry.from_json(line) for line in bill.read_bytes().splitlines()]
        format = self._format(job)
        setting = Setting(
            job=job.id,
            model_name=job.model,
            model=format.model_of(job.model),
            count=job.count,
            config=self._config(),
            faults=job.faults,
            read_file=self._read_file,
            answered_before=self._ledger.answers_to,
            stopped=lambda: self._closing or self._is_over(job.id),
            dialect=format.dialect,
        )
        loop = asyncio.get_running_loop()
        paths = (self.input_path(job.id), self._out(job.id), self._errors(job.id))
        return await loop.run_in_executor(self._pool, format.write, *paths, setting)

    def _report(self, task: asyncio.Task[None]) -> None:
        """Makes what broke a job loud, instead of a job that never ends."""
        if not task.cancelled() and (error := task.exception()):
            _LOG.error("%s broke", task.get_name(), exc_info=error)
            self._broken = error

    def _refuse_if_broken(self) -> None:
        # A clean no: who gets a 5xx comes back for ever. No job's end could be written down.
        if self._broken:
            raise ApiError(
                "INVALID_ARGUMENT",
                f"Its work in {self._root} broke off: {self._broken}. Put that right and start it"
                " again: it goes on where it was.",
            )

    def _is_over(self, job_id: str) -> bool:
        """Whether the job was cancelled or deleted."""
        job = self._jobs.get(job_id)
        return job is None or bool(job.end)

    def _settle(self, job_id: str, entries: list[Entry]) -> None:
        job = self._jobs[job_id]
        result = f"batch-{job_id}"
        if not self._bill(job_id).exists():
            write_atomically(self._bill(job_id), b"".join(e.to_json() + b"\n" for e in entries))
        errors = f"errors-{job_id}"
        for file_id, path in ((result, self._out(job_id)), (errors, self._errors(job_id))):
            if path.exists():
                self._files.adopt(file_id, path, self._config().file_ttl_s)
        if job.endpoint and not self._files.path(result).exists():
            result = ""
        if not self._files.path(errors).exists():
            errors = ""
        self._ledger.record(entries)
        if result and "result_gone" in job.faults:
            self._files.forget(result)
        lost = self._format(job).lost
        failed = sum(1 for entry in entries if entry.outcome in lost and not entry.usd)
        settled = replace(
            job, result=result, errors=errors, succeeded=len(entries) - failed, failed=failed
        )
        partial = EXPIRED if job.endpoint else PARTIAL
        ends = {**_ENDS, "job_partial": partial}
        self._end(settled, next((ends[f] for f in ends if f in job.faults), SUCCEEDED))

    def _end(self, job: Job, end: str, message: str = "") -> None:
        write_unanswered = self._format(job).write_unanswered
        if write_unanswered and not job.result:
            job = replace(job, result=self._unanswered(job, end, write_unanswered))
        self._save(replace(job, end=end, ended=time.time(), message=message))
        self._out(job.id).unlink(missing_ok=True)
        self._errors(job.id).unlink(missing_ok=True)
        self.input_path(job.id).unlink(missing_ok=True)
        self._tasks.pop(job.id, None)

    def _unanswered(self, job: Job, end: str, write: Callable[[Path, Path, str], None]) -> str:
        """The id of a result file that says of every request that nobody got to it."""
        result = f"batch-{job.id}"
        kind = "expired" if end == EXPIRED else "canceled"
        # A file of its own: the thread that draws may not have noticed the end yet.
        left = self._root / f"{job.id}.left"
        write(self.input_path(job.id), left, kind)
        self._files.adopt(result, left, self._config().file_ttl_s)
        return result

    def _format(self, job: Job) -> Format:
        return self._formats[job.endpoint]

    def _save(self, job: Job) -> None:
        write_atomically(self._path(job.id), orjson.dumps(asdict(job)))
        self._jobs[job.id] = job

    def _path(self, job_id: str) -> Path:
        return self._root / f"{job_id}.json"

    def _out(self, job_id: str) -> Path:
        return self._root / f"{job_id}.results"

    def _errors(self, job_id: str) -> Path:
        return self._root / f"{job_id}.errors"

    def _bill(self, job_id: str) -> Path:
        return self._root / f"{job_id}.bill.jsonl"


_REASONS = {
    FAILED: "Internal error encountered.",
    EXPIRED: "The batch expired before it could be processed.",
}


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.time()))
