"""Where each job of one attempt stands, and when what has failed may be tried again."""

from collections import Counter
from collections.abc import Sequence

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.providers.failures import wait_before_retry
from imagewave.storage.jobs.folder import Accepted, JobFolder
from imagewave.storage.requests import FailureClass
from imagewave.storage.store import Store
from imagewave.tasks.jobs.work import Standing

_OFTEN = 10
_RARER = 10


class Board:
    """The jobs of one attempt: to be sent, out at their providers, over, or failed.

    What is in none of these is being taken in. Jobs of other waves that these wait for may be out,
    too.
    """

    def __init__(self, store: Store, jobs: Sequence[str]) -> None:
        self.jobs = jobs
        self.plans = {job_id: JobFolder(store, job_id).plan() for job_id in jobs}
        self.to_send = list(jobs)
        self.out: dict[str, Accepted] = {}
        self.over: set[str] = set()
        self.failed: dict[str, ImagewaveError] = {}
        """Jobs that this run can do no more for; the error is raised when the others are over."""
        self.made: Counter[str] = Counter()
        """How many requests of jobs that are out are done there."""
        self.rests = Pauses()
        """Jobs that have ended, and whose results could not be taken in for now."""
        self.notes: dict[str, str] = {}
        """What is said of a job, or of a lane, that something has to be waited for."""

    @property
    def ended(self) -> int:
        """How many jobs there is nothing left to do for."""
        return len(self.over) + len(self.failed)

    def finish(self, job_id: str) -> None:
        """The job is over: nobody waits for it any longer."""
        self._leave(job_id)
        if job_id in self.plans:
            self.over.add(job_id)

    def fail(self, job_id: str, error: ImagewaveError) -> None:
        """This run can do no more for the job."""
        self._leave(job_id)
        if job_id in self.plans:
            self.failed[job_id] = error

    def _leave(self, job_id: str) -> None:
        self.notes.pop(job_id, None)
        self.out.pop(job_id, None)
        if job_id in self.to_send:
            self.to_send.remove(job_id)

    @property
    def standing(self) -> Standing:
        """How far all of it is."""
        done = sum(
            plan.requests if job_id in self.over else self.made[job_id]
            for job_id, plan in self.plans.items()
        )
        return Standing(
            jobs=len(self.jobs),
            jobs_done=len(self.over),
            requests=sum(plan.requests for plan in self.plans.values()),
            requests_done=done,
            note=next(reversed(self.notes.values()), ""),
        )


class Pauses:
    """Which of several things must be left alone for a while, each for longer every time."""

    def __init__(self) -> None:
        self._tries: Counter[str] = Counter()
        self._until: dict[str, float] = {}
        self._since: dict[str, float] = {}

    def due(self, name: str) -> bool:
        """Whether it may be tried now."""
        return clock.steady() >= self._until.get(name, 0.0)

    def begin(self, name: str, told: float | None = None) -> float:
        """Leaves it alone for as long as was told, else for longer than the last time.

        Returns for how many seconds.
        """
        self._tries[name] += 1
        tries = self._tries[name]
        seconds = wait_before_retry(FailureClass.TRANSIENT, "", min(tries, _OFTEN), told)
        if told is None and tries > _OFTEN:  # each try costs a few files
            seconds *= min(tries - _OFTEN, _RARER)
        now = clock.steady()
        self._since.setdefault(name, now)
        self._until[name] = now + seconds
        return seconds

    def tries(self, name: str) -> int:
        """How often it was tried in vain since it last went well."""
        return self._tries[name]

    def age_hours(self, name: str) -> float:
        """For how long it has been tried in vain."""
        return (clock.steady() - self._since.get(name, clock.steady())) / 3600

    def end(self, name: str) -> None:
        """It went well: the next time is the first again."""
        for record in (self._tries, self._until, self._since):
            record.pop(name, None)
