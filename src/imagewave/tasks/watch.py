"""Looks once at every job that handed-over waves wait for, and says which waves can move."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from imagewave.errors import ImagewaveError
from imagewave.storage.analytics import query
from imagewave.storage.handover import Handover, handed_over, take_back
from imagewave.storage.jobs import JobFolder
from imagewave.storage.requests import digest
from imagewave.storage.reruns import is_delivered
from imagewave.storage.store import Store
from imagewave.tasks.providers.protocol import Lane, Undecided
from imagewave.tasks.submit import Doubt, look_for
from imagewave.words import counted

_OPEN_JOBS = """
SELECT job_id, wave, lane, event, provider_job,
       claimed_at < ? AS overdue
FROM jobs WHERE event IN ('claimed', 'accepted')
"""
# Planned by a run that ended before it could hand them to the provider.
_UNSENT_JOBS = """
SELECT DISTINCT job_id FROM raw_submissions
WHERE job_id NOT IN (SELECT job_id FROM jobs WHERE event <> 'released')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A wave that can move, and why.

    `moment` names what is known of its jobs: as long as nothing happens to them it stays the same,
    so whoever starts a run for it once has done enough.
    """

    handover: Handover
    reasons: tuple[str, ...]
    moment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """One look: the waves that can move, the open jobs, and what could not be asked."""

    due: tuple[Due, ...]
    waiting: tuple[str, ...]
    open_jobs: int
    trouble: tuple[str, ...]


@dataclass(slots=True)
class _Jobs:
    """Ids of a wave's jobs, by what they need."""

    open: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    unsent: set[str] = field(default_factory=set)


def survey(store: Store, open_lane: Callable[[str], Lane]) -> Survey:
    """Polls all open jobs of the store once. Writes nothing but the end of delivered handovers."""
    # A claimer that is still alive may hold its claim for so long without an answer.
    since = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=Doubt().lease_s)
    rows = query(store, _OPEN_JOBS, [since])
    handovers = _unfinished(store, {row["wave"] for row in rows})
    by_wave: dict[str, _Jobs] = {handover.wave: _Jobs() for handover in handovers}
    done, trouble = _poll(rows, open_lane) if handovers else (set(), [])
    for row in rows:
        jobs = by_wave.setdefault(row["wave"], _Jobs())
        jobs.open.add(row["job_id"])
        if row["job_id"] in done:
            jobs.done.add(row["job_id"])
        dropped = row["event"] == "claimed" and (
            row["overdue"] or _claimer_died(store, row["job_id"])
        )
        if dropped and not _is_undecided(store, row, open_lane):
            jobs.doubtful.add(row["job_id"])
    for job_id, wave in _unsent(store, by_wave):
        by_wave[wave].unsent.add(job_id)
    settled = query(store, "SELECT job_id, wave FROM jobs WHERE event = 'settled'")
    due = [
        Due(handover=handover, reasons=reasons, moment=_moment(handover, jobs, done, settled))
        for handover in handovers
        if (reasons := _reasons(jobs := by_wave[handover.wave]))
    ]
    moving = {item.handover.wave for item in due}
    return Survey(
        due=tuple(due),
        waiting=tuple(h.wave for h in handovers if h.wave not in moving),
        open_jobs=len(rows),
        trouble=tuple(trouble),
    )


def _claimer_died(store: Store, job_id: str) -> bool:
    intents = JobFolder(store, job_id).intents()
    return bool(intents) and intents[-1].claimer.known_dead()


def _is_undecided(store: Store, row: Mapping[str, Any], open_lane: Callable[[str], Lane]) -> bool:
    """Whether what became of the job shows only when others have ended at its provider."""
    try:
        look_for(store, row["job_id"], open_lane(row["lane"]))
    except Undecided:
        return True
    except ImagewaveError:  # a run will meet it, too, and say so
        return False
    return False


def _unfinished(store: Store, busy: Collection[str]) -> list[Handover]:
    """The waves that are handed over, without those that another run has brought to their end.

    A wave that is delivered and `busy` has a job that it gave up, which may still bring something.
    """
    revisions = {
        row["wave"]: row["revision"] for row in query(store, "SELECT wave, revision FROM waves")
    }
    left = []
    for handover in handed_over(store):
        revision = revisions.get(handover.wave)
        over = handover.wave not in busy
        if over and revision and is_delivered(store, handover.wave, revision):
            take_back(store, handover.wave)
        else:
            left.append(handover)
    return left


def _poll(
    rows: Iterable[dict[str, Any]], open_lane: Callable[[str], Lane]
) -> tuple[set[str], list[str]]:
    """The ids of the jobs that their providers have ended, and what providers did not answer."""
    lanes: dict[str, Lane] = {}
    silent: dict[str, str] = {}
    done = set()
    for row in rows:
        name = row["lane"]
        if row["event"] != "accepted" or name in silent:
            continue
        try:
            if name not in lanes:
                lanes[name] = open_lane(name)
            if lanes[name].poll(row["provider_job"]).state.done:
                done.add(row["job_id"])
        except ImagewaveError as error:  # no key here, or no answer: the other lanes go on
            silent[name] = f"{name}: {error}"
    return done, list(silent.values())


def _unsent(store: Store, waves: Iterable[str]) -> list[tuple[str, str]]:
    """Jobs of the current revisions of these waves that no provider was asked for, with waves."""
    current = {
        (row["wave"], row["revision"]) for row in query(store, "SELECT wave, revision FROM waves")
    }
    wanted = set(waves)
    found = []
    for row in query(store, _UNSENT_JOBS):
        folder = JobFolder(store, row["job_id"])
        plan = folder.plan()
        if plan.wave in wanted and (plan.wave, plan.revision) in current:
            found.append((row["job_id"], plan.wave))
    return found


def _moment(
    handover: Handover, jobs: _Jobs, done: set[str], settled: Iterable[dict[str, Any]]
) -> str:
    """What is known of the wave's jobs, as one word."""
    if jobs.unsent:
        # They may wait for another wave's job to end, so the ends of all jobs count.
        ended = done | {row["job_id"] for row in settled}
    else:
        ended = jobs.done | {row["job_id"] for row in settled if row["wave"] == handover.wave}
    return digest([handover.wave, sorted(ended), sorted(jobs.doubtful)])


def _reasons(jobs: _Jobs) -> tuple[str, ...]:
    fates = {
        "ended at the provider": len(jobs.done),
        "of unknown fate": len(jobs.doubtful),
        "not sent yet": len(jobs.unsent),
    }
    reasons = [f"{counted(count, 'job')} {what}" for what, count in fates.items() if count]
    if not jobs.open and not jobs.unsent:
        reasons.append("no job is under way")
    return tuple(reasons)
