"""Brings rounds to their end by steps on their jobs, each of which is a task run in Prefect."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import asdict

from imagewave.flows.progress import Progress, tell
from imagewave.flows.run import Run, current_resources, current_run
from imagewave.flows.steps import step
from imagewave.providers.protocol import JobStatus
from imagewave.storage.jobs.folder import Accepted
from imagewave.storage.rounds.rounds import Ask, Outcome, Round
from imagewave.tasks.collecting import collect as collecting
from imagewave.tasks.collecting.sharing import Start, Started
from imagewave.tasks.jobs import settling
from imagewave.tasks.jobs.attempt import Waiting
from imagewave.tasks.jobs.plain import PlainHands
from imagewave.tasks.jobs.work import Crew, Standing

__all__ = ["Waiting", "collect", "harvest", "helped_by", "settle", "submit"]

AskHelpers = Callable[[Run, str, Start], AbstractContextManager[Crew]]
"""Has others help a run to collect the jobs of the named work, for the time of a block."""

_ask_helpers: ContextVar[AskHelpers | None] = ContextVar("ask_helpers", default=None)


@contextmanager
def helped_by(ask_helpers: AskHelpers) -> Iterator[None]:
    """Has the runs of the block ask for their helpers so; without it they do all by themselves."""
    token = _ask_helpers.set(ask_helpers)
    try:
        yield
    finally:
        _ask_helpers.reset(token)


@step("submit", of_job=True)
def submit(job_id: str, siblings: Sequence[str]) -> str:
    """Gets the job to its provider; returns the provider's name for it, "" if it needs none."""
    known = PlainHands(current_run()).submit(job_id, siblings, again=False)
    return known.provider_job if isinstance(known, Accepted) else ""


@step("collect", of_job=True)
def collect(job_id: str, status: JobStatus) -> dict[str, int]:
    """Takes in what the finished job gave; returns how many results of each status."""
    resources = current_resources()
    lane = resources.lane_of(job_id)
    settled = collecting.collect(
        resources.store, job_id, lane, status, resources.pool, missing_hours=resources.missing_hours
    )
    return settled.counts


class _Steps:
    """The work on jobs as steps of a stage."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def submit(self, job_id: str, siblings: Sequence[str], again: bool) -> str:
        if again:  # not a step each time; the one that there is, once it succeeds
            PlainHands(current_run()).submit(job_id, siblings, again)
        return submit(job_id, siblings)

    def collect(self, job_id: str, status: JobStatus) -> Started:
        return collect.submit(job_id, status)

    def tell(self, standing: Standing) -> None:
        tell(Progress(stage=self._stage, **asdict(standing)))


def settle(run: Run, round: Round, asks: Sequence[Ask], stage: str) -> Outcome:
    """Sees to it that every request of the round has its final result; returns what came of it.

    Raises:
        BudgetExceeded: not all jobs could be paid for; those that were are collected.
        Waiting: there is nothing to do but to wait, and the run does not wait.
    """

    @contextmanager
    def muster(jobs: Sequence[str], attempt: int) -> Iterator[Crew | None]:
        ask_helpers = _ask_helpers.get()
        if ask_helpers and run.helpers and round.kind.wants_image and len(jobs) > 1:
            with ask_helpers(run, f"{round.part}.{attempt}", collect.submit) as crew:
                yield crew
        else:
            yield None

    return settling.settle(run, _Steps(stage), round, asks, muster)


def harvest(run: Run) -> list[str]:
    """Takes in what jobs brought that nobody waits for; returns those that are still open."""
    return settling.harvest(run, _Steps("harvest"))
