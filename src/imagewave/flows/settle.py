"""Brings a round to its end: every job of it submitted, waited for and collected, every attempt."""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

from prefect import task
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture

from imagewave.errors import ImagewaveError
from imagewave.flows.helpers import Crew, crew
from imagewave.flows.labels import job_task_name
from imagewave.flows.progress import Progress, tell
from imagewave.flows.run import Run, current_means, current_run
from imagewave.killpoints import reached
from imagewave.storage import rounds
from imagewave.storage.jobs import Accepted, JobFolder
from imagewave.storage.ledger import BudgetExceeded, Ledger
from imagewave.storage.requests import FailureClass
from imagewave.storage.rounds import Ask, Outcome, Round
from imagewave.tasks import collect as collecting
from imagewave.tasks import submit as submitting
from imagewave.tasks.failures import policy_for, wait_before_retry
from imagewave.tasks.late import age_hours, late, look
from imagewave.tasks.providers.protocol import JobState, JobStatus, Rejected, Unavailable, Undecided
from imagewave.tasks.shard import given_up, shard
from imagewave.words import counted


class Waiting(ImagewaveError):
    """Only provider jobs are left to wait for, and this run was told not to."""

    def __init__(self, jobs: Sequence[str]) -> None:
        super().__init__(
            f"With the provider: {counted(len(jobs), 'job')}, {', '.join(jobs)}.",
            "Run the wave again to go on; nothing is asked for twice.",
        )
        self.jobs = tuple(jobs)


def _cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    # The store's id keeps the results of a deleted store out.
    return f"{context.task.name}-v1-{current_means().store.id}-{parameters['job_id']}"


@task(
    name="submit",
    task_run_name=job_task_name,
    cache_key_fn=_cache_key,
    persist_result=True,
    result_serializer="json",
)
def submit(job_id: str, siblings: Sequence[str]) -> str:
    """Gets the job to its provider; returns the provider's name for it, "" if it needs none."""
    run = current_run()
    lane = run.lane_of(job_id)
    known = submitting.submit(
        run.store, job_id, lane, budget=run.budget, doubt=run.doubt, siblings=siblings
    )
    return known.provider_job if isinstance(known, Accepted) else ""


@task(
    name="collect",
    task_run_name=job_task_name,
    cache_key_fn=_cache_key,
    persist_result=True,
    result_serializer="json",
)
def collect(job_id: str, status: JobStatus) -> dict[str, int]:
    """Takes in what the finished job gave; returns how many results of each status."""
    means = current_means()
    lane = means.lane_of(job_id)
    return collecting.collect(means.store, job_id, lane, status, means.pool).counts


def settle(run: Run, round: Round, asks: Sequence[Ask], stage: str) -> Outcome:
    """Sees to it that every request of the round has its final result; returns what came of it.

    Raises:
        BudgetExceeded: not all jobs could be paid for; those that were are collected.
        Waiting: there is nothing to do but to wait, and the run does not wait.
    """
    outcome = rounds.outcome(run.store, round)
    if outcome is None:
        for attempt in count(1):
            jobs = shard(run.store, round, asks, run.lanes.for_model, attempt)
            if not jobs:
                break
            if run.helpers and round.kind.wants_image and len(jobs) > 1:
                with crew(run, f"{round.part}.{attempt}", collect.submit) as helped:
                    _Jobs(run, stage, jobs, helped).finish()
            else:
                _Jobs(run, stage, jobs).finish()
        reached("settle.before_outcome")
        outcome = rounds.close(run.store, round, asks, given_up(run.store, round))
    return outcome


def harvest(run: Run) -> list[str]:
    """Takes in what jobs brought that nobody waits for; returns those that are still open.

    These are jobs of this wave that were given up as too old, and those of a revision of its file
    that has been changed since: the provider bills them all the same.
    """
    still_open = []
    for hold in Ledger(run.store).open_holds():
        folder = JobFolder(run.store, hold.job_id)
        plan = folder.plan()
        if plan.wave != run.wave.name:
            continue
        if plan.revision == run.wave.revision and not folder.abandoned():
            continue
        try:
            lane = run.lanes.named(plan.lane)
            accepted = submitting.resolve(run.store, hold.job_id, lane, doubt=run.doubt)
            if accepted is None:
                continue
            status = look(lane, accepted)
        except Unavailable:
            still_open.append(hold.job_id)
            continue
        if status.state.done:
            collect(hold.job_id, status)
        else:
            still_open.append(hold.job_id)
    return still_open


class _Jobs:
    """The jobs of one attempt at a round, on their way through submit, wait and collect.

    With a crew, those that the provider has ended are collected by whoever has time for them.
    """

    def __init__(self, run: Run, stage: str, jobs: Sequence[str], crew: Crew | None = None) -> None:
        self.run = run
        self.crew = crew
        self.stage = stage
        self.jobs = jobs
        self.plans = {job_id: JobFolder(run.store, job_id).plan() for job_id in jobs}
        self.to_submit = list(jobs)
        self.waiting: dict[str, Accepted] = {}
        self.collecting: dict[str, PrefectFuture[dict[str, int]]] = {}
        self.over: set[str] = set()
        self.made: Counter[str] = Counter()  # requests done of jobs that are with their provider
        self.behind: dict[str, str] = {}
        self.undecided: set[str] = set()
        self.alarmed: set[str] = set()
        self.drops: Counter[str] = Counter()
        self.refusals = 0
        self.submit_again_at = 0.0
        self.unaffordable: BudgetExceeded | None = None
        self.note = ""

    def finish(self) -> None:
        """Works until every job is over, or nothing more can be done now."""
        pause, longest = self.run.wave.wait.poll_seconds
        self._tell()
        while len(self.over) < len(self.jobs):
            moved = self._submit()
            moved |= self._look()
            moved |= self._share()
            moved |= self._gather()
            self._tell()
            collecting = self.collecting or (self.crew and self.crew.busy)
            if self.unaffordable and not self.waiting and not collecting:
                raise self.unaffordable
            if moved:
                pause = self.run.wave.wait.poll_seconds[0]
                continue
            if not collecting and not self.run.wait:
                raise Waiting([*self.waiting, *self.to_submit])
            reached("wait.polling")
            time.sleep(min(0.2, pause) if collecting else pause)
            pause = min(longest, pause * 1.5)

    def _submit(self) -> bool:
        """Hands over what can be; True if anything was."""
        moved = False
        if self.unaffordable or time.monotonic() < self.submit_again_at:
            return moved
        for job_id in list(self.to_submit):
            other = self.behind.get(job_id)
            if other and self._awaits(other):
                continue
            try:
                if job_id in self.undecided:  # for hours, perhaps: without a task run each time
                    submitting.look_for(self.run.store, job_id, self.run.lane_of(job_id))
                submit(job_id, self.jobs)
            except submitting.Overlap as overlap:
                self.behind[job_id] = overlap.other
                self._join(overlap.other)
                continue
            except BudgetExceeded as error:
                self.unaffordable = error
                break
            except Undecided as doubt:
                self.undecided.add(job_id)
                self._ask_later(doubt)
                continue
            except (Rejected, Unavailable) as refusal:
                self._back_off(refusal)
                break
            self.refusals = 0
            self.note = ""
            self.to_submit.remove(job_id)
            folder = JobFolder(self.run.store, job_id)
            accepted = folder.accepted()
            if accepted is None or folder.abandoned():
                self.over.add(job_id)
            else:
                self.waiting[job_id] = accepted
            moved = True
            self._tell()
        return moved

    def _join(self, other: str) -> None:
        """Waits for another wave's job as well: its results answer some of these requests."""
        if self._awaits(other):
            return
        lane = self.run.lane_of(other)
        try:
            accepted = submitting.resolve(self.run.store, other, lane, doubt=self.run.doubt)
        except Undecided as doubt:
            self._ask_later(doubt)
            return
        if accepted:
            self.waiting[other] = accepted

    def _ask_later(self, doubt: Undecided) -> None:
        """Waits with what cannot be submitted before the provider's own jobs have ended."""
        self.note = str(doubt)
        self.submit_again_at = time.monotonic() + self.run.wave.wait.poll_seconds[1]

    def _awaits(self, job_id: str) -> bool:
        if self.crew and self.crew.has(job_id):
            return True
        return job_id in self.waiting or job_id in self.collecting

    def _back_off(self, refusal: Rejected | Unavailable) -> None:
        """Waits as told before submitting again; raises what time does not heal."""
        failure, told = FailureClass.TRANSIENT, None
        if isinstance(refusal, Rejected):
            failure, told = refusal.failure, refusal.retry_after
        if failure is not FailureClass.TRANSIENT:
            raise refusal
        self.refusals += 1
        # While jobs are in flight, their end may free the quota; the table limits blind tries.
        if not self.waiting and self.refusals >= policy_for(failure).attempts:
            raise refusal
        wait = wait_before_retry(failure, "", min(self.refusals, 10), told)
        self.submit_again_at = time.monotonic() + wait
        self.note = f"the provider asks to wait {wait:.0f} s"

    def _look(self) -> bool:
        """Polls what is with the provider; True if anything is done there, or given up."""
        moved = False
        for job_id, accepted in list(self.waiting.items()):
            try:
                status = look(self.run.lane_of(job_id), accepted)
                if not status.state.done and age_hours(accepted) > self._age_limit:
                    status = self._alarm(job_id, accepted, status)
            except Unavailable as error:
                self.note = str(error)
                break
            self.made[job_id] = status.succeeded or 0
            if status.state.done and self.crew and job_id in self.plans:
                self.crew.offer(job_id, status)
            elif status.state.done:
                self.collecting[job_id] = collect.submit(job_id, status)
            elif JobFolder(self.run.store, job_id).abandoned() and job_id in self.jobs:
                self.over.add(job_id)
            else:
                continue
            del self.waiting[job_id]
            moved = True
        return moved

    @property
    def _age_limit(self) -> float:
        return self.run.wave.wait.age_limit_hours

    def _alarm(self, job_id: str, accepted: Accepted, status: JobStatus) -> JobStatus:
        """Says that the job is too old; gives it up where there is another model to ask.

        Returns where it stands then: it may have ended just before it was cancelled.
        """
        if job_id not in self.alarmed:
            late(self.run.store, job_id, accepted, self._age_limit)
            self.alarmed.add(job_id)
        plan = self.plans.get(job_id)
        other = self.run.wave.fallback_model(plan.kind) if plan else ""
        if plan is None or other in ("", plan.model):
            self.note = f"{accepted.provider_job} is older than {self._age_limit:g} h"
            return status
        lane = self.run.lane_of(job_id)
        lane.cancel(accepted.provider_job)
        status = lane.poll(accepted.provider_job)
        if status.state not in (JobState.SUCCEEDED, JobState.PARTIAL):
            reason = f"{status.state} for more than {self._age_limit:g} h"
            JobFolder(self.run.store, job_id).abandon(reason)
        return status

    def _share(self) -> bool:
        """Takes a part in what the crew collects; True if anything is done."""
        if self.crew is None:
            return False
        step = self.crew.step()
        self.over |= step.done
        for job_id, error in step.dropped.items():
            self._dropped(job_id, error)
        return bool(step.done)

    def _gather(self) -> bool:
        """Takes back what has been collected; True if anything was."""
        moved = False
        for job_id, future in list(self.collecting.items()):
            try:
                future.result(timeout=0)
            except TimeoutError:  # not done; asking for its state would ask the server
                continue
            except Unavailable as error:
                del self.collecting[job_id]
                self._dropped(job_id, error)
                continue
            del self.collecting[job_id]
            if job_id in self.plans:
                self.over.add(job_id)
            moved = True
        return moved

    def _dropped(self, job_id: str, error: Unavailable) -> None:
        """Has the job collected once more, unless that was tried often enough: then raises."""
        self.drops[job_id] += 1
        if self.drops[job_id] >= policy_for(FailureClass.TRANSIENT).attempts:
            raise error
        self.note = str(error)
        accepted = JobFolder(self.run.store, job_id).accepted()
        assert accepted is not None
        self.waiting[job_id] = accepted

    def _tell(self) -> None:
        done = sum(
            plan.requests if job_id in self.over else self.made[job_id]
            for job_id, plan in self.plans.items()
        )
        tell(
            Progress(
                stage=self.stage,
                jobs=len(self.jobs),
                jobs_done=len(self.over),
                requests=sum(plan.requests for plan in self.plans.values()),
                requests_done=done,
                note=self.note,
            )
        )
