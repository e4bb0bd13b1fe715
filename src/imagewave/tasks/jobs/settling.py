"""Brings a round to its end, every attempt at it; and takes in what nobody waits for any longer."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import count

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.killpoints import reached
from imagewave.providers.protocol import Unavailable
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.files.protocol import StoreError
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.requests import digest
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.rounds import Ask, Outcome, Round
from imagewave.storage.store import Store
from imagewave.tasks.collecting.recover import losers, recover
from imagewave.tasks.jobs import submit as submitting
from imagewave.tasks.jobs.attempt import Waiting, finish
from imagewave.tasks.jobs.board import Pauses
from imagewave.tasks.jobs.polling import look
from imagewave.tasks.jobs.shard import given_up, is_cut, shard
from imagewave.tasks.jobs.sweep import sweep
from imagewave.tasks.jobs.work import Crew, Hands, Setting

Mustered = Callable[[Sequence[str], int], AbstractContextManager[Crew | None]]
"""Who collects the jobs of the n-th attempt together, for the time of the block."""


def settle(
    run: Setting,
    hands: Hands,
    round: Round,
    asks: Sequence[Ask],
    muster: Mustered,
) -> Outcome:
    """Sees to it that every request of the round has its final result; returns what came of it.

    Raises:
        BudgetExceeded: not all jobs could be paid for; those that were are collected.
        Waiting: there is nothing to do but to wait, and the run does not wait.
    """
    outcome = rounds.outcome(run.store, round)
    if outcome is None:
        if not is_cut(run.store, round):
            _look_once_more(run, asks)
        standing = None
        for attempt in count(1):
            jobs = shard(run.store, round, asks, run.lane_for, attempt)
            if not jobs:
                break
            with muster(jobs, attempt) as crew:
                standing = finish(run, hands, jobs, crew, before=standing)
        reached("settle.before_outcome")
        outcome = rounds.close(run.store, round, asks, given_up(run.store, round))
    return outcome


def harvest(run: Setting, hands: Hands) -> list[str]:
    """Takes in what jobs brought that nobody waits for; returns those that are still open.

    These are jobs of this wave that were given up as too old, those of a revision of its file that
    has been changed since, and those that the provider has besides the ones that it was known to
    have: it bills them all the same. What keeps one of them from being taken in is a finding; the
    next run tries again.
    """
    _sweep(run)
    still_open = []
    for hold in Ledger(run.store).open_holds():
        if hold.wave != run.wave.name:  # what another wave has written may not be readable here
            continue
        folder = JobFolder(run.store, hold.job_id)
        plan = folder.plan()
        if plan.revision == run.wave.revision and not folder.abandoned():
            continue
        try:
            is_open = _harvest(run, hands, hold.job_id)
        except StoreError:
            raise
        except ImagewaveError as error:
            _note(run.store, plan.wave, hold.job_id, "not taken in yet", error)
            is_open = True
        if is_open:
            still_open.append(hold.job_id)
    return still_open


def _harvest(run: Setting, hands: Hands, job_id: str) -> bool:
    """Takes the job in if it has ended; True if it may still bring something."""
    lane = run.lane_of(job_id)
    accepted = submitting.resolve(run.store, job_id, lane, adoption=run.adoption, memory=run.memory)
    if accepted is None:
        return False
    status = look(lane, accepted)
    if not status.state.done:
        return True
    hands.collect(job_id, status).result()
    return False


def _look_once_more(run: Setting, asks: Sequence[Ask]) -> None:
    """Looks for results that were held for lost, before they are paid for a second time.

    A provider that does not answer is waited for, as one that does not deliver.

    Raises:
        Waiting: it does not answer, and the run does not wait.
    """
    left = losers(run.store, [ask.request.id for ask in asks if not ask.reused])
    pauses, seconds = Pauses(), 0.0
    while left:
        for job_id in list(left):
            try:
                _recover(run, job_id)
            except Unavailable as error:
                seconds = pauses.begin(job_id)
                if pauses.age_hours(job_id) <= run.wave.wait.missing_hours:
                    continue
                _note(run.store, run.wave.name, job_id, "not looked for again", error)
            except StoreError:
                raise
            except ImagewaveError as error:
                _note(run.store, run.wave.name, job_id, "not looked for again", error)
            left.remove(job_id)
        if left and not run.wait:
            raise Waiting(left)
        if left:
            clock.sleep(seconds)


def _recover(run: Setting, job_id: str) -> None:
    lane = run.lane_of(job_id)
    accepted = JobFolder(run.store, job_id).accepted()
    assert accepted is not None, "what was never accepted has lost nothing"
    recover(run.store, job_id, lane, look(lane, accepted), run.pool)


def _sweep(run: Setting) -> None:
    """Looks at every provider that the wave has asked for jobs that no folder knows."""
    wave = run.wave.name
    asked = query(run.store, "SELECT DISTINCT lane FROM jobs WHERE wave = ?", [wave])
    for name in sorted(row["lane"] for row in asked):
        try:
            trouble = sweep(run.store, run.lane_named(name), wave)
        except StoreError:
            raise
        except ImagewaveError as error:
            _note(run.store, wave, "", f"jobs of {name} not compared", error)
            continue
        for provider_job, why in trouble.items():
            _note(run.store, wave, "", "second job not taken in yet", why, provider_job)


def _note(
    store: Store, wave: str, job_id: str, kind: str, error: ImagewaveError, key: str = ""
) -> None:
    finding = {
        "wave": wave,
        "job_id": job_id,
        "kind": kind,
        "key": key,
        "detail": str(error),
    }
    facts.append(store, "findings", f"{job_id or wave}-{digest(finding)}", [finding])
