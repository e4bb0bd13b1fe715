"""The lane `interactive`: synchronous calls, several at once, as fast as the provider allows.

A job lives in the store (`imagewave.storage.calls`), so it can be found, resumed and collected by
any process. Each call is claimed before it is made: one whose answer was lost, in a crash or on
the way, may have been billed. It comes back as CALL_UNANSWERED, at the estimated cost; whether it
is asked again is decided, and recorded, like that of any other failure.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson
import urllib3
from requests import ConnectionError as NoConnection
from requests import ConnectTimeout, RequestException, Response

from imagewave.errors import ImagewaveError
from imagewave.killpoints import reached
from imagewave.storage.calls import CallFolder, CallJob, read_input, write_input
from imagewave.storage.catalog import find_model
from imagewave.storage.requests import FailureClass, Request, Status
from imagewave.storage.store import Store
from imagewave.tasks.failures import policy_for, wait_before_retry
from imagewave.tasks.providers.callers import (
    AnthropicCaller,
    Caller,
    GeminiCaller,
    OpenAICaller,
    check_key,
)
from imagewave.tasks.providers.jsonl import Line
from imagewave.tasks.providers.protocol import (
    CALL_UNANSWERED,
    JobState,
    JobStatus,
    Outcome,
    Rejected,
    ResultsGone,
    Unavailable,
)
from imagewave.tasks.providers.spool import spooled
from imagewave.tasks.providers.throttle import Throttle

AT_ONCE = 16
"""The most calls of one process that are under way together."""

PATIENCE = 10
"""How often a call that the provider had no room for is made again. Nothing is billed for that."""

# Statuses by which something between us and the provider says that it heard nothing more.
_GATEWAY = frozenset({408, 409, 499, 502, 504, 520, 522, 524})


class NoKey(ImagewaveError):
    """No API key is set."""


class InteractiveLane:
    """Calls to all providers whose keys there are; a job is one model's, so one provider's."""

    name = "interactive"
    max_requests = 500
    max_bytes = 100_000_000
    at_once = AT_ONCE

    def __init__(self, store: Store, callers: Mapping[str, Caller]) -> None:
        self._store = store
        self._callers = dict(callers)
        self._refused: dict[str, Rejected] = {}
        self._throttles = {provider: Throttle(self.at_once) for provider in callers}
        self._at_work: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_environment(
        cls, store: Store, environ: Mapping[str, str] = os.environ
    ) -> "InteractiveLane":
        """The lane for the keys in the environment.

        Raises:
            NoKey: there are none.
        """
        found = {
            "google": GeminiCaller.from_environment(environ),
            "openai": OpenAICaller.from_environment(environ),
            "anthropic": AnthropicCaller.from_environment(environ),
        }
        callers: dict[str, Caller] = {name: caller for name, caller in found.items() if caller}
        if not callers:
            raise NoKey(
                "There is no provider's key.",
                "Set GEMINI_API_KEY, OPENAI_API_KEY or ANTHROPIC_API_KEY.",
            )
        return cls(store, callers)

    @property
    def realm(self) -> str:
        """Live, where any of the providers is."""
        return min(caller.realm for caller in self._callers.values())

    def check_access(self) -> None:
        """Tries the keys; one that is refused stops only who needs it, unless all are."""
        for provider, caller in self._callers.items():
            try:
                check_key(caller)
            except Rejected as refusal:
                self._refused[provider] = refusal
            except RequestException as error:
                raise Unavailable(f"No answer from {provider}: {type(error).__name__}.") from None
        if self._refused.keys() >= self._callers.keys():
            raise next(iter(self._refused.values()))

    def prepare(
        self,
        requests: Iterable[Request],
        read_image: Callable[[str], bytes],
        display_name: str,
    ) -> str:
        """Keeps the input in the store and returns its handle.

        Raises:
            Rejected: it would be larger than `max_bytes`, or the provider's key is refused.
        """

        def line(request: Request, reference: Callable[[str, int | None], bytes]) -> bytes:
            return self._caller(request.model)[1].line(request, reference)

        with spooled(
            requests, line, read_image, max_bytes=self.max_bytes, display_name=display_name
        ) as spool:
            spool.seek(0)
            return write_input(self._store, spool.read())

    def create(self, handle: str, model: str, token: str) -> str:
        """Starts the job; the same token starts it once, so there is never any doubt."""
        self._caller(model)
        try:
            count = len(read_input(self._store, handle))
        except FileNotFoundError:
            raise Rejected(
                f"There is no input {handle!r}.", "Prepare it again.", FailureClass.INVALID
            ) from None
        folder = CallFolder(self._store, token)
        folder.start(CallJob(handle=handle, model=model, count=count))
        self._work_on(folder)
        return token

    def find(self, token: str) -> list[str]:
        """The job of this token, if it was started."""
        return [token] if CallFolder(self._store, token).exists() else []

    def poll(self, name: str) -> JobStatus:
        """Looks at the job, and takes it up where nobody in this process works on it.

        Raises:
            Rejected: there is no such job.
        """
        folder = self._folder(name)
        count = folder.job.count
        # In this order: who claims a line after this look sees the cancellation, and does not call.
        cancelled = folder.is_cancelled()
        marks = folder.marks()
        answered, lost = len(marks.answered), len(marks.lost)
        state = JobState.RUNNING
        if answered + lost == count:
            state = JobState.SUCCEEDED
        elif not marks.under_way and cancelled:
            state = JobState.CANCELLED
        else:
            self._work_on(folder)
        return JobStatus(name=name, state=state, total=count, succeeded=answered, failed=lost)

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        """What came back, in the order of the requests.

        Raises:
            ResultsGone: there is nothing.
        """
        folder = self._folder(name)
        _, caller = self._caller(folder.job.model)
        lines = read_input(self._store, folder.job.handle)
        nothing = True
        for number, answer, why in folder.results():
            nothing = False
            if answer is not None:
                yield caller.read(Line(bytearray(answer), len(answer)), wants_image)
                continue
            yield Outcome(
                key=caller.key(orjson.loads(lines[number])),
                status=Status.MISSING,
                failure=FailureClass.TRANSIENT,
                reason=CALL_UNANSWERED,
                message=why,
            )
        if nothing:
            raise ResultsGone(f"The job {name} was cancelled before its first call.")

    def cancel(self, name: str) -> None:
        """Makes no more calls; those under way are waited for, as they are billed."""
        self._folder(name).cancel()

    def _folder(self, name: str) -> CallFolder:
        folder = CallFolder(self._store, name)
        if not folder.exists():
            raise Rejected(f"There is no job {name!r}.", "", FailureClass.INVALID)
        return folder

    def _caller(self, model: str) -> tuple[str, Caller]:
        provider = find_model(model).provider
        if provider in self._refused:
            raise self._refused[provider]
        if provider not in self._callers:
            raise Rejected(
                f"There is no key for {model!r}.",
                "Set the key of its provider.",
                FailureClass.INVALID,
            )
        return provider, self._callers[provider]

    def _work_on(self, folder: CallFolder) -> None:
        with self._lock:
            thread = self._at_work.get(folder.token)
            if thread is None or not thread.is_alive():
                provider, caller = self._caller(folder.job.model)
                work = _Work(folder, caller, self._throttles[provider], self.at_once)
                # Nothing is lost with such a thread: its calls are claimed.
                thread = threading.Thread(target=work.run, name="calls", daemon=True)
                self._at_work[folder.token] = thread
                thread.start()


class _Work:
    """One process's work on one job."""

    def __init__(
        self, folder: CallFolder, caller: Caller, throttle: Throttle, at_once: int
    ) -> None:
        self.folder = folder
        self.caller = caller
        self.throttle = throttle
        self.at_once = at_once
        self.lines = read_input(folder.store, folder.job.handle)
        marks = folder.marks()
        self._under_way = marks.under_way
        claimed = marks.answered | marks.lost | marks.under_way
        self._todo = iter([n for n in range(len(self.lines)) if n not in claimed])
        self._lock = threading.Lock()

    def run(self) -> None:
        """Gives up what others died over, and calls what nobody else does."""
        for number in self._under_way:
            if self.folder.is_abandoned(number):
                self.folder.lose(number, "the process that made the call has died")
        helpers = [
            threading.Thread(target=self._run, name="call", daemon=True)
            for _ in range(min(self.at_once, len(self.lines)) - 1)
        ]
        for helper in helpers:
            helper.start()
        self._run()
        for helper in helpers:
            helper.join()

    def _run(self) -> None:
        while (number := self._next()) is not None:
            self._call(number)

    def _next(self) -> int | None:
        with self._lock:
            if self.folder.is_cancelled():
                return None
            return next(self._todo, None)

    def _call(self, number: int) -> None:
        line: dict[str, Any] = orjson.loads(self.lines[number])
        try:
            response = self._answer(number, line)
        except RequestException as error:
            self.folder.lose(number, f"no answer: {type(error).__name__}")
            return
        if response is None:
            return
        reached("call.before_answer")
        if response.status_code != 200 and not self.caller.no(response).own:
            self.folder.lose(number, f"no proper answer: HTTP {response.status_code}")
            return
        self.folder.answer(number, self.caller.wrap(line, response))

    def _answer(self, number: int, line: Mapping[str, Any]) -> Response | None:
        """The provider's last word on the line; None where the line is another process's.

        The claim is made at the last moment: what waits for room is nobody's yet.

        Raises:
            RequestException: none came; the call may have been heard.
        """
        tries: Counter[bool] = Counter()  # by whether there was merely no room
        while True:
            with self.throttle.slot():
                if not tries:
                    if not self.folder.claim(number):
                        return None
                    if self.folder.is_cancelled():
                        self.folder.unclaim(number)
                        return None
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
            if status == 200:
                self.throttle.answered()
                return response
            no = self.caller.no(response)
            full = status == 429
            tries[full] += 1
            if not no.own or no.again is False or status in _GATEWAY:
                return response
            if tries[full] >= _tries(full=full):
                return response
            told = None if no.again is True else float(no.again)
            self.throttle.refused(_pause(tries[full], told))


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
