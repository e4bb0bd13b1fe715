"""Single calls to providers, in their batches' spelling: a line goes out, a line comes back."""

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from requests import Response

from imagewave.providers.http.faults import Fault
from imagewave.providers.protocol import Outcome, Rejected
from imagewave.providers.wire.input_file import Reference
from imagewave.providers.wire.jsonl import Line
from imagewave.storage.requests import FailureClass, Request

TIMEOUT_S = (10.0, 300.0)
"""Seconds to connect, and of silence while a picture is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAnswer:
    """An answer that is none: whether the provider itself gave it, and when to call again.

    `retry` is False where time does not help, True where it may, or a number of seconds.
    """

    from_provider: bool
    retry: bool | float
    message: str
    fix: str
    failure: FailureClass


class Caller(Protocol):
    """One provider."""

    @property
    def realm(self) -> str:
        """As a lane's."""
        ...

    def line(self, request: Request, reference: Reference) -> bytes:
        """The request as a line of a batch's input, newline included."""
        ...

    def key(self, line: Mapping[str, Any]) -> str:
        """The id of the request that the line is of."""
        ...

    def try_key(self) -> Response:
        """Asks for something free."""
        ...

    def post(self, model: str, line: Mapping[str, Any]) -> Response:
        """Makes the call that the line asks for, once."""
        ...

    def error_answer(self, response: Response) -> ErrorAnswer:
        """What an answer means that `is_answer` says is none."""
        ...

    def wrap(self, line: Mapping[str, Any], response: Response) -> bytes:
        """The answer as a line of a batch's results, without a newline."""
        ...

    def read(self, line: Line, wants_image: Callable[[str], bool]) -> Outcome:
        """What such a line says."""
        ...


def is_answer(response: Response) -> bool:
    """Whether the call was answered: any status of success will do, the body tells the rest."""
    return 200 <= response.status_code < 300


def body_of(response: Response) -> bytes:
    """An answer's body as it can stand inside a line: without a byte order mark."""
    return response.content.removeprefix(BOM_UTF8)


def check_key(caller: Caller) -> None:
    """Raises Rejected where the provider refuses the key; other trouble shows when it matters."""
    response = caller.try_key()
    if response.status_code in (400, 401, 403):
        error_answer = caller.error_answer(response)
        raise Rejected(error_answer.message, error_answer.fix, error_answer.failure)


def json_of(response: Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def error_answer_of(who: str, fault: Fault, key: str) -> ErrorAnswer:
    said = fault.message.replace(key, "…")
    return ErrorAnswer(
        from_provider=bool(fault.kind),
        retry=fault.wait,
        message=f"The {who} API answered {fault.http} {fault.code or fault.kind}: {said}",
        fix=fault.fix,
        failure=fault.failure,
    )
