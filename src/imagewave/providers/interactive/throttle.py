"""How many calls may be made at once, found out by making them.

The window opens by one call for every window's worth of answers, and closes to half when the
provider says that it is too much, as TCP does.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imagewave import clock

FIRST_WINDOW = 4.0
_LOOK_S = 1.0
"""How often those who wait look whether their call is still wanted."""


class Throttle:
    """Slots for calls, shared by the threads of one process."""

    def __init__(self, most: int, clock: Callable[[], float] = clock.steady) -> None:
        self._most = float(most)
        self._window = min(FIRST_WINDOW, self._most)
        self._clock = clock
        self._busy = 0
        self._closed_until = 0.0
        self._changed = threading.Condition()

    @property
    def window(self) -> int:
        """How many calls may be under way now."""
        return int(self._window)

    @contextmanager
    def slot(self, wanted: Callable[[], bool] = lambda: True) -> Iterator[bool]:
        """Waits until one more call may be made, which is True; or until none is wanted."""
        with self._changed:
            while wanted() and (wait := self._wait()) != 0:
                self._changed.wait(_LOOK_S if wait is None else min(wait, _LOOK_S))
            free = wanted()
            self._busy += free
        try:
            yield free
        finally:
            with self._changed:
                self._busy -= free
                self._changed.notify_all()

    def answered(self) -> None:
        """The provider has taken a call: room for a little more."""
        with self._changed:
            self._window = min(self._most, self._window + 1 / self._window)
            self._changed.notify_all()

    def refused(self, wait: float) -> None:
        """The provider has had too much: half as much, and not before so many seconds."""
        with self._changed:
            # Calls that were under way together are refused together: that is one lesson.
            if self._clock() >= self._closed_until:
                self._window = max(1.0, self._window / 2)
            self._closed_until = max(self._closed_until, self._clock() + wait)

    def _wait(self) -> float | None:
        """Seconds until a slot may be free; 0: now; None: until somebody says so."""
        closed = self._closed_until - self._clock()
        if closed > 0:
            return closed
        return 0 if self._busy < int(self._window) else None
