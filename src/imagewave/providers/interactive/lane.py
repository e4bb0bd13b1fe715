"""The lane `interactive`: synchronous calls, several at once, as fast as the provider allows.

A job lives in the store (`imagewave.storage.jobs.calls`), so it can be found, resumed and collected
by any process. Each call is claimed before it is made: one whose answer was lost, in a crash or on
the way, may have been billed. It comes back as CALL_UNANSWERED, at the estimated cost; whether it
is asked again is decided, and recorded, like that of any other failure.

What a process does on a job is in `working`. It holds an answer that the store cannot take until it
can; `poll` says so, and `close` ends the work without losing any.
"""

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property

import orjson
from requests import RequestException

from imagewave.errors import ImagewaveError
from imagewave.providers.caller import Caller, check_key
from imagewave.providers.interactive.throttle import Throttle
from imagewave.providers.interactive.working import Work, end
from imagewave.providers.protocol import (
    CALL_UNANSWERED,
    AnswersLost,
    JobState,
    JobStatus,
    NoResults,
    Outcome,
    Rejected,
    Unavailable,
)
from imagewave.providers.provider import NoKey
from imagewave.providers.registry import callers, with_keys
from imagewave.providers.wire.input_file import spooled
from imagewave.providers.wire.jsonl import Line
from imagewave.storage.catalog import find_model
from imagewave.storage.jobs.calls import CallFolder, CallJob, Marks, read_input, write_input
from imagewave.storage.realms import Realm
from imagewave.storage.requests import FailureClass, Request, Status
from imagewave.storage.store import Store
from imagewave.words import counted

_LOG = logging.getLogger(__name__)

AT_ONCE = 16
"""The most calls of one process that are under way together."""


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
        self._at_work: dict[str, Work] = {}
        self._seen: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_environment(
        cls, store: Store, environ: Mapping[str, str] = os.environ
    ) -> "InteractiveLane":
        """The lane for the keys in the environment.

        Raises:
            NoKey: there are none.
        """
        found = callers(environ)
        if not found:
            keys = [each.access.keys[0] for each in with_keys().values() if each.access]
            raise NoKey("There is no provider's key.", f"Set {' or '.join(keys)}.")
        return cls(store, found)

    @cached_property
    def realm(self) -> str:
        """That of all providers whose keys there are.

        Raises:
            ImagewaveError: some of them are the sandbox, and others are not.
        """
        of = {provider: caller.realm for provider, caller in self._callers.items()}
        if len(set(of.values())) > 1:
            stand_ins = [name for name, realm in of.items() if realm == Realm.SANDBOX]
            real = [name for name, realm in of.items() if realm == Realm.LIVE]
            raise ImagewaveError(
                f"The addresses of {' and '.join(stand_ins)} are the sandbox's, and those of"
                f" {' and '.join(real)} are not: single calls go to all providers with a key.",
                "Unset the sandbox's addresses, or the keys of the others.",
            )
        return next(iter(of.values()))

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
            raise _all_refused(self._refused.values())

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

    def listed(self) -> Iterator[tuple[str, str]]:
        """None: a token names one job."""
        return iter(())

    def poll(self, name: str) -> JobStatus:
        """Looks at the job, and takes it up where nobody in this process works on it.

        Raises:
            Rejected: there is no such job.
            StoreError: the store has stopped this process's work on it, which holds no answers.
        """
        folder = self._folder(name)
        work = self._at_work.get(name)
        if work and (held := work.held()):
            # Before the store is asked, which may be what does not answer.
            return JobStatus(
                name=name, state=JobState.RUNNING, message=held, total=folder.job.count
            )
        if work and work.is_over() and (failure := work.failure):
            del self._at_work[name]
            raise failure
        status, _ = self._status(folder)
        if status.state.done:
            self._at_work.pop(name, None)
        else:
            self._work_on(folder)
        return status

    def look(self, name: str) -> JobStatus:
        """Where the job stands; PENDING where it has calls to make and nobody is at it.

        Raises:
            Rejected: there is no such job.
        """
        folder = self._folder(name)
        status, marks = self._status(folder)
        idle = all(folder.is_abandoned(number) for number in marks.under_way)
        if idle and not status.state.done:
            return replace(status, state=JobState.PENDING)
        return status

    def _status(self, folder: CallFolder) -> tuple[JobStatus, Marks]:
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
        status = JobStatus(
            name=folder.token, state=state, total=count, succeeded=answered, failed=lost
        )
        return status, marks

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        """What came back, in the order of the requests.

        Raises:
            NoResults: there is nothing.
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
            raise NoResults(f"The job {name} was cancelled before its first call.")

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
            work = self._at_work.get(folder.token)
            if work is None or work.is_over():
                provider, caller = self._caller(folder.job.model)
                throttle = self._throttles[provider]
                work = Work(self.name, folder, caller, throttle, self.at_once, self._seen)
                self._at_work[folder.token] = work
                work.start()

    def close(self) -> None:
        """Makes no more calls, and returns when those under way are answered and kept.

        Raises:
            AnswersLost: the store does not take some of the answers; they are named, and given up.
        """
        with self._lock:
            works = list(self._at_work.values())
            self._at_work.clear()
        if calls := sum(work.under_way for work in works):
            _LOG.warning("Waiting for %s that will be billed.", counted(calls, "call"))
        if lost := end(works):
            raise AnswersLost(
                f"Paid for, and lost: {' '.join(lost)}",
                "Those calls count as unanswered, at their estimated cost; `imagewave rerun` makes"
                " them again.",
            )


def _all_refused(refusals: Collection[Rejected]) -> Rejected:
    """The refusals of all keys as one: nobody knows yet which of them is needed."""
    messages = dict.fromkeys(refusal.message for refusal in refusals)
    fixes = dict.fromkeys(refusal.fix for refusal in refusals)
    return Rejected(" ".join(messages), " ".join(fixes), next(iter(refusals)).failure)
