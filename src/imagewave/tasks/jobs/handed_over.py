"""Looks once at every job that handed-over waves wait for, and says which waves can move.

The providers' lists are looked through as well, for second jobs of any wave of the store: they are
billed, whether or not anybody goes on with their wave.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import Attended, JobState, Lane, Rejected, Undecided
from imagewave.storage.facts.analytics import query
from imagewave.storage.files.protocol import StoreError
from imagewave.storage.jobs import events as job_events
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.records import BadRecord
from imagewave.storage.requests import digest
from imagewave.storage.rounds.reruns import is_delivered
from imagewave.storage.store import Store
from imagewave.storage.waves.handover import Handover, handed_over, take_back, waves_left
from imagewave.tasks.collecting.collect import collect
from imagewave.tasks.jobs.polling import look
from imagewave.tasks.jobs.submit import AdoptionTimes, look_for
from imagewave.tasks.jobs.sweep import sweep
from imagewave.tasks.screening.pool import Pool
from imagewave.words import counted

# Ordered, so that every look goes the same way: the simulator replays it by its seed alone.
_OPEN_JOBS = """
SELECT job_id, wave, lane, event, provider_job,
       claimed_at < ? AS overdue
FROM jobs WHERE event IN ('claimed', 'accepted') ORDER BY job_id
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
class Leftover:
    """A job that has ended, that was given up, and whose wave nobody goes on with."""

    wave: str
    job_id: str
    lane: Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """One look: the waves that can move, the open jobs, and what could not be asked.

    `leftovers` are for `take_in`.
    """

    due: tuple[Due, ...]
    waiting: tuple[str, ...]
    open_jobs: int
    trouble: tuple[str, ...]
    leftovers: tuple[Leftover, ...] = ()


@dataclass(slots=True)
class _Jobs:
    """Ids of a wave's jobs, by what they need; of those left half done, with what is done."""

    open: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    unsent: set[str] = field(default_factory=set)
    half_done: set[tuple[str, int]] = field(default_factory=set)


def survey(store: Store, open_lane: Callable[[str], Lane]) -> Survey:
    """Looks at all open jobs of the store once, and for second ones in the providers' lists.

    Writes nothing but the end of delivered handovers, and the folders of second jobs. A job, a
    wave's record or a lane that cannot be read is in `trouble`, and costs nobody else.

    Raises:
        StoreError: the store cannot be reached.
    """
    seen = _Look(store, open_lane)
    seen.for_second_jobs()
    # A claimer that is still alive may hold its claim for so long without an answer.
    since = clock.now().replace(tzinfo=None) - timedelta(seconds=AdoptionTimes().lease_s)
    rows = query(store, _OPEN_JOBS, [since])
    handovers = seen.unfinished({row["wave"] for row in rows})
    by_wave: dict[str, _Jobs] = {handover.wave: _Jobs() for handover in handovers}
    left = set(by_wave)
    for row in rows:
        if handovers or seen.is_given_up(row["job_id"]):
            seen.at(row, by_wave.setdefault(row["wave"], _Jobs()))
    if handovers:
        seen.for_unsent(by_wave)
    done = {job_id for jobs in by_wave.values() for job_id in jobs.done}
    settled = query(store, "SELECT job_id, wave FROM jobs WHERE event = 'settled'")
    due = [
        Due(handover=handover, reasons=reasons, moment=_moment(handover, jobs, done, settled))
        for handover in handovers
        if handover.wave not in seen.unreadable
        and (reasons := _reasons(jobs := by_wave[handover.wave]))
    ]
    moving = {item.handover.wave for item in due} | seen.unreadable
    return Survey(
        due=tuple(due),
        waiting=tuple(h.wave for h in handovers if h.wave not in moving),
        open_jobs=len(rows),
        trouble=tuple(seen.trouble),
        leftovers=tuple(seen.leftovers(left)),
    )


def take_in(store: Store, leftovers: Iterable[Leftover], pool: Pool) -> list[str]:
    """Collects what leftovers brought, for no run will; returns what kept which of them from it.

    What their provider does not know any more is looked for again by the next looks, as by a run.

    Raises:
        StoreError: the store cannot be reached.
    """
    trouble = []
    for left in leftovers:
        try:
            accepted = JobFolder(store, left.job_id).accepted()
            assert accepted is not None, "only such a job can have ended"
            status = look(left.lane, accepted)
            if status.state.done:
                collect(store, left.job_id, left.lane, status, pool)
        except ImagewaveError as error:  # the next look finds it again
            if isinstance(error, StoreError) and not isinstance(error, BadRecord):
                raise
            trouble.append(f"{left.wave}: job {left.job_id}: {error}")
    return trouble


class _Look:
    """One look at the store's waves and jobs, and what went wrong with which of them."""

    def __init__(self, store: Store, open_lane: Callable[[str], Lane]) -> None:
        self._store = store
        self._open_lane = open_lane
        self._lanes: dict[str, Lane | None] = {}
        self._answering: set[str] = set()
        self.trouble: list[str] = []
        self.unreadable: set[str] = set()
        """Waves of which a record cannot be read."""
        self._ended: list[Leftover] = []

    def for_second_jobs(self) -> None:
        """Gives folders to provider jobs that the store's jobs do not know of."""
        for row in query(self._store, "SELECT DISTINCT lane FROM jobs ORDER BY lane"):
            name = row["lane"]
            try:
                lane = self._lanes.get(name) or self._open_lane(name)
            except ImagewaveError:  # no key here: said where a job waits for this lane
                continue
            self._lanes[name] = lane
            try:
                trouble = sweep(self._store, lane)
            except StoreError:
                raise
            except ImagewaveError as error:
                if self._answers(name, lane):
                    self.trouble.append(f"{name}: its list of jobs was not compared: {error}")
                continue
            self.trouble += (f"{name}: second job {job}: {why}" for job, why in trouble.items())

    def leftovers(self, left: Collection[str]) -> Iterator[Leftover]:
        """Jobs that have ended, and that no run takes in: of none of the waves that are `left`."""
        for job in self._ended:
            if job.wave not in left and self.is_given_up(job.job_id):
                yield job

    def is_given_up(self, job_id: str) -> bool:
        """Whether nobody waits for the job any longer."""
        return JobFolder(self._store, job_id).abandoned()

    def unfinished(self, busy: Collection[str]) -> list[Handover]:
        """The waves that are handed over, without those that another run has brought to their end.

        A wave that is delivered and `busy` has a job that it gave up, which may still bring
        something.
        """
        rows = query(self._store, "SELECT wave, revision FROM waves")
        revisions = {row["wave"]: row["revision"] for row in rows}
        left = []
        for wave in waves_left(self._store):
            try:
                handover = handed_over(self._store, wave)
                revision = revisions.get(wave)
                over = wave not in busy and revision and is_delivered(self._store, wave, revision)
            except BadRecord as error:
                self._cannot_read(wave, error)
                continue
            if over:
                take_back(self._store, wave)
            elif handover:
                left.append(handover)
        return left

    def at(self, row: Mapping[str, Any], jobs: _Jobs) -> None:
        """Files an open job under what it needs."""
        job_id = row["job_id"]
        jobs.open.add(job_id)
        try:
            if row["event"] == "claimed":
                dropped = row["overdue"] or self._claimer_died(job_id)
                if dropped and not self._is_undecided(row):
                    jobs.doubtful.add(job_id)
            elif lane := self._lane(row["lane"]):
                self._poll(lane, row, jobs)
        except BadRecord as error:
            self._cannot_read(row["wave"], error)

    def for_unsent(self, by_wave: Mapping[str, _Jobs]) -> None:
        """Files the jobs of the waves' current revisions that no provider was asked for."""
        current = {
            (row["wave"], row["revision"])
            for row in query(self._store, "SELECT wave, revision FROM waves")
        }
        for row in query(self._store, job_events.UNSENT):
            try:
                plan = JobFolder(self._store, row["job_id"]).plan()
            except FileNotFoundError:  # its run ended before it wrote that: nothing is open
                continue
            except BadRecord as error:  # whose it is, it alone could say
                self.trouble.append(f"job {row['job_id']}: {error}")
                continue
            if plan.wave in by_wave and (plan.wave, plan.revision) in current:
                by_wave[plan.wave].unsent.add(row["job_id"])

    def _poll(self, lane: Lane, row: Mapping[str, Any], jobs: _Jobs) -> None:
        name, job_id = row["provider_job"], row["job_id"]
        attended = isinstance(lane, Attended)
        try:
            # Only looked at: this process ends too soon to make calls.
            status = lane.look(name) if isinstance(lane, Attended) else lane.poll(name)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one job's answer is, others go on
            if not self._answers(row["lane"], lane):
                return
            if isinstance(error, Rejected):  # unknown there, perhaps: a run finds it out
                jobs.doubtful.add(job_id)
                self._ended.append(Leftover(wave=row["wave"], job_id=job_id, lane=lane))
            # What others raise may quote a key.
            said = str(error) if isinstance(error, ImagewaveError) else type(error).__name__
            self.trouble.append(f"{row['wave']}: job {job_id} ({name}): {said}")
            return
        if status.state.done:
            jobs.done.add(job_id)
            self._ended.append(Leftover(wave=row["wave"], job_id=job_id, lane=lane))
        elif attended and status.state is JobState.PENDING:
            jobs.half_done.add((job_id, (status.succeeded or 0) + (status.failed or 0)))

    def _lane(self, name: str) -> Lane | None:
        """The lane; None where it cannot be opened, or its provider does not answer."""
        if name not in self._lanes:
            try:
                self._lanes[name] = self._open_lane(name)
            except ImagewaveError as error:  # no key here: the other lanes go on
                self._is_silent(name, error)
        return self._lanes[name]

    def _answers(self, name: str, lane: Lane) -> bool:
        """Whether the provider answers at all: then it is the job that is sick."""
        if name not in self._answering:
            try:
                lane.check_access()
            except ImagewaveError as error:
                self._is_silent(name, error)
                return False
            self._answering.add(name)
        return True

    def _is_silent(self, name: str, error: ImagewaveError) -> None:
        self._lanes[name] = None
        self.trouble.append(f"{name}: {error}")

    def _cannot_read(self, wave: str, error: BadRecord) -> None:
        self.unreadable.add(wave)
        self.trouble.append(f"{wave}: {error}")

    def _claimer_died(self, job_id: str) -> bool:
        intents = JobFolder(self._store, job_id).intents()
        return bool(intents) and intents[-1].claimer.known_dead()

    def _is_undecided(self, row: Mapping[str, Any]) -> bool:
        """Whether what became of the job shows only when others have ended at its provider."""
        lane = self._lane(row["lane"])
        if lane is None:
            return False
        try:
            look_for(self._store, row["job_id"], lane)
        except Undecided:
            return True
        except BadRecord:
            raise
        except ImagewaveError:  # a run will meet it, too, and say so
            return False
        return False


def _moment(
    handover: Handover, jobs: _Jobs, done: set[str], settled: Iterable[dict[str, Any]]
) -> str:
    """What is known of the wave's jobs, as one word."""
    if jobs.unsent:
        # They may wait for another wave's job to end, so the ends of all jobs count.
        ended = done | {row["job_id"] for row in settled}
    else:
        ended = jobs.done | {row["job_id"] for row in settled if row["wave"] == handover.wave}
    return digest(
        [handover.wave, sorted(ended), sorted(jobs.doubtful), *sorted(map(list, jobs.half_done))]
    )


def _reasons(jobs: _Jobs) -> tuple[str, ...]:
    fates = {
        "ended at the provider": len(jobs.done),
        "of unknown fate": len(jobs.doubtful),
        "left half done": len(jobs.half_done),
        "not sent yet": len(jobs.unsent),
    }
    reasons = [f"{counted(count, 'job')} {what}" for what, count in fates.items() if count]
    if not jobs.open and not jobs.unsent:
        reasons.append("no job is under way")
    return tuple(reasons)
