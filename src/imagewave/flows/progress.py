"""What a running wave tells whoever watches it: the terminal, Prefect, or nobody."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One stage of a wave: how many of its jobs and requests are done, and what it waits for."""

    stage: str
    jobs: int = 0
    jobs_done: int = 0
    requests: int = 0
    requests_done: int = 0
    note: str = ""


Watcher = Callable[[Progress], None]

_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Sends the progress of waves that run inside to `watcher` too."""
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


def tell(progress: Progress) -> None:
    """Tells the watchers, if there are any."""
    for watcher in _watchers.get():
        watcher(progress)
