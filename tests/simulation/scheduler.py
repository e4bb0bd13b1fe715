"""Runs many actors one step at a time on a virtual clock, in an order that one seed decides.

An actor is a greenlet of a process. Whatever it does to the store, the provider or the clock is a
scheduling point: there it may be put off, frozen or killed, and any other actor may go first.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from greenlet import getcurrent, greenlet

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
DAY = 86_400.0
MOST_STEPS = 60_000


class Killed(BaseException):
    """The process has died; nothing that it does from here on has any effect."""


class Stuck(Exception):
    """The actors go on and on without coming to an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How often what goes wrong, as chances at each point where it may; all ends at `quiet_at`.

    `sticky` is the chance that an actor goes on where another could; the fates are those of the
    provider's jobs and lines (tests/simulation/provider.py). No fault happens more than `most`
    times.
    """

    most: int = 10
    quiet_at: float = 0.0
    sticky: float = 0.0
    slow: float = 0.0
    slowest: float = 30.0
    freeze: float = 0.0
    longest_freeze: float = 600.0
    kill: float = 0.0
    jump: float = 0.0
    store: float = 0.0
    create: float = 0.0
    ask: float = 0.0
    download: float = 0.0
    lag: float = 0.0
    hidden: float = 0.0
    lost: float = 0.0
    twin: float = 0.0
    fate: float = 0.0
    line: float = 0.0
    call: float = 0.0
    remains: float = 0.0


@dataclass(eq=False, slots=True)
class Process:
    """One process of a machine: what dies together, and has a clock and a memory of its own."""

    pid: int
    machine: str
    skew: float = 0.0
    alive: bool = True
    frozen_until: float = 0.0
    actors: list["Actor"] = field(default_factory=list)


class Actor:
    """One thread of a process."""

    def __init__(self, world: "World", process: Process, name: str, work: Callable[[], object]):
        self.process = process
        self.name = name
        self.error: BaseException | None = None
        self._work = work
        self.greenlet = greenlet(self._run, parent=world.hub)
        self.done = False
        self.told = False

    def _run(self) -> None:
        try:
            self._work()
        except Killed as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - as a thread ends with it
            self.error = error
        finally:
            self.done = True


class World:
    """Everything that one seed decides."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self.seed = seed
        self.weather = weather
        self.random = Random(seed)
        self.tokens = Random(f"tokens {seed}")
        self.now = 0.0
        self.steps = 0
        self.hub = getcurrent()
        self.current: Actor | None = None
        self.faults: Counter[str] = Counter()
        self.log: list[str] | None = None
        self.on_end: Callable[[Actor], None] = lambda actor: None
        self._ready: list[Actor] = []
        self._timers: list[tuple[float, int, Actor | Callable[[], None]]] = []
        self._numbers = 0
        self._pids = 100
        self._processes: dict[tuple[str, int], Process] = {}
        self._doomed: list[Process] = []
        self._trace = hashlib.blake2b(digest_size=16)

    # What the seed and the actors did

    @property
    def quiet(self) -> bool:
        """Whether nothing goes wrong any more."""
        return self.now >= self.weather.quiet_at

    def chance(self, chance: float, fault: str) -> bool:
        """Whether a fault of this chance happens now; counts it."""
        if chance <= 0 or self.quiet or self.random.random() >= chance:
            return False
        if self.faults[fault] >= self.weather.most:
            return False
        self.faults[fault] += 1
        return True

    def seconds(self, longest: float, least: float = 0.05) -> float:
        """Some time up to `longest`: short ones as likely as long ones, by order of magnitude."""
        return float(least * (longest / least) ** self.random.random())

    def note(self, what: str) -> None:
        """Adds an effect to the trace by which two executions are compared."""
        actor = self.current
        line = f"{self.now:.3f} {actor.name if actor else '-'} {what}\n"
        self._trace.update(line.encode())
        if self.log is not None:
            self.log.append(line)

    @property
    def digest(self) -> str:
        """What happened so far, as one word."""
        return self._trace.copy().hexdigest()

    # Processes

    def process(self, machine: str) -> Process:
        """A new process on that machine."""
        self._pids += 1
        made = Process(pid=self._pids, machine=machine)
        self._processes[machine, made.pid] = made
        return made

    def is_alive(self, machine: str, pid: int) -> bool:
        """Whether that process runs."""
        found = self._processes.get((machine, pid))
        return found is not None and found.alive

    @property
    def running(self) -> Process:
        """The process whose actor runs now."""
        assert self.current is not None, "no actor runs"
        return self.current.process

    def spawn(self, process: Process, name: str, work: Callable[[], object]) -> Actor:
        """A new actor of the process, which begins when its turn comes."""
        actor = Actor(self, process, name, work)
        process.actors.append(actor)
        self._ready.append(actor)
        return actor

    def thread(self, work: Callable[[], object]) -> Actor:
        """A new actor of the process that runs now."""
        assert self.current is not None
        return self.spawn(self.running, f"{self.current.name.rstrip('+')}+", work)

    def at(self, moment: float, work: Callable[[], None]) -> None:
        """Has something done at that moment, by nobody of the actors."""
        self._numbers += 1
        heapq.heappush(self._timers, (max(moment, self.now), self._numbers, work))

    def kill(self, process: Process) -> None:
        """Ends the process where it stands; what it has done, stands."""
        process.alive = False
        self._doomed.append(process)

    # What actors call

    def point(self) -> None:
        """A place at which anything may happen before the actor goes on."""
        actor = self.current
        assert actor is not None
        process = actor.process
        if not process.alive:
            raise Killed
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Killed  # the hub says so
        weather = self.weather
        if self.now < weather.quiet_at:
            if self.chance(weather.kill, "killed"):
                self.note("killed")
                self.kill(process)
                raise Killed
            if self.chance(weather.freeze, "frozen"):
                process.frozen_until = self.now + self.seconds(weather.longest_freeze, 1.0)
            if self.chance(weather.jump, "clock jumped"):
                process.skew = self.random.uniform(-1500, 1500)
            if self.chance(weather.slow, "slow"):
                self.pause(self.seconds(weather.slowest))
                return
        if process.frozen_until > self.now:
            self.pause(process.frozen_until - self.now)
        elif self._ready and (not weather.sticky or self.random.random() >= weather.sticky):
            self._ready.append(actor)
            self.hub.switch()
            if not process.alive:
                raise Killed

    def pause(self, seconds: float) -> None:
        """Goes on after so many seconds, or later."""
        actor = self.current
        assert actor is not None
        if not actor.process.alive:
            raise Killed
        self.steps += 1
        self._numbers += 1
        heapq.heappush(self._timers, (self.now + seconds, self._numbers, actor))
        self.hub.switch()
        if not actor.process.alive:
            raise Killed

    # The clock of whoever runs (imagewave.clock.Clock)

    def moment(self) -> datetime:
        """The moment by the running process's calendar."""
        skew = self.current.process.skew if self.current else 0.0
        return EPOCH + timedelta(seconds=self.now + skew)

    # The hub

    def places(self) -> str:
        """Where in the product each actor stands that has not ended."""
        found = []
        for process in self._processes.values():
            for actor in process.actors:
                frame, calls = actor.greenlet.gr_frame, []
                while frame is not None and not actor.done:
                    name = frame.f_code.co_filename
                    if "/imagewave/" in name:
                        calls.append(f"{name.rpartition('/')[2]}:{frame.f_lineno}")
                    frame = frame.f_back
                if calls:
                    found.append(f"{actor.name}: {' < '.join(calls[:4])}")
        return "; ".join(found) or "nobody acts"

    def run(self, days: float, over: Callable[[], bool]) -> None:
        """Lets the actors act until all have come to an end, or `over` says that it is enough.

        Raises:
            Stuck: they have not, after so many days or too many steps.
        """
        while not over():
            if self.steps > MOST_STEPS:
                raise Stuck(f"no end after {MOST_STEPS} steps; {self.places()}")
            if self._ready:
                chosen = self._ready.pop(int(self.random.random() * len(self._ready)))
                if chosen.process.frozen_until > self.now and chosen.process.alive:
                    self._numbers += 1
                    wakes = (chosen.process.frozen_until, self._numbers, chosen)
                    heapq.heappush(self._timers, wakes)
                    continue
                self._let(chosen)
                continue
            if not self._timers:
                return
            moment, _, due = heapq.heappop(self._timers)
            self.now = max(self.now, moment)
            if self.now > days * DAY:
                raise Stuck(f"no end after {days:g} days; {self.places()}")
            if isinstance(due, Actor):
                self._ready.append(due)
            else:
                due()
            while self._timers and self._timers[0][0] <= self.now:
                _, _, also = heapq.heappop(self._timers)
                if isinstance(also, Actor):
                    self._ready.append(also)
                else:
                    also()

    def _let(self, actor: Actor) -> None:
        if actor.done:
            return
        self.current = actor
        try:
            if actor.process.alive:
                actor.greenlet.switch()
            else:
                self._bury(actor)
        finally:
            self.current = None
        ended = [actor]
        while self._doomed:
            ended += self._doomed.pop().actors
        for each in dict.fromkeys(ended):
            if not each.process.alive:
                self._bury(each)
            if each.done and not each.told:
                each.told = True
                self.on_end(each)

    def _bury(self, actor: Actor) -> None:
        if actor.done:
            return
        self.current = actor
        try:
            actor.greenlet.throw(Killed())
        except Killed:  # it had not begun
            pass
        finally:
            actor.done = True
            self.current = None

    def dispose(self) -> None:
        """Ends every actor that is left, so that no greenlet outlives its world."""
        for process in self._processes.values():
            process.alive = False
            for actor in process.actors:
                self._bury(actor)
