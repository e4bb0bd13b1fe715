"""What an error answer of a provider's REST API comes to, whoever the provider is."""

from collections.abc import Mapping
from dataclasses import dataclass

from imagewave.providers.failures import DOUBTFUL_HTTP, of_http
from imagewave.storage.requests import FailureClass

LONGEST_WAIT = 120.0
"""Seconds for which a call waits by itself; who is told to wait longer should come back later."""


class ApiError(Exception):
    """The API answered with an error; its fault says what that means."""

    def __init__(self, fault: "Fault") -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One error answer; `kind` is the provider's word for it, "" where the answer was not its own.

    `fix` is what a user can do about it, "" for nothing; `lasting` faults do not pass with time,
    whatever their status says.
    """

    http: int
    kind: str
    code: str
    message: str
    retry_after: float | None
    fix: str = ""
    lasting: bool = False

    @property
    def failure(self) -> FailureClass:
        """The class that decides about another try."""
        return FailureClass.INVALID if self.lasting else of_http(self.http)

    @property
    def is_clean_no(self) -> bool:
        """Whether it proves that nothing was accepted: the provider itself refused the request."""
        return 400 <= self.http < 500 and self.http not in DOUBTFUL_HTTP and bool(self.kind)

    @property
    def wait(self) -> bool | float:
        """Whether the call may be made again, or after how many seconds."""
        if self.failure is not FailureClass.TRANSIENT:
            return False
        if self.retry_after is None:
            return True
        return self.retry_after <= LONGEST_WAIT and self.retry_after


def seconds_told(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` asks for, in seconds."""
    told = headers.get("retry-after")
    try:
        return max(0.0, float(told)) if told else None
    except ValueError:  # a date, which none of the providers sends
        return None
