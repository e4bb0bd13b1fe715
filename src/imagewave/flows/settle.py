"""Brings a round to its end: every job of it submitted, waited for and collected, every attempt."""

import time
from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture

from imagewave.errors import ImagewaveError
from imagewave.flows.progress import Progress, tell
from imagewave.flows.run import Run, current_run
from imagewave.killpoints import reached
from imagewave.storage.jobs import Accepted, JobFolder
from imagewave.storage.ledger import BudgetExceeded
from imagewave.storage.requests import FailureClass
from imagewave.storage.rounds import Answer, Ask, Round, answers
from imagewave.tasks import collect as collecting
from imagewave.tasks import submit as submitting
from imagewave.tasks.failures import policy_for, wait_before_retry
from imagewave.tasks.providers.protocol import JobStatus, Rejected, Unavailable
from imagewave.tasks.shard import shard


class Waiting(ImagewaveError):
    """Only provider jobs are left to wait for, and this run was told not to."""

    def __init__(self, jobs: Sequence[str]) -> None:
        super().__init__(
            f"{len(jobs)} jobs are with the provider: {', '.join(jobs)}.",
            "Run the wave again to go on; nothing is asked for twice.",
        )
        self.jobs = tuple(jobs)


def _cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    # The store's id keeps the results of a deleted store out.
    return f"{context.task.name}-v1-{current_run().store.id}-{parameters['job_id']}"


@task(
    name="submit",
    task_run_name="submit {job_id}",
    cache_key_fn=_cache_key,
    persist_result=True,
    result_serializer="json",
)
def submit(job_id: str) -> str:
    """Gets the job to its provider; returns the provider's name for it, "" if it needs none."""
    run = current_run()
    known = submitting.submit(run.store, job_id, run.lane, budget=run.budget, doubt=run.doubt)
    return known.provider_job if isinstance(known, Accepted) else ""


@task(
    name="collect",
    task_run_name="collect {job_id}",
    cache_key_fn=_cache_key,
    persist_result=True,
    result_serializer="json",
)
def collect(job_id: str, status: JobStatus) -> dict[str, int]:
    """Takes in what the finished job gave; returns how many results of each status."""
    run = current_run()
    return collecting.collect(run.store, job_id, run.lane, status, run.pool).counts


def settle(run: Run, round: Round, asks: Sequence[Ask], stage: str) -> dict[str, Answer]:
    """Sees to it that every request of the round has its final result; returns the results.

    Raises:
        BudgetExceeded: not all jobs could be paid for; those that were are collected.
        Waiting: there is nothing to do but to wait, and the run does not wait.
    """
    previous: list[str] | None = None
    while jobs := shard(run.store, round, asks, run.lane, previous):
        _Jobs(run, stage, jobs).finish()
        previous = jobs
    return answers(run.store, (ask.request.id for ask in asks))


class _Jobs:
    """The jobs of one attempt at a round, on their way through submit, wait and collect."""

    def __init__(self, run: Run, stage: str, jobs: Sequence[str]) -> None:
        self.run = run
        self.stage = stage
        self.jobs = jobs
        self.to_submit = list(jobs)
        self.waiting: dict[str, str] = {}
        self.collecting: dict[str, PrefectFuture[dict[str, int]]] = {}
        self.settled: set[str] = set()
        self.sizes = {job_id: JobFolder(run.store, job_id).plan().requests for job_id in jobs}
        self.refusals = 0
        self.submit_again_at = 0.0
        self.unaffordable: BudgetExceeded | None = None
        self.note = ""

    def finish(self) -> None:
        """Works until every job is settled, or nothing more can be done now."""
        pause, longest = self.run.wave.wait.poll_seconds
        self._tell()
        while len(self.settled) < len(self.jobs):
            moved = self._submit()
            moved |= self._look()
            moved |= self._gather()
            self._tell()
            if self.unaffordable and not self.waiting and not self.collecting:
                raise self.unaffordable
            if moved:
                pause = self.run.wave.wait.poll_seconds[0]
                continue
            if not self.collecting and not self.run.wait:
                raise Waiting([*self.waiting, *self.to_submit])
            reached("wait.polling")
            time.sleep(min(0.2, pause) if self.collecting else pause)
            pause = min(longest, pause * 1.5)

    def _submit(self) -> bool:
        """Hands over what can be; True if anything was."""
        moved = False
        if self.unaffordable or time.monotonic() < self.submit_again_at:
            return moved
        for job_id in list(self.to_submit):
            try:
                provider_job = submit(job_id)
            except submitting.Overlap as overlap:
                self._join(overlap.other)
                continue
            except BudgetExceeded as error:
                self.unaffordable = error
                break
            except Rejected as refusal:
                self._back_off(refusal)
                break
            self.refusals = 0
            self.to_submit.remove(job_id)
            if provider_job:
                self.waiting[job_id] = provider_job
            else:
                self.settled.add(job_id)
            moved = True
            self._tell()
        return moved

    def _join(self, other: str) -> None:
        """Waits for another wave's job as well: its results answer some of these requests."""
        accepted = JobFolder(self.run.store, other).accepted()
        if accepted and other not in self.collecting:
            self.waiting.setdefault(other, accepted.provider_job)

    def _back_off(self, refusal: Rejected) -> None:
        """Waits as told before submitting again; raises what time does not heal."""
        if refusal.failure is not FailureClass.TRANSIENT:
            raise refusal
        self.refusals += 1
        # While jobs are in flight, their end may free the quota; the table limits blind tries.
        if not self.waiting and self.refusals >= policy_for(refusal.failure).attempts:
            raise refusal
        wait = wait_before_retry(refusal.failure, "", min(self.refusals, 10), refusal.retry_after)
        self.submit_again_at = time.monotonic() + wait
        self.note = f"the provider asks to wait {wait:.0f} s"

    def _look(self) -> bool:
        """Polls what is with the provider; True if anything is done there."""
        moved = False
        for job_id, provider_job in list(self.waiting.items()):
            try:
                status = self.run.lane.poll(provider_job)
            except Unavailable as error:
                self.note = str(error)
                break
            if status.state.done:
                del self.waiting[job_id]
                self.collecting[job_id] = collect.submit(job_id, status)
                moved = True
        return moved

    def _gather(self) -> bool:
        """Takes back what has been collected; True if anything was."""
        moved = False
        for job_id, future in list(self.collecting.items()):
            try:
                future.result(timeout=0)
            except TimeoutError:  # not done; asking for its state would ask the server
                continue
            del self.collecting[job_id]
            self.settled.add(job_id)
            self.settled &= set(self.jobs)
            moved = True
        return moved

    def _tell(self) -> None:
        tell(
            Progress(
                stage=self.stage,
                jobs=len(self.jobs),
                jobs_done=len(self.settled),
                requests=sum(self.sizes.values()),
                requests_done=sum(self.sizes[job_id] for job_id in self.settled),
                note=self.note,
            )
        )
