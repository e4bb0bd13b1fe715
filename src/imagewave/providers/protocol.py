"""The boundary between imagewave and whoever renders: the verbs that every lane speaks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from imagewave.errors import ImagewaveError
from imagewave.storage.catalog.prices import Usage
from imagewave.storage.requests import FailureClass, Request, Status

CALL_UNANSWERED = "CALL_UNANSWERED"
"""The reason of a result for which nothing came back, though it may have been billed."""


class JobState(StrEnum):
    """Where a provider's job stands, whatever the provider calls it."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    GONE = "gone"
    """The provider does not know the job any more; somebody has deleted it there."""

    @property
    def done(self) -> bool:
        """Whether the provider will do no more on it."""
        return self not in (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One look at a provider's job; counts are None where the provider does not tell."""

    name: str
    state: JobState
    message: str = ""
    total: int | None = None
    succeeded: int | None = None
    failed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one result line says.

    `key` is None where the line carries none that can be read. `image` holds the encoded picture's
    bytes when `status` is `image`; `text` the answer when it is `text`. `usage` is None where the
    provider reported none that counts what came. `billed` says of a line without a usable answer
    that the provider has answered: it costs something though no usage may say how much. `odd` is
    what is unusual about the line, in words. Equal `numerics_id` promise equal bits for equal
    requests; "" promises nothing.
    """

    key: str | None
    status: Status
    failure: FailureClass | None = None
    reason: str = ""
    message: str = ""
    image: bytes | memoryview | None = None
    mime: str = ""
    text: str | None = None
    usage: Usage | None = None
    billed: bool = False
    odd: tuple[str, ...] = ()
    numerics_id: str = ""


class Rejected(ImagewaveError):
    """The provider said no to `create`, cleanly: nothing was accepted and nothing is billed."""

    def __init__(
        self,
        message: str,
        fix: str,
        failure: FailureClass,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, fix)
        self.failure = failure
        self.retry_after = retry_after


class Unsure(ImagewaveError):
    """`create` may or may not have been accepted; only `find` can tell."""


class Unavailable(ImagewaveError):
    """The provider could not be asked, after the retries that its failure class allows."""


class Undecided(Unavailable):
    """Whether the provider has a job shows only when jobs that it may be have ended there."""


class AnswersLost(ImagewaveError):
    """Answers that are paid for could not be written to the store, for as long as was waited."""


class ResultsGone(ImagewaveError):
    """The job ended, but its results cannot be fetched: now, or ever again."""


class NoResults(ResultsGone):
    """The job ended, and names no results."""


class Lane(Protocol):
    """A way to get requests rendered; what it promises is tested once, for every lane."""

    @property
    def name(self) -> str:
        """The lane's name in wave files and facts, such as `gemini-batch`."""
        ...

    @property
    def realm(self) -> str:
        """Whose pictures these are: `live`, or `sandbox` where a stand-in answers."""
        ...

    @property
    def max_requests(self) -> int:
        """The most requests that one job may hold."""
        ...

    @property
    def max_bytes(self) -> int:
        """The most bytes that one job's input may have."""
        ...

    def check_access(self) -> None:
        """Makes sure that the key is accepted, before anything is recorded or spent.

        Raises:
            Rejected: it is not.
            Unavailable: the provider does not answer.
        """
        ...

    def prepare(
        self,
        requests: Iterable[Request],
        read_image: Callable[[str], bytes],
        display_name: str,
    ) -> str:
        """Hands the input over and returns a handle for `create`. Bills nothing; repeatable."""
        ...

    def create(self, handle: str, model: str, token: str) -> str:
        """Asks once, never again by itself, for the job; returns the provider's name for it.

        Raises:
            Rejected: a clean no.
            Unsure: any doubt whether it was accepted.
        """
        ...

    def find(self, token: str) -> list[str]:
        """The provider's names of all jobs that carry the token.

        Raises:
            Undecided: it takes time to tell; only where the provider's list does not say.
            Unavailable: the provider cannot be asked for now.
        """
        ...

    def listed(self) -> Iterator[tuple[str, str]]:
        """All jobs in the provider's list that carry a token of ours, each with its token.

        Nothing where a token cannot have two jobs.

        Raises:
            Unavailable: the provider cannot be asked for now.
        """
        ...

    def poll(self, name: str) -> JobStatus:
        """Looks at the job once."""
        ...

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        """Streams the job's result lines in the provider's order, in bounded memory.

        `wants_image(key)` says whether that request wants an image (else text); unknown keys are
        answered True.

        Raises:
            NoResults: the job names none.
            ResultsGone: some that it names are not there; all others were yielded.
            Unavailable: the provider does not deliver for now; may be called again.
        """
        ...

    def cancel(self, name: str) -> None:
        """Asks the provider to stop the job; what it has already done may still be billed."""
        ...


@runtime_checkable
class Attended(Protocol):
    """What a lane has besides whose jobs go on only while a process of ours works on them.

    `poll` takes a job up where nobody in this process works on it.
    """

    def look(self, name: str) -> JobStatus:
        """Where the job stands, as `poll` says, but without working on it.

        PENDING: there is work left, and no process is known to be at it.
        """
        ...

    def close(self) -> None:
        """Begins nothing more, and returns when all that is under way is over and kept.

        Raises:
            AnswersLost: something that is paid for could not be kept.
        """
        ...
