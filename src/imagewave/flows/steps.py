"""Steps of a wave: functions that Prefect runs as tasks where Prefect runs the wave.

Anywhere else they are plain calls. What a step has done stands in the facts, so who carries it out
changes nothing in what comes of it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Generic, ParamSpec, Protocol, TypeVar

from imagewave.tasks.collecting.sharing import AT_ONCE, Started

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function that is one piece of work: on one job, or on one stage of a wave.

    A step on a job has a parameter `job_id`. Arguments are passed by position.
    """

    def __init__(self, fn: Callable[P, R], name: str, *, of_job: bool) -> None:
        self.fn = fn
        self.name = name
        self.of_job = of_job

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Does the step, and returns what comes of it."""
        return _runner.get().call(self, *args, **kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Started:
        """Starts the step in the background."""
        return _runner.get().submit(self, *args, **kwargs)


def step(name: str, *, of_job: bool = False) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Makes a function a step."""

    def made(fn: Callable[P, R]) -> Step[P, R]:
        return Step(fn, name, of_job=of_job)

    return made


class Runner(Protocol):
    """Who carries out steps."""

    def call(self, step: Step[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Does the step here and now."""
        ...

    def submit(self, step: Step[P, R], *args: P.args, **kwargs: P.kwargs) -> Started:
        """Starts the step in the background."""
        ...


class Threads:
    """Carries out steps in this process; those in the background in threads of a pool."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def call(self, step: Step[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the step's function."""
        return step.fn(*args, **kwargs)

    def submit(self, step: Step[P, R], *args: P.args, **kwargs: P.kwargs) -> Started:
        """Calls the step's function in a thread, which sees the context variables of now."""
        context = copy_context()
        return self._pool.submit(lambda: context.run(step.fn, *args, **kwargs))


_runner: ContextVar[Runner] = ContextVar("runner")


@contextmanager
def carried_out_by(runner: Runner) -> Iterator[None]:
    """Has this runner carry out the steps that are called in the block."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)


@contextmanager
def in_this_process() -> Iterator[None]:
    """Has the block's steps carried out here; ends when those in the background have ended."""
    with (
        ThreadPoolExecutor(AT_ONCE, thread_name_prefix="step") as pool,
        carried_out_by(Threads(pool)),
    ):
        yield
