"""One seed, one run: waves on a store and a provider of their own, until all have ended.

The waves are run by the production code: their loop, rounds, jobs, calls, ledger and facts, and the
survey of `watch`. What stands around them is here: which processes there are, and when one is
started again.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.simulation import facts as simulated_facts
from tests.simulation.auditor import Auditor, Violation
from tests.simulation.calls import CallService
from tests.simulation.memory import MemoryFiles
from tests.simulation.plans import Plan
from tests.simulation.provider import Provider
from tests.simulation.runs import StillOpen, UnmeasuredPool, run_wave
from tests.simulation.scheduler import DAY, Actor, Killed, Stuck, World
from tests.simulation.seams import living_in

from imagewave.errors import ImagewaveError
from imagewave.providers import registry
from imagewave.storage.money.ledger import BudgetExceeded
from imagewave.storage.rounds.reruns import assets_part
from imagewave.storage.store import Store
from imagewave.tasks.jobs.attempt import Waiting
from imagewave.tasks.jobs.handed_over import survey, take_in
from imagewave.tasks.jobs.submit import Quarantined

DAYS = 12.0
"""After so many virtual days everything must have ended."""

WATCH_S = 900.0
"""How often `watch` looks."""

_FIRST_PAUSE_S = 600.0

_LEFT_TO_A_PERSON = 3
"""A run that says so often, undisturbed, that a person must act, has come to its end."""


@dataclass(slots=True, kw_only=True)
class Ended:
    """How a run came out."""

    seed: int
    digest: str
    steps: int
    days: float
    violations: list[Violation]
    faults: Counter[str]
    remains: Counter[str]
    ends: Counter[str]
    billed: int
    double_spends: int
    asked_duckdb: Counter[str]
    log: list[str] = field(default_factory=list)


def run(plan: Plan, *, exact: bool = False, log: bool = False) -> Ended:
    """Lets the run happen. `exact`: with Parquet and DuckDB, which must change nothing."""
    world = World(plan.seed, plan.weather)
    if log:
        world.log = []
    return Simulation(world, plan).happen(exact)


class Simulation:
    """The processes of one run and what they share."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.provider = Provider(world)
        self.calls = CallService(world)
        self.contents = {"store.json": b'{"format": 1, "id": "0123456789abcdef0123456789abcdef"}'}
        self.auditor = Auditor(
            provider=self.provider,
            calls=self.calls,
            files=self.contents,
            budgets={w.name: w.wave_usd for w in plan.waves if w.wave_usd is not None},
            day_usd=plan.waves[0].day_usd,
        )
        self.files = MemoryFiles(world, self.contents, self.auditor)
        self.provider.on_accept = self.auditor.accepted
        self.provider.on_bill = self.auditor.billed
        self.calls.on_call = self.auditor.called
        self.ends: Counter[str] = Counter()
        self.over: set[str] = set()
        self._refused: Counter[str] = Counter()
        self._waves = {wave.name: wave for wave in plan.waves}
        self._mains: dict[Actor, str] = {}
        self._sent: dict[str, tuple[int, float]] = {}
        world.on_end = self._ended

    def happen(self, exact: bool) -> Ended:
        """Lets it happen."""
        answering: AbstractContextManager[Counter[str]]
        if exact:
            self.auditor.rows = partial(_parquet_rows, self.contents)
            answering = simulated_facts.exact(self.contents.__getitem__)
        else:
            self.auditor.rows = lambda path: simulated_facts.decode(self.contents[path])
            answering = simulated_facts.shortcut(self.contents.__getitem__)
        with answering as asked_duckdb, living_in(self.world, self.provider, self.calls):
            for wave in self.plan.waves:
                for number in range(wave.processes):
                    self._start(wave.name, self.world.seconds(300.0) if number else 0.0)
            if not self.plan.waves[0].patient:
                self._watch_later()
            try:
                self.world.run(DAYS, lambda: bool(self.auditor.violations))
                if not self.auditor.violations:
                    self.auditor.close(self._waves.keys() - self._refused.keys())
            except Stuck as stuck:
                left = ", ".join(name for name in self._waves if name not in self.over)
                self.auditor.found("comes to an end", f"{left}: {stuck}")
            finally:
                self.world.dispose()
        return Ended(
            seed=self.plan.seed,
            digest=self.world.digest,
            steps=self.world.steps,
            days=self.world.now / DAY,
            violations=self.auditor.violations,
            faults=self.world.faults,
            remains=self.auditor.remains,
            ends=self.ends,
            billed=self.auditor.pictures_billed(),
            double_spends=self.auditor.double_spends(),
            asked_duckdb=asked_duckdb,
            log=self.world.log or [],
        )

    # Runs of waves

    def _start(self, name: str, after: float) -> None:
        def begin() -> None:
            if name not in self.over:
                work = partial(run_wave, self.world, self._store(), self._waves[name])
                self._mains[self._spawn(name, work)] = name

        self.world.at(self.world.now + after, begin)

    def _spawn(self, name: str, work: Any) -> Actor:
        process = self.world.process(self.world.random.choice(("here", "there")))
        return self.world.spawn(process, f"{name}/{process.pid}", work)

    def _store(self) -> Store:
        return Store("memory://simulation", self.files)

    def _ended(self, actor: Actor) -> None:
        if actor is not actor.process.actors[0]:
            return
        error = actor.error
        if error is None or isinstance(error, StillOpen | Waiting | BudgetExceeded):
            self.auditor.ended(actor.process)
        self.world.kill(actor.process)  # its other threads end with it
        name = self._mains.pop(actor, "watch")
        word = type(error).__name__ if error else "done"
        self.world.note(f"{name} ends: {word} {error if isinstance(error, ImagewaveError) else ''}")
        self.ends[word] += 1
        if isinstance(error, StillOpen):
            self.over.discard(name)  # another process of the wave had ended before this was found
        if not isinstance(error, Killed | StillOpen | ImagewaveError | None):
            self.auditor.found("says what is wrong", f"{name}: {error!r}{_place(error)}")
        elif name == "watch":
            pass  # the next look comes by itself
        elif error is None or self._is_left_to_a_person(name, error):
            self.over.add(name)
        elif self._waves[name].patient or f"waiting/{name}.json" not in self.contents:
            self._start(name, self._pause(error))

    def _is_left_to_a_person(self, name: str, error: BaseException) -> bool:
        if self.world.quiet and isinstance(error, Quarantined | BudgetExceeded):
            self._refused[name] += 1
        return self._refused[name] >= _LEFT_TO_A_PERSON

    def _pause(self, error: BaseException) -> float:
        """After how many seconds whoever runs the wave runs it again."""
        if isinstance(error, StillOpen | BudgetExceeded | Quarantined):
            return self.world.random.uniform(1800.0, 6 * 3600.0)
        return self.world.seconds(600.0, 1.0)

    # Watch

    def _watch_later(self) -> None:
        self.world.at(self.world.now + WATCH_S, self._watch)

    def _watch(self) -> None:
        for name, planned in self._waves.items():
            part = assets_part(name, planned.wave.revision, 0)
            delivered = f"facts/assets/{part}.parquet" in self.contents
            if delivered and f"waiting/{name}.json" not in self.contents:
                self.over.add(name)  # it is `watch` that has taken it back
        if self.over >= self._waves.keys() and not self._second_jobs():
            return
        self._spawn("watch", self._survey)
        self._watch_later()

    def _second_jobs(self) -> bool:
        """Whether there are jobs that were given up, and that nobody has taken in."""
        given_up = [p.rpartition("/")[0] for p in self.contents if p.endswith("/abandoned.json")]
        return any(f"{folder}/settled.json" not in self.contents for folder in given_up)

    def _survey(self) -> None:
        store = self._store()
        # By name at this moment: the lane is this world's.
        found = survey(store, lambda name: registry.open_lane(name, store))
        take_in(store, found.leftovers, UnmeasuredPool())  # type: ignore[arg-type]
        for due in found.due:
            name = due.handover.wave
            # As `flows/prefect/watch.py`: ever longer pauses while nothing happens to the jobs.
            tries, again_at = self._sent.get(due.moment, (0, 0.0))
            if name not in self._mains.values() and self.world.now >= again_at:
                pause = min(DAY, _FIRST_PAUSE_S * 2**tries)
                self._sent[due.moment] = tries + 1, self.world.now + pause
                self.world.note(f"sent on {name}: {', '.join(due.reasons)}")
                self._start(name, 0.0)


def _place(error: BaseException) -> str:
    """Where in the product the error was raised."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/imagewave/" in code.co_filename:
            place = f" at {code.co_filename.rpartition('/imagewave/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _parquet_rows(contents: Mapping[str, bytes], path: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(contents[path])).to_pylist()
    return rows
