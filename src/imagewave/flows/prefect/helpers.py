"""Sharing a round's finished jobs with helper runs on other workers of the pool."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled

from imagewave.flows.run import Run
from imagewave.providers.protocol import JobStatus
from imagewave.storage.jobs.shares import Shares
from imagewave.tasks.collecting.sharing import AT_ONCE, Sharing, Start, Step

DEPLOYMENT = "share/share"


class Crew:
    """A wave's run and its helpers, who collect the jobs of one attempt at a round together.

    Helpers only make it faster. The run takes from the same list and never waits for one to come,
    so it is not in its own way where it has the pool's last place; and that none can be had is a
    warning.
    """

    def __init__(self, run: Run, work: str, shares: Shares, start: Start) -> None:
        self._run = run
        self._work = work
        self._sharing = Sharing(run.store, shares, start)
        self._asked: list[UUID] = []
        self._offered: set[str] = set()

    def offer(self, job_id: str, status: JobStatus) -> None:
        """Says that the provider has ended the job, to whoever has time for it."""
        self._sharing.offer(job_id, status)
        self._offered.add(job_id)

    @property
    def left(self) -> set[str]:
        """The jobs that were offered and are not done."""
        return self._offered | self._sharing.left

    def step(self, *, but: frozenset[str] = frozenset()) -> Step:
        """Does this run's part, and asks for help if there is more than it can do at once.

        `but` are jobs that it leaves alone.
        """
        step = self._sharing.step(but=but)
        if self._offered:
            self._offered.clear()
            more = len(self._sharing.left) - AT_ONCE
            self._call(-(-more // AT_ONCE))
        return step

    def _call(self, wanted: int) -> None:
        """Sees to it that so many helpers are on their way or at work, as far as is allowed."""
        missing = min(wanted, self._run.helpers)
        if missing <= 0:
            return
        try:
            missing -= sum(not run.state or not run.state.is_final() for run in self._helpers())
            for _ in range(missing):
                self._asked.append(self._ask())
        except ObjectNotFound:
            get_run_logger().warning(
                "There is no deployment %s, so nobody helps. `imagewave deploy` makes it.",
                DEPLOYMENT,
            )
        except (PrefectHTTPStatusError, httpx.HTTPError) as error:
            get_run_logger().warning("Helpers could not be asked for: %s", error)

    def _ask(self) -> UUID:
        store = self._run.store
        made = run_deployment(
            DEPLOYMENT,
            parameters={
                "store": store.url,
                "work": self._work,
                "max_pixels": self._run.wave.screen.max_pixels,
                "missing_hours": self._run.missing_hours,
            },
            # Not the tag `wave:`, by which `watch` tells whether the wave has a run.
            tags=[f"helps:{self._run.wave.name}", f"store:{store.id[:8]}"],
            timeout=0,
            as_subflow=False,
        )
        assert isinstance(made, FlowRun)
        return made.id

    def _helpers(self) -> list[FlowRun]:
        if not self._asked:
            return []
        with get_client(sync_client=True) as client:
            return client.read_flow_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=self._asked))
            )

    def dismiss(self) -> None:
        """Cancels the helpers that have not begun; the others end when nothing is left to do."""
        try:
            for run in self._helpers():
                if run.state and run.state.is_scheduled():
                    with get_client(sync_client=True) as client:
                        state: State[Any] = Cancelled(message="Nothing is left to do.")
                        client.set_flow_run_state(run.id, state)
        except (PrefectHTTPStatusError, httpx.HTTPError) as error:
            get_run_logger().warning("Helpers could not be dismissed: %s", error)


@contextmanager
def crew(run: Run, work: str, start: Start) -> Iterator[Crew]:
    """A crew for the time of the block; `start` has this process collect a job."""
    shares = Shares(run.store, work)
    with shares.renewing():
        made = Crew(run, work, shares, start)
        try:
            yield made
        finally:
            made.dismiss()
