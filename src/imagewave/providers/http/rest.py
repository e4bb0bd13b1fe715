"""What lanes on REST APIs share: GETs past the client, patience, and the words of a failure.

What is asked for by GET goes by plain HTTP with the same key and address as the provider's client,
so that downloads resume where they dropped and arrive at the machine's speed.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import httpx2
import urllib3
from requests import RequestException, Response

from imagewave.providers.failures import patience
from imagewave.providers.http.downloads import DROPS, Changed, Dropped, chunks_of, name_of_loss
from imagewave.providers.http.faults import ApiError, Fault
from imagewave.providers.http.sessions import KeyedSession
from imagewave.providers.protocol import Rejected, ResultsGone, Unavailable, Unsure
from imagewave.providers.wire.jsonl import Line, split_lines
from imagewave.storage.requests import FailureClass
from imagewave.words import shown

T = TypeVar("T")

TIMEOUT_S = 60.0
"""Longest silence in a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One provider's API: what it is called, and the names that its client and keys go by.

    `status_error`, `connection_error` and `nonsense_error` are what its client raises for an error
    answer, for none, and for one that makes no sense; `read_fault(http, body, headers)` reads an
    error answer, and `parts(error)` gives these three of one that the client raised.
    """

    name: str
    address_variable: str
    status_error: type[Exception]
    connection_error: type[Exception]
    nonsense_error: type[Exception]
    read_fault: Callable[[int, object, Mapping[str, str]], Fault]
    parts: Callable[[Any], tuple[int, object, Mapping[str, str]]] = lambda error: (
        error.status_code,
        error.body,
        error.response.headers,
    )


class Rest:
    """One API at one address with one key.

    The key is in no message: where the service quotes it, it is blotted out.
    """

    def __init__(self, api: Api, root: str, key: str, session: KeyedSession) -> None:
        self.root = root
        self._api = api
        self._key = key
        self._session = session
        # What a call gets no answer from, or one that makes no sense. (An answer that is no JSON
        # is a ValueError.)
        self._no_answer = (
            api.connection_error,
            api.nonsense_error,
            httpx2.HTTPError,
            *DROPS,
            ValueError,
        )
        self._no_connection = (
            api.connection_error,
            httpx2.HTTPError,
            RequestException,
            urllib3.exceptions.HTTPError,
        )

    def ask(self, path: str, may_pass: Callable[[Fault], bool] | None = None) -> dict[str, Any]:
        """The JSON object at the path, asked for as often as failures allow.

        `may_pass(fault)` says of faults that do not pass with time elsewhere whether they do here.
        """

        def ask() -> dict[str, Any]:
            answer = self._get(f"{self.root}/{path}").json()
            if not isinstance(answer, dict):
                raise Dropped("the answer is no JSON object")
            return answer

        return self.patiently(ask, may_pass)

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        """The JSON object that answers a POST of this JSON, made once; {} for no object.

        Raises what `patiently` and `asked_once` know how to take: call it within one of them.
        """
        headers = {"Content-Type": "application/json"}
        response = self._session.post(
            f"{self.root}/{path}", data=body, headers=headers, timeout=TIMEOUT_S
        )
        if not response.ok:
            raise self._error(response)
        answer = response.json()
        return answer if isinstance(answer, dict) else {}

    def lines(
        self,
        path: str,
        *,
        gone: Collection[int] = (),
        may_pass: Callable[[Fault], bool] | None = None,
    ) -> Iterator[Line]:
        """The lines of the file at the path, in order and each once; drops are resumed.

        `gone` are the HTTP statuses that say that it is not there; `may_pass` as for `ask`.

        Raises:
            ResultsGone: one of these.
            Unavailable: any other refusal, or the connection dropped in every try; the lines that
                came until then were yielded.
        """

        def open_at(position: int) -> Response:
            url = f"{self.root}/{path}"
            if not position:
                return self._get(url, stream=True)
            rest = {"Range": f"bytes={position}-"}
            return self._get(url, fine=(200, 206, 416), headers=rest, stream=True)

        try:
            yield from split_lines(chunks_of(open_at, partial(self._may_pass, may_pass=may_pass)))
        except ApiError as error:
            if error.fault.http in gone:
                raise ResultsGone(self._message(error.fault)) from None
            raise self._unavailable(error.fault) from None
        except (*DROPS, Changed) as error:
            raise Unavailable(*self._lost(error)) from None

    def patiently(
        self, call: Callable[[], T], may_pass: Callable[[Fault], bool] | None = None
    ) -> T:
        """The call's answer, asked for as often as its failures allow; never used for `create`.

        Raises:
            Rejected: a clean no.
            Unavailable: no answer in every try.
        """
        try:
            for attempt in patience(partial(self._may_pass, may_pass=may_pass)):
                with attempt:
                    answer = call()
        except (ApiError, self._api.status_error) as error:
            fault = self._fault_of(error)
            if fault.is_clean_no and fault.failure is not FailureClass.TRANSIENT:
                raise self._rejected(fault) from None
            raise self._unavailable(fault) from None
        except self._no_answer as error:
            raise Unavailable(*self._lost(error)) from None
        return answer

    @contextmanager
    def asked_once(self) -> Iterator[None]:
        """For the one call of `create`: what it raises becomes a clean no, or doubt.

        Raises:
            Rejected: a clean no.
            Unsure: anything else.
        """
        try:
            yield
        except (ApiError, self._api.status_error) as error:
            fault = self._fault_of(error)
            if fault.is_clean_no:
                raise self._rejected(fault) from None
            raise Unsure(self._message(fault)) from None
        except self._no_answer as error:
            raise Unsure(*self._lost(error)) from None

    def _fault_of(self, error: Exception) -> Fault:
        """What an error answer means, whichever way it came."""
        if isinstance(error, ApiError):
            return error.fault
        return self._api.read_fault(*self._api.parts(error))

    def _rejected(self, fault: Fault) -> Rejected:
        return Rejected(self._message(fault), fault.fix, fault.failure, fault.retry_after)

    def _unavailable(self, fault: Fault) -> Unavailable:
        return Unavailable(self._message(fault), fault.fix)

    def _message(self, fault: Fault) -> str:
        """What the service said."""
        # The original error is not chained to what is raised: it, too, may quote the key.
        said = fault.message.replace(self._key, "…")
        return f"The {self._api.name} API answered {fault.http} {fault.code or fault.kind}: {said}"

    def _lost(self, error: Exception) -> tuple[str, str]:
        """What to say of a call without a proper answer, and what may help."""
        if isinstance(error, self._no_connection) and not isinstance(error, ValueError):
            what = name_of_loss(error)
            return (
                f"No answer from the {self._api.name} API at {shown(self.root)}: {what}.",
                f"Check the network and {self._api.address_variable}.",
            )
        said = str(error).replace(self._key, "…")
        return f"No proper answer from the {self._api.name} API: {type(error).__name__}: {said}", ""

    def _get(self, url: str, fine: Collection[int] = (200,), **options: Any) -> Response:
        response = self._session.get(url, timeout=TIMEOUT_S, **options)
        if response.status_code not in fine:
            with response:
                raise self._error(response)
        return response

    def _error(self, response: Response) -> ApiError:
        body = _json(response)
        return ApiError(self._api.read_fault(response.status_code, body, response.headers))

    def _may_pass(self, error: Exception, may_pass: Callable[[Fault], bool] | None) -> bool | float:
        if isinstance(error, ApiError | self._api.status_error):
            fault = self._fault_of(error)
            return (may_pass is not None and may_pass(fault)) or fault.wait
        return isinstance(error, self._no_answer)


def _json(response: Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None
