"""Hands the jobs of one attempt over to their providers."""

from collections.abc import Callable

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import Rejected, Unavailable, Undecided
from imagewave.storage.files.protocol import StoreError
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.money.ledger import BudgetExceeded
from imagewave.storage.requests import FailureClass
from imagewave.tasks.jobs import submit as submitting
from imagewave.tasks.jobs.board import Board, Pauses
from imagewave.tasks.jobs.work import Hands, Setting


class Sending:
    """What is still to be sent, and why it was not yet.

    A provider that says "too much" is left alone as it tells, by all jobs of its lane; any other
    trouble is one job's own. Both are borne for as long as the wave bears a job that does not end.
    """

    def __init__(
        self, run: Setting, hands: Hands, board: Board, is_under_way: Callable[[str], bool]
    ) -> None:
        self._run = run
        self._hands = hands
        self._board = board
        self._is_under_way = is_under_way
        self._pauses = Pauses()
        self._overlapped_by: dict[str, str] = {}
        self._tried: set[str] = set()
        self._refused_money: set[str] = set()
        self.unaffordable: BudgetExceeded | None = None

    def step(self) -> bool:
        """Sends what can be; True if anything was."""
        moved = False
        for job_id in list(self._board.to_send):
            lane = self._board.plans[job_id].lane
            other = self._overlapped_by.get(job_id)
            waits = not self._pauses.due(job_id) or not self._pauses.due(lane)
            if waits or (other and self._is_under_way(other)):
                continue
            # What a provider may have already is paid for, whatever else can be.
            if self.unaffordable and (job_id in self._refused_money or not self._is_asked(job_id)):
                continue
            if self._send(job_id, lane):
                moved = True
                self._hands.tell(self._board.standing)
        return moved

    def _send(self, job_id: str, lane: str) -> bool:
        """Tries to send the job; True if it is not to be sent any more."""
        try:
            again = job_id in self._tried
            self._tried.add(job_id)
            self._hands.submit(job_id, self._board.jobs, again)
        except submitting.Overlap as overlap:
            self._overlapped_by[job_id] = overlap.other
            # The other job may not be taken in at once: each try costs a claim and a hold.
            self._pauses.begin(job_id)
            self._join(job_id, overlap.other)
            return False
        except BudgetExceeded as error:
            self.unaffordable = error
            self._refused_money.add(job_id)
            return False
        except Undecided as doubt:
            self._pauses.begin(job_id, self._run.wave.wait.poll_seconds[1])
            self._board.notes[job_id] = str(doubt)
            return False
        except (Rejected, Unavailable) as refusal:
            return self._refused(job_id, lane, refusal)
        except StoreError:
            raise
        except ImagewaveError as error:
            return self._failed(job_id, error)
        for name in (job_id, lane):
            self._pauses.end(name)
            self._board.notes.pop(name, None)
        folder = JobFolder(self._run.store, job_id)
        accepted = folder.accepted()
        if accepted is None or folder.abandoned():
            self._board.finish(job_id)
        else:
            self._board.to_send.remove(job_id)
            self._board.out[job_id] = accepted
        return True

    def _is_asked(self, job_id: str) -> bool:
        """Whether a provider may have been asked for the job, by this run or an earlier one."""
        folder = JobFolder(self._run.store, job_id)
        return bool(folder.accepted() or folder.standing(folder.intents()))

    def _join(self, job_id: str, other: str) -> None:
        """Waits for another wave's job as well: its results answer some of these requests."""
        if self._is_under_way(other):
            return
        run = self._run
        try:
            accepted = submitting.resolve(
                run.store, other, run.lane_of(other), adoption=run.adoption, memory=run.memory
            )
        except Unavailable as error:
            self._pauses.begin(job_id)
            self._board.notes[job_id] = str(error)
            return
        except StoreError:
            raise
        except ImagewaveError as error:
            self._failed(job_id, error)
            return
        if accepted:
            self._board.out[other] = accepted

    def _refused(self, job_id: str, lane: str, refusal: Rejected | Unavailable) -> bool:
        """Leaves the job, or all of its lane, for a while; True if its time is over."""
        if isinstance(refusal, Unavailable):
            paused = job_id
            self._pauses.begin(job_id)
            self._board.notes[job_id] = str(refusal)
        elif refusal.failure is FailureClass.TRANSIENT:
            paused = lane
            seconds = self._pauses.begin(lane, refusal.retry_after)
            self._board.notes[lane] = f"the provider asks to wait {seconds:.0f} s"
        else:
            return self._failed(job_id, refusal)
        if self._pauses.age_hours(paused) > self._run.wave.wait.age_limit_hours:
            return self._failed(job_id, refusal)
        return False

    def _failed(self, job_id: str, error: ImagewaveError) -> bool:
        self._board.fail(job_id, error)
        return True
