"""Takes in what jobs gave that their providers have ended."""

from imagewave.errors import ImagewaveError
from imagewave.providers.failures import policy_for
from imagewave.providers.protocol import JobStatus, Unavailable
from imagewave.storage.files.protocol import StoreError
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.requests import FailureClass
from imagewave.tasks.collecting.collect import Undelivered
from imagewave.tasks.collecting.sharing import Started
from imagewave.tasks.jobs.board import Board
from imagewave.tasks.jobs.work import Crew, Hands, Setting

_LOOKS = 8
"""The fewest looks in the time for which something is looked for again."""

_LONGEST_REST_S = 3600.0


class Gathering:
    """Collects ended jobs, each in the background; with a crew, by whoever has time for it."""

    def __init__(self, run: Setting, hands: Hands, board: Board, crew: Crew | None) -> None:
        self._run = run
        self._hands = hands
        self._board = board
        self._crew = crew
        self._started: dict[str, Started] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is being taken in."""
        return bool(self._started or self._with_crew)

    def has(self, job_id: str) -> bool:
        """Whether the job is being taken in."""
        return job_id in self._started or job_id in self._with_crew

    @property
    def _with_crew(self) -> set[str]:
        """What the crew has to do; what it has dropped is out again until it is offered anew."""
        return self._crew.left - self._board.out.keys() if self._crew else set()

    def start(self, job_id: str, status: JobStatus) -> None:
        """Has a job taken in that its provider has ended."""
        if self._crew and job_id in self._board.plans:
            self._crew.offer(job_id, status)
        else:
            self._started[job_id] = self._hands.collect(job_id, status)

    def step(self) -> bool:
        """Takes note of what is done, or could not be; True if anything was."""
        moved = False
        if self._crew is not None:
            step = self._crew.step(but=frozenset(self._board.out))
            for job_id in step.done:
                self._board.finish(job_id)
            for job_id, error in step.dropped.items():
                self._dropped(job_id, error)
            moved = bool(step.done or step.dropped)
        for job_id, started in list(self._started.items()):
            try:
                started.result(timeout=0)
            except TimeoutError:  # not done; asking for its state would ask a server
                continue
            except StoreError:
                raise
            except ImagewaveError as error:
                self._dropped(job_id, error)
            else:
                self._board.rests.end(job_id)
                self._board.finish(job_id)
            del self._started[job_id]
            moved = True
        return moved

    def _dropped(self, job_id: str, error: ImagewaveError) -> None:
        """Has the job collected once more: soon for a few times, then ever later.

        What its provider owes, collecting itself counts as lost when its time is over.
        """
        rests = self._board.rests
        patience = self._run.wave.wait.missing_hours
        given_up = not isinstance(error, Undelivered) and rests.age_hours(job_id) > patience
        if given_up or not isinstance(error, Unavailable):
            self._board.fail(job_id, error)
            return
        often = rests.tries(job_id) - policy_for(FailureClass.TRANSIENT).attempts + 1
        if isinstance(error, Undelivered):
            often = rests.tries(job_id)
        rests.begin(job_id, 0.0 if often < 0 else self._rest(often))
        self._board.notes[job_id] = str(error)
        accepted = JobFolder(self._run.store, job_id).accepted()
        assert accepted is not None
        self._board.out[job_id] = accepted

    def _rest(self, often: int) -> float:
        """Seconds until the next look: each may mean that all results are fetched once more."""
        wait = self._run.wave.wait
        share = wait.missing_hours * 3600 / _LOOKS
        return min(wait.poll_seconds[1] * 2.0 ** min(often, 20), _LONGEST_REST_S, share)
