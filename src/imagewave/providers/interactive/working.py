"""One process's work on one job of the lane `interactive`: its calls, made in threads.

An answer is paid for when it arrives. Where the store cannot take it, it stays in memory and is
written again until it is kept; `Work.held` says what is held. `end_all` ends the work of this
process without losing any: it waits for the calls that are under way.
"""

import atexit
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import orjson
import urllib3
from requests import ConnectionError as NoConnection
from requests import ConnectTimeout, RequestException, Response

from imagewave import clock
from imagewave.killpoints import reached
from imagewave.providers.caller import Caller, is_answer
from imagewave.providers.failures import policy_for, wait_before_retry
from imagewave.providers.interactive.throttle import Throttle
from imagewave.providers.wire.jsonl import Line
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import metered
from imagewave.storage.jobs.calls import CallFolder, read_input
from imagewave.storage.requests import FailureClass
from imagewave.storage.store import StoreError
from imagewave.words import counted, legible

PATIENCE = 10
"""How often a call that the provider had no room for is made again. Nothing is billed for that."""

LAST_TRIES_S = 60.0
"""How long an answer that the store does not take is written again after the work was to end."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0
_LINES_NAMED = 10
_LOG = logging.getLogger(__name__)

_AT_WORK: set["Work"] = set()
"""All work of this process that has begun and was not ended."""

# Statuses by which something between us and the provider says that it heard nothing more.
_GATEWAY = frozenset({408, 409, 499, 502, 504, 520, 522, 524})


def end(works: Iterable["Work"]) -> list[str]:
    """Has no more calls made, and returns when those under way are answered and kept.

    Returns, a sentence for each work, which answers the store did not take; they are given up.
    """
    ending = list(works)
    for work in ending:
        work.stop()
    for work in ending:
        work.join()
    return [held for work in ending if (held := work.held())]


def end_all() -> list[str]:
    """Ends all work of this process, as `end`."""
    return end(list(_AT_WORK))


def under_way() -> int:
    """How many calls this process has made whose answers are not kept yet."""
    return sum(work.under_way for work in list(_AT_WORK))


@atexit.register
def _end_with_process() -> None:
    for lost in end_all():
        print(f"Paid for, and lost: {legible(lost)}", file=sys.stderr)  # noqa: T201 - there is no command left that could


class Work:
    """One process's work on one job, in threads of its own."""

    def __init__(
        self,
        lane: str,
        folder: CallFolder,
        caller: Caller,
        throttle: Throttle,
        at_once: int,
        seen: dict[tuple[str, int], float],
    ) -> None:
        """`seen` keeps since when this process has known of other processes' calls."""
        self.lane = lane
        self.folder = folder
        self.caller = caller
        self.throttle = throttle
        self.lines = read_input(folder.store, folder.job.handle)
        self.failure: Exception | None = None
        """What has ended a thread of this work."""
        marks = folder.marks()
        self._others = {
            number: seen.setdefault((folder.token, number), clock.steady())
            for number in sorted(marks.under_way)
        }
        claimed = marks.answered | marks.lost | marks.under_way
        todo = [number for number in range(len(self.lines)) if number not in claimed]
        self._todo = iter(todo)
        self._lock = threading.Lock()
        self._held: dict[int, _Held] = {}
        self._calling: set[int] = set()  # lines that are claimed, and not yet answered for
        self._stopped_at: float | None = None
        # Daemons: `end` waits for them, and a process that is to end at once does not.
        self._threads = [
            threading.Thread(target=partial(self._run, first), name="call", daemon=True)
            for first in [True, *[False] * (min(at_once, len(todo)) - 1)]
        ]
        self._running = len(self._threads)

    def start(self) -> None:
        """Gives up what others died over, and calls what nobody else does."""
        _AT_WORK.add(self)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Has no more calls made."""
        if self._stopped_at is None:
            self._stopped_at = clock.steady()

    def join(self) -> None:
        """Waits until no call is under way, and the answers are kept, or given up."""
        for thread in self._threads:
            thread.join()

    def is_over(self) -> bool:
        """Whether nothing is done any more."""
        return self._running == 0

    @property
    def under_way(self) -> int:
        """How many calls are made and not yet answered for."""
        return len(self._calling)

    def wanted(self) -> bool:
        """Whether calls may still be made."""
        return self._stopped_at is None

    def held(self) -> str:
        """What is in memory alone, and why, in a sentence; "" where all is kept."""
        with self._lock:
            held = dict(self._held)
        if not held:
            return ""
        numbers = [str(number) for number in sorted(held)]
        more = ["…"] if len(numbers) > _LINES_NAMED else []
        worth = [usd for item in held.values() if (usd := item.usd) is not None]
        unknown = len(held) - len(worth)
        return (
            f"{counted(len(held), 'answer')} of job {self.folder.token} (lines"
            f" {', '.join(numbers[:_LINES_NAMED] + more)}), worth ${sum(worth, Decimal(0)):.4f}"
            f"{f' and {unknown} of unknown price' if unknown else ''}, cannot be written:"
            f" {next(iter(held.values())).error}"
        )

    def _run(self, first: bool) -> None:
        try:
            if first:
                self._give_up_the_dead()
            while (number := self._next()) is not None:
                self._call(number)
        except Exception as error:  # noqa: BLE001 - `poll` raises it where it is heard
            self.failure = self.failure or error
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    _AT_WORK.discard(self)

    def _give_up_the_dead(self) -> None:
        for number, since in self._others.items():
            watched = timedelta(seconds=clock.steady() - since)
            if self.folder.is_abandoned(number, watched):
                self.folder.lose(number, "the process that made the call has died")

    def _next(self) -> int | None:
        with self._lock:
            if not self.wanted() or self.folder.is_cancelled():
                return None
            return next(self._todo, None)

    def _call(self, number: int) -> None:
        line: dict[str, Any] = orjson.loads(self.lines[number])
        try:
            self._call_for(number, line)
        finally:
            self._calling.discard(number)

    def _call_for(self, number: int, line: Mapping[str, Any]) -> None:
        try:
            response = self._answer(number, line)
        except RequestException as error:
            self._lose(number, f"no answer: {type(error).__name__}")
            return
        if response is None:
            return
        reached("call.before_answer")
        if not is_answer(response) and not self.caller.error_answer(response).from_provider:
            self._lose(number, f"no proper answer: HTTP {response.status_code}")
            return
        answer = self.caller.wrap(line, response)
        self._keep(number, partial(self.folder.answer, number, answer), partial(self._usd, answer))

    def _lose(self, number: int, why: str) -> None:
        self._keep(number, partial(self.folder.lose, number, why), lambda: None)

    def _keep(
        self, number: int, write: Callable[[], None], worth: Callable[[], Decimal | None]
    ) -> None:
        """Writes what came of a call, again and again until the store has taken it.

        Gives it up, held, only where the work is to end and that has lasted too long.
        """
        begun, pause = clock.steady(), _FIRST_PAUSE_S
        while True:
            try:
                write()
            except StoreError as error:
                with self._lock:
                    if number not in self._held:
                        self._held[number] = _Held(error=error, usd=worth())
                        _LOG.warning("Line %d of job %s: %s", number, self.folder.token, error)
                stopped = self._stopped_at
                if stopped is not None and clock.steady() - max(begun, stopped) > LAST_TRIES_S:
                    return
                clock.sleep(pause)
                pause = min(_LONGEST_PAUSE_S, pause * 2)
                continue
            with self._lock:
                self._held.pop(number, None)
            return

    def _usd(self, answer: bytes) -> Decimal | None:
        """What an answer has cost, as far as it says; None where it does not."""
        try:
            outcome = self.caller.read(Line(bytearray(answer), len(answer)), lambda key: True)
            if outcome.usage is None:
                return None
            model = find_model(self.folder.job.model)
            return metered(model, outcome.usage, lane=self.lane, at=clock.now().date())
        except Exception:  # noqa: BLE001 - a price that cannot be told must not cost the answer
            return None

    def _answer(self, number: int, line: Mapping[str, Any]) -> Response | None:
        """The provider's last word on the line; None where the line is another process's.

        The claim is made at the last moment: what waits for room is nobody's yet.

        Raises:
            RequestException: none came; the call may have been heard.
        """
        tries: Counter[bool] = Counter()  # by whether there was merely no room
        while True:
            with self.throttle.slot(self.wanted) as free:
                if not free:
                    if tries:  # all of them were refused before anything was done
                        self.folder.unclaim(number)
                    return None
                if not tries:
                    if not self.folder.claim(number):
                        return None
                    if self.folder.is_cancelled():
                        self.folder.unclaim(number)
                        return None
                    self._calling.add(number)
                    reached("call.after_claim")
                try:
                    response = self.caller.post(self.folder.job.model, line)
                except (ConnectTimeout, NoConnection) as error:
                    tries[False] += 1
                    if not _never_sent(error) or tries[False] >= _tries(full=False):
                        raise
                    self.throttle.refused(_pause(tries[False], None))
                    continue
            status = response.status_code
            if is_answer(response):
                self.throttle.answered()
                return response
            error_answer = self.caller.error_answer(response)
            full = status == 429
            tries[full] += 1
            if not error_answer.from_provider or error_answer.retry is False or status in _GATEWAY:
                return response
            if tries[full] >= _tries(full=full):
                return response
            told = None if error_answer.retry is True else float(error_answer.retry)
            self.throttle.refused(_pause(tries[full], told))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """An answer that the store has not taken yet: why not, and what it cost in USD, if known."""

    error: StoreError
    usd: Decimal | None


def _tries(*, full: bool) -> int:
    return PATIENCE if full else policy_for(FailureClass.TRANSIENT).attempts


def _pause(tries: int, told: float | None) -> float:
    return wait_before_retry(FailureClass.TRANSIENT, "", tries, told)


def _never_sent(error: Exception) -> bool:
    """Whether not even a connection was made."""
    if isinstance(error, ConnectTimeout):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)
