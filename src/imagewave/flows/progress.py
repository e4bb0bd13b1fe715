"""What a running wave tells whoever watches it: the terminal, Prefect, or nobody."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One stage of a wave: how many of its jobs and requests are done, and what it waits for.

    `tried_again` counts further attempts at requests that failed; they add none to `requests`.
    """

    stage: str
    jobs: int = 0
    jobs_done: int = 0
    requests: int = 0
    requests_done: int = 0
    tried_again: int = 0
    note: str = ""


Watcher = Callable[[Progress], None]

_LOG = logging.getLogger(__name__)

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
    """Tells the watchers, if there are any; one that fails (a closed terminal) ends no wave."""
    for watcher in _watchers.get():
        try:
            watcher(progress)
        except Exception:  # noqa: BLE001 - a wave is paid for, and goes on unwatched
            _LOG.exception("The progress of %s could not be shown", progress.stage)
