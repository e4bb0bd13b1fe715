"""The time, and waiting for it to pass: the one place that asks the machine's clocks.

The job protocol reads time through this module, so that a simulation can put a virtual clock in its
place with `use`.
"""

import time
from datetime import UTC, datetime
from typing import Protocol

# Counts while the machine sleeps as well, where there is such a clock: a claimer that wakes up
# must know how old its claim is.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> datetime:
        """The moment by the calendar, in UTC. Somebody may set it."""
        ...

    def steady(self) -> float:
        """Seconds since some moment; nobody can set this clock, and it runs during sleep."""
        ...

    def sleep(self, seconds: float) -> None:
        """Returns after so many seconds."""
        ...


class _Machine:
    """The clocks of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def steady(self) -> float:
        return time.clock_gettime(_STEADY)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


_clock: Clock = _Machine()


def now() -> datetime:
    """The moment by the calendar, in UTC."""
    return _clock.now()


def steady() -> float:
    """Seconds since some moment, by a clock that nobody can set."""
    return _clock.steady()


def sleep(seconds: float) -> None:
    """Returns after so many seconds."""
    _clock.sleep(seconds)


def use(clock: Clock) -> Clock:
    """Has the whole process tell time by another clock; returns the one it used so far."""
    global _clock
    before, _clock = _clock, clock
    return before
