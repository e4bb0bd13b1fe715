"""What a process of the simulation has of its own: its identity, its memory, its threads, its luck.

Nothing of the protocol is replaced, only what it asks of the machine.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psutil
from tests.simulation.calls import CallService, threading_of
from tests.simulation.facts import patched
from tests.simulation.provider import Client, Provider
from tests.simulation.scheduler import World

from imagewave import clock
from imagewave.flows import run as running
from imagewave.providers import failures, lanes, registry
from imagewave.providers.interactive import lane as interactive
from imagewave.providers.interactive import throttle, working
from imagewave.providers.protocol import Lane
from imagewave.storage.jobs import folder
from imagewave.storage.money import ledger
from imagewave.storage.store import Store
from imagewave.tasks.collecting import intake


class VirtualClock:
    """imagewave.clock.Clock, by the world's time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.now = world.moment

    def steady(self) -> float:
        return self._world.now

    def sleep(self, seconds: float) -> None:
        self._world.pause(seconds)


class AtOnce:
    """An executor that does the work where it is handed over."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001 - as a future does: whoever asks gets it
            future.set_exception(error)
        return future

    def shutdown(self, *_: Any, **__: Any) -> None:
        pass


@contextmanager
def living_in(world: World, provider: Provider, calls: CallService) -> Iterator[None]:
    """Has the protocol's modules ask this world for time, identity, chance and the provider."""

    def started(pid: int) -> float:
        if not world.is_alive(world.running.machine, pid):
            raise psutil.NoSuchProcess(pid)
        return float(pid)

    def token_hex(count: int) -> str:
        return f"{world.tokens.getrandbits(8 * count):0{2 * count}x}"

    def open_lane(name: str, store: Store) -> Lane:
        return calls.lane(store) if name == "interactive" else Client(provider)

    threads = threading_of(world)

    before = clock.use(VirtualClock(world))
    try:
        with patched(
            (folder, "os", SimpleNamespace(getpid=lambda: world.running.pid, readlink=os.readlink)),
            (folder, "_machine", lambda: world.running.machine),
            (folder, "_started", started),
            (folder, "secrets", SimpleNamespace(token_hex=token_hex)),
            (
                ledger,
                "uuid",
                SimpleNamespace(uuid4=lambda: SimpleNamespace(hex=token_hex(16))),
            ),
            (failures, "uniform", world.random.uniform),
            (intake, "ThreadPoolExecutor", AtOnce),
            (registry, "open_lane", open_lane),
            (lanes, "open_lane", open_lane),
            (interactive, "threading", threads),
            (working, "threading", threads),
            (working, "_AT_WORK", set()),
            (throttle, "threading", threads),
            (running, "secrets", SimpleNamespace(token_hex=token_hex)),
        ):
            yield
    finally:
        clock.use(before)
