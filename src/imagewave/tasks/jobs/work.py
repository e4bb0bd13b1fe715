"""What the loop over jobs works with: the run that wants them, and the hands that do the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from imagewave.providers.protocol import JobStatus, Lane
from imagewave.storage.money.ledger import Budget
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.collecting.sharing import Started, Step
from imagewave.tasks.jobs.submit import AdoptionTimes, Memory
from imagewave.tasks.screening.pool import Pool


class Setting(Protocol):
    """The run of a wave whose jobs these are. `wait`: it waits for what its provider works on."""

    @property
    def store(self) -> Store:
        """Where everything is kept."""
        ...

    @property
    def wave(self) -> Wave:
        """What is wanted, and with how much patience."""
        ...

    @property
    def pool(self) -> Pool:
        """Who measures pictures."""
        ...

    @property
    def wait(self) -> bool:
        """Whether to wait for provider jobs, or to come back later."""
        ...

    @property
    def budget(self) -> Budget:
        """What may be spent."""
        ...

    @property
    def adoption(self) -> AdoptionTimes:
        """How long doubt about a provider's answer lasts."""
        ...

    @property
    def memory(self) -> Memory:
        """What this process knows of jobs that it has tried to hand over."""
        ...

    def lane_of(self, job_id: str) -> Lane:
        """The lane that a planned job goes by."""
        ...

    def lane_named(self, name: str) -> Lane:
        """The lane of this name."""
        ...

    def lane_for(self, model: str) -> Lane:
        """The lane that takes requests of this model."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the jobs of a round are, those of all its attempts so far, and what they wait for.

    A request is done when its last attempt is; `tried_again` counts the attempts after its first.
    """

    jobs: int
    jobs_done: int
    requests: int
    requests_done: int
    note: str
    tried_again: int = 0

    def after(self, before: "Standing") -> "Standing":
        """This attempt's standing as the round's, `before` being that of the attempts before it.

        What it asks for is what these have not done.
        """
        return Standing(
            jobs=before.jobs + self.jobs,
            jobs_done=before.jobs_done + self.jobs_done,
            requests=before.requests,
            requests_done=before.requests - self.requests + self.requests_done,
            note=self.note,
            tried_again=before.tried_again + self.requests,
        )


class Hands(Protocol):
    """Who does the work of the loop: Prefect's tasks, or plain calls."""

    def submit(self, job_id: str, siblings: Sequence[str], again: bool) -> Any:
        """Gets the job to its provider; raises what `tasks.submit.submit` does.

        `again`: it was tried before in vain, and may be for hours.
        """
        ...

    def collect(self, job_id: str, status: JobStatus) -> Started:
        """Starts to take in what the finished job gave."""
        ...

    def tell(self, standing: Standing) -> None:
        """Shows how far it is to whoever watches."""
        ...


class Crew(Protocol):
    """Those who collect finished jobs together, this run among them."""

    @property
    def left(self) -> set[str]:
        """The jobs that were offered and are not done."""
        ...

    def offer(self, job_id: str, status: JobStatus) -> None:
        """Says that the provider has ended the job, to whoever has time for it."""
        ...

    def step(self, *, but: frozenset[str] = frozenset()) -> Step:
        """Does this run's part, and leaves those jobs alone."""
        ...
