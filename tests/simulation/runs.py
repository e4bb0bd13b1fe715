"""One process's run of a wave: the production loop, with threads of the simulation for hands."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from tests.simulation.plans import WavePlan, ask
from tests.simulation.scheduler import Actor, World

from imagewave.flows.run import record_wave
from imagewave.providers.lanes import Lanes
from imagewave.providers.protocol import JobStatus, Lane
from imagewave.storage.facts import facts
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.money.ledger import Budget
from imagewave.storage.requests import Kind
from imagewave.storage.rounds.reruns import assets_part
from imagewave.storage.rounds.rounds import Ask, Outcome, Round, load, record
from imagewave.storage.store import Store
from imagewave.storage.waves.handover import Handover, hand_over, take_back
from imagewave.tasks.collecting.collect import collect
from imagewave.tasks.drafting.fallback import fallback_asks
from imagewave.tasks.jobs import settling
from imagewave.tasks.jobs.plain import PlainHands
from imagewave.tasks.jobs.submit import AdoptionTimes, Memory
from imagewave.tasks.jobs.work import Crew, Standing
from imagewave.tasks.screening.metrics import Metrics
from imagewave.tasks.screening.pool import Pool, Source


class StillOpen(Exception):
    """Jobs that were given up may still bring something: look again later."""


def run_wave(world: World, store: Store, planned: WavePlan) -> None:
    """What `imagewave.flows.wave` does for a wave of one round, as far as it is the protocol's.

    Raises:
        StillOpen: it is delivered, but not all that it may have to pay for has ended.
        ImagewaveError: as the flow.
    """
    wave = planned.wave
    run = _Run(world, store, planned)
    record_wave(store, wave)
    if not planned.patient:
        hand_over(store, Handover(wave=wave.name, wave_file=f"{wave.name}.toml"))
    settling.harvest(run, run)
    round = Round(wave=wave.name, revision=wave.revision, kind=Kind.DRAFT, number=1)
    asks = load(store, round)
    if asks is None:
        asks = record(store, round, [ask(number, planned.lane) for number in planned.requests])
    run.make(round, asks)
    open_jobs = settling.harvest(run, run)
    facts.append(store, "assets", assets_part(wave.name, wave.revision, 0), [])
    if open_jobs:
        raise StillOpen
    take_back(store, wave.name)


class _Run:
    """What the loop needs of a run (imagewave.tasks.jobs.work: Setting, and Hands)."""

    def __init__(self, world: World, store: Store, planned: WavePlan) -> None:
        self.store = store
        self.wave = planned.wave
        self.wait = planned.patient
        self.budget = Budget(**self.wave.budget.model_dump())
        self.adoption = AdoptionTimes(list_lag_s=self.wave.wait.list_lag_seconds)
        self.memory = Memory()
        self.pool: Pool = UnmeasuredPool()  # type: ignore[assignment]
        self._world = world
        self._lanes = Lanes(store, self.wave.lane)

    def lane_of(self, job_id: str) -> Lane:
        return self.lane_named(JobFolder(self.store, job_id).plan().lane)

    def lane_named(self, name: str) -> Lane:
        return self._lanes.named(name)

    def lane_for(self, model: str) -> Lane:
        return self._lanes.for_model(model)

    def make(self, round: Round, asks: Sequence[Ask]) -> None:
        """As `imagewave.flows.wave.make`: by the fallback model where a job was given up."""
        outcome = self._settle(round, asks)
        stuck = [ask for ask in asks if ask.request.id in outcome.given_up]
        other = self.wave.fallback_model(round.kind)
        if not stuck or not other:
            return
        second = replace(round, fallback=True)
        moved = load(self.store, second)
        if moved is None:
            lane = self._lanes.name_for(other)
            moved = record(self.store, second, fallback_asks(stuck, other, lane=lane))
        self._settle(second, moved)

    def _settle(self, round: Round, asks: Sequence[Ask]) -> Outcome:
        @contextmanager
        def alone(jobs: Sequence[str], attempt: int) -> Iterator[Crew | None]:
            yield None

        return settling.settle(self, self, round, asks, alone)

    def submit(self, job_id: str, siblings: Sequence[str], again: bool) -> object:
        return PlainHands(self).submit(job_id, siblings, again)

    def collect(self, job_id: str, status: JobStatus) -> "_Future":
        work = partial(
            collect,
            self.store,
            job_id,
            self.lane_of(job_id),
            status,
            self.pool,
            missing_hours=self.wave.wait.missing_hours,
        )
        return _Future(self._world, work)

    def tell(self, standing: Standing) -> None:
        pass


class _Future:
    """Work that another thread of the process does."""

    def __init__(self, world: World, work: Callable[[], object]) -> None:
        self._world = world
        self._actor: Actor = world.thread(work)

    def result(self, timeout: float | None = None) -> None:
        while not self._actor.done:
            if timeout is not None:
                raise TimeoutError
            self._world.pause(1.0)
        if self._actor.error:
            raise self._actor.error


class UnmeasuredPool:
    """Measures nothing: a picture can be decoded unless it says that it is broken."""

    def measure(self, items: Iterator[tuple[str, Source]]) -> Iterator[tuple[str, Metrics]]:
        for key, source in items:
            assert isinstance(source, bytes), "a store in memory has no paths"
            broken = source.endswith(b"broken")
            edge = 0 if broken else 1
            said = "broken" if broken else ""
            yield key, Metrics(error=said, undecodable=broken, width=edge, height=edge)
