"""The work on jobs by plain calls, one after the other, in the caller's thread."""

from collections.abc import Callable, Sequence
from typing import Any

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import JobStatus
from imagewave.storage.jobs.folder import Accepted, Settled
from imagewave.tasks.collecting.collect import collect
from imagewave.tasks.jobs.submit import submit
from imagewave.tasks.jobs.work import Setting, Standing


class Collected:
    """What collecting a job at once has come to, as a future that is done."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._error: ImagewaveError | None = None
        self._result: Any = None
        try:
            self._result = work()
        except ImagewaveError as error:  # as a future does: whoever asks for the result gets it
            self._error = error

    def result(self, timeout: float | None = None) -> Any:
        """What collecting returned; raises what it raised."""
        if self._error:
            raise self._error
        return self._result


class PlainHands:
    """Hands that do everything themselves. `tell` hears how far it is."""

    def __init__(
        self, run: Setting, tell: Callable[[Standing], None] = lambda standing: None
    ) -> None:
        self._run = run
        self.tell = tell

    def submit(self, job_id: str, siblings: Sequence[str], again: bool) -> Accepted | Settled:
        """Gets the job to its provider."""
        run = self._run
        return submit(
            run.store,
            job_id,
            run.lane_of(job_id),
            budget=run.budget,
            adoption=run.adoption,
            siblings=siblings,
            memory=run.memory,
        )

    def collect(self, job_id: str, status: JobStatus) -> Collected:
        """Takes in what the finished job gave."""
        run = self._run
        hours = run.wave.wait.missing_hours
        return Collected(
            lambda: collect(
                run.store, job_id, run.lane_of(job_id), status, run.pool, missing_hours=hours
            )
        )
