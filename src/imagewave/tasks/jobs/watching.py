"""Watches the jobs that are with their providers, and says which have ended there."""

from collections.abc import Iterator
from contextlib import suppress

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import Attended, JobState, JobStatus, Rejected, Unavailable
from imagewave.storage.files.protocol import StoreError
from imagewave.storage.jobs.folder import Accepted, JobFolder
from imagewave.tasks.jobs.board import Board, Pauses
from imagewave.tasks.jobs.overdue import age_hours, late
from imagewave.tasks.jobs.polling import look
from imagewave.tasks.jobs.work import Setting


class Watching:
    """Looks at jobs; one that cannot be looked at costs nothing but its own time."""

    def __init__(self, run: Setting, board: Board) -> None:
        self._run = run
        self._board = board
        self._pauses = Pauses()
        self._alarmed: set[str] = set()

    def step(self) -> Iterator[tuple[str, JobStatus]]:
        """Looks at every job that is out; yields those that are done there.

        A job that was given up, and is not done, is over; it is not yielded.
        """
        board = self._board
        for job_id, accepted in list(board.out.items()):
            if not self._pauses.due(job_id) or not board.rests.due(job_id):
                continue
            try:
                status = self._look(job_id, accepted)
            except Unavailable as error:
                self._pauses.begin(job_id)
                board.notes[job_id] = str(error)
                continue
            except StoreError:
                raise
            except ImagewaveError as error:
                board.fail(job_id, error)
                continue
            self._pauses.end(job_id)
            board.made[job_id] = status.succeeded or 0
            if status.state.done:
                board.notes.pop(job_id, None)
                del board.out[job_id]
                yield job_id, status
            elif job_id in board.plans and JobFolder(self._run.store, job_id).abandoned():
                board.finish(job_id)

    def attends(self) -> bool:
        """Whether this run itself works on one of the jobs that are out."""
        return any(isinstance(self._run.lane_of(job_id), Attended) for job_id in self._board.out)

    def _look(self, job_id: str, accepted: Accepted) -> JobStatus:
        status = look(self._run.lane_of(job_id), accepted)
        if not status.state.done and age_hours(accepted) > self._age_limit:
            return self._alarm(job_id, accepted, status)
        self._board.notes.pop(job_id, None)
        if status.message and not status.state.done:
            self._board.notes[job_id] = status.message
        return status

    @property
    def _age_limit(self) -> float:
        return self._run.wave.wait.age_limit_hours

    def _alarm(self, job_id: str, accepted: Accepted, status: JobStatus) -> JobStatus:
        """Says that the job is too old; gives it up where there is another model to ask.

        Returns where it stands then: it may have ended just before it was cancelled.
        """
        if job_id not in self._alarmed:
            late(self._run.store, job_id, accepted, self._age_limit)
            self._alarmed.add(job_id)
        plan = self._board.plans.get(job_id)
        other = self._run.wave.fallback_model(plan.kind) if plan else ""
        if plan is None or other in ("", plan.model):
            note = f"{accepted.provider_job} is older than {self._age_limit:g} h"
            self._board.notes[job_id] = note
            return status
        lane = self._run.lane_of(job_id)
        with suppress(Rejected):  # it came too late, or is not heard: the next look tells
            lane.cancel(accepted.provider_job)
        status = look(lane, accepted)
        if status.state not in (JobState.SUCCEEDED, JobState.PARTIAL):
            reason = f"{status.state} for more than {self._age_limit:g} h"
            JobFolder(self._run.store, job_id).abandon(reason)
        return status
