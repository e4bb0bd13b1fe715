"""What one run of a wave works with: the store, the wave, its lane, and the worker processes."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import orjson

from imagewave.flows.steps import in_this_process
from imagewave.providers.lanes import Lanes, lanes_of
from imagewave.providers.protocol import Lane
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.money.ledger import Budget
from imagewave.storage.requests import Kind, digest
from imagewave.storage.rounds.rounds import Round
from imagewave.storage.store import Store
from imagewave.storage.waves.handover import absolute
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.jobs.submit import PROCESS, AdoptionTimes, Memory
from imagewave.tasks.judging.local_judge import require_libraries
from imagewave.tasks.screening.pool import Pool

_STAND_IN_S = 0.2
"""Between two looks at a stand-in, at the least: it has no quota to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What it takes to collect a job, for a wave's own run and for its helpers.

    `missing_hours`: so long is looked again for what a provider has done and does not deliver.
    """

    store: Store
    lanes: Lanes
    pool: Pool
    missing_hours: float

    def lane_of(self, job_id: str) -> Lane:
        """The lane that a planned job goes by."""
        return self.lane_named(JobFolder(self.store, job_id).plan().lane)

    def lane_named(self, name: str) -> Lane:
        """The lane of this name."""
        return self.lanes.named(name)

    def lane_for(self, model: str) -> Lane:
        """The lane that takes requests of this model."""
        return self.lanes.for_model(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Resources):
    """One run of one wave. `wait` says whether to wait for provider jobs or to come back later.

    `helpers` is how many runs on other workers it may ask to share its collecting.
    """

    wave: Wave
    wait: bool
    helpers: int = 0
    memory: Memory = field(default_factory=lambda: PROCESS)

    @property
    def lane(self) -> Lane:
        """The wave's own lane, which its pictures go by."""
        return self.lanes.named(self.wave.lane)

    @property
    def budget(self) -> Budget:
        """What may be spent."""
        return Budget(**self.wave.budget.model_dump())

    @property
    def adoption(self) -> AdoptionTimes:
        """How long doubt about a provider's answer lasts."""
        return AdoptionTimes(list_lag_s=self.wave.wait.list_lag_seconds)

    def note(self, kind: str, key: str, detail: str) -> None:
        """Records a finding about the wave as a whole, once."""
        finding = {
            "wave": self.wave.name,
            "job_id": "",
            "kind": kind,
            "key": key,
            "detail": detail,
        }
        part = f"{self.wave.name}-{self.wave.revision}-{digest(finding)}"
        facts.append(self.store, "findings", part, [finding])

    def round(self, kind: Kind, number: int) -> Round:
        """The n-th round of a kind in this revision of the wave."""
        return Round(wave=self.wave.name, revision=self.wave.revision, kind=kind, number=number)


_current: ContextVar[Resources] = ContextVar("run")


def current_resources() -> Resources:
    """What this flow works with. Tasks ask here, so that they are passed names, not objects."""
    return _current.get()


def current_run() -> Run:
    """The run of a wave that this flow is."""
    run = _current.get()
    assert isinstance(run, Run), "a helper knows no wave"
    return run


@contextmanager
def using(resources: Resources) -> Iterator[None]:
    """Has the tasks that run in the block work with these."""
    token = _current.set(resources)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def open_run(
    store: Store, wave: Wave, *, wait: bool, lane: str | None = None, helpers: int = 0
) -> Iterator[Run]:
    """A run of the wave, recorded in the facts; `lane` takes the place of the wave's."""
    wave = wave.model_copy(update={"lane": lane}) if lane else wave
    with Pool(max_pixels=wave.screen.max_pixels) as pool:
        lanes = Lanes(store, wave.lane)
        run = Run(
            store=store,
            wave=wave,
            lanes=lanes,
            pool=pool,
            missing_hours=wave.wait.missing_hours,
            wait=wait,
            helpers=helpers,
        )
        # All that it needs, before anything is recorded or paid for: a key may be refused.
        lanes.open(lanes_of(wave))
        if run.lane.realm == "sandbox":
            run = replace(run, wave=_looked_at_sooner(wave))
        pool.await_ready()
        if wave.judge.enabled and wave.judge.by == "local":
            require_libraries()
        record_wave(store, wave)
        try:
            with using(run), in_this_process():
                yield run
        finally:
            lanes.close()


def _looked_at_sooner(wave: Wave) -> Wave:
    """The wave as it waits for a stand-in, which ends its jobs within a second."""
    shortest, longest = wave.wait.poll_seconds
    wait = wave.wait.model_copy(update={"poll_seconds": (min(shortest, _STAND_IN_S), longest)})
    return wave.model_copy(update={"wait": wait})


def record_wave(store: Store, wave: Wave) -> None:
    """Records the wave and its briefs, once per revision."""
    part = f"{wave.name}-{wave.revision}"
    briefs = [
        {
            "wave": wave.name,
            "revision": wave.revision,
            "brief": brief.id,
            "text": brief.text,
            "want": brief.want,
            "aspect_ratio": brief.aspect_ratio,
            "use_case": brief.use_case or wave.use_case,
            "variables": orjson.dumps(dict(brief.variables)).decode(),
            "folder": wave.folder(brief.id),
        }
        for brief in wave.briefs
    ]
    facts.append(store, "briefs", part, briefs)
    current = query(store, "SELECT revision FROM waves WHERE wave = ?", [wave.name])
    if current == [{"revision": wave.revision}]:
        return
    # A file that was changed back is current again, so this part may not be named for its content.
    row = {
        "wave": wave.name,
        "revision": wave.revision,
        # `rerun` by the wave's name may be called from another folder.
        "file": absolute(wave.file) if wave.file else "",
        "spec": orjson.dumps(wave.spec()).decode(),
        "realm": store.realm or "",
        "series": wave.series,
        "edition": wave.edition,
    }
    facts.append(store, "waves", f"{part}-{secrets.token_hex(4)}", [row])
