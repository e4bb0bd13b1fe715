"""The lane `openai-batch`: OpenAI's Batch API, through OpenAI's own client.

What is asked for by GET goes past the client, by plain HTTP with the same key and address, so that
downloads resume where they dropped and arrive at the machine's speed.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import openai
import urllib3
from requests import RequestException, Response

from imagewave.errors import ImagewaveError
from imagewave.storage.requests import FailureClass, Request
from imagewave.tasks.failures import patience
from imagewave.tasks.providers.aside import dict_of, dicts_of
from imagewave.tasks.providers.downloads import DROPS, Changed, Dropped, chunks_of, name_of_loss
from imagewave.tasks.providers.jsonl import split_lines
from imagewave.tasks.providers.keyed import KeyedSession, realm_of
from imagewave.tasks.providers.openai_faults import ApiError, Fault, read_fault
from imagewave.tasks.providers.openai_wire import endpoint_of, read_line, request_line
from imagewave.tasks.providers.protocol import (
    JobState,
    JobStatus,
    Outcome,
    Rejected,
    ResultsGone,
    Unavailable,
    Unsure,
)
from imagewave.tasks.providers.spool import spooled

T = TypeVar("T")

KEY_VARIABLE = "OPENAI_API_KEY"
BASE_URL_VARIABLE = "OPENAI_BASE_URL"
BASE_URL = "https://api.openai.com/v1"
"""As the official client has it: with the version."""

TOKEN = "imagewave_token"
"""The name under which a batch's metadata carry the token."""

CREATE_TIMEOUT_S = 30.0
"""Longest silence in `create`, well below every lease."""

TIMEOUT_S = 60.0
"""Longest silence in any other call."""

PAGE_SIZE = 100

# What a call through OpenAI's client raises when it got no answer, or one that makes no sense.
_NO_ANSWER = (
    openai.APIConnectionError,
    openai.APIResponseValidationError,
    httpx2.HTTPError,
    *DROPS,
    ValueError,
)

# Those of them that speak of the connection. (An answer that is no JSON is a ValueError as well.)
_NO_CONNECTION = (
    openai.APIConnectionError,
    httpx2.HTTPError,
    RequestException,
    urllib3.exceptions.HTTPError,
)

_STATES: Mapping[str, JobState] = {
    "validating": JobState.PENDING,
    "in_progress": JobState.RUNNING,
    "finalizing": JobState.RUNNING,
    "cancelling": JobState.RUNNING,
    "completed": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "expired": JobState.EXPIRED,
    "cancelled": JobState.CANCELLED,
}


class NoKey(ImagewaveError):
    """No API key is set."""


class OpenAIBatchLane:
    """Batches at the OpenAI API, or at whatever speaks its language at `base_url`.

    The key is in no repr, message or log: where the service quotes it, it is blotted out.
    """

    name = "openai-batch"
    max_requests = 50_000
    max_bytes = 200_000_000

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        self._key = api_key
        self._root = (base_url or BASE_URL).rstrip("/")
        # By itself the client sends a POST again that may have been heard: never a create.
        self._client = openai.OpenAI(
            api_key=api_key, base_url=self._root, max_retries=0, timeout=TIMEOUT_S
        )
        self._session = KeyedSession("Authorization", f"Bearer {api_key}")
        self.realm = realm_of(self._root)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "OpenAIBatchLane":
        """The lane for the key and address in the environment.

        Raises:
            NoKey: the variable is not set.
        """
        key = environ.get(KEY_VARIABLE, "").strip()
        if not key:
            raise NoKey(
                "There is no key for the OpenAI API.",
                f"Set {KEY_VARIABLE}; keys are made at https://platform.openai.com/api-keys.",
            )
        return cls(key, environ.get(BASE_URL_VARIABLE) or None)

    def check_access(self) -> None:
        """Asks for something free, so that a bad key stops the run before anything is planned.

        Raises:
            Rejected: the key is refused.
            Unavailable: no answer in every try.
        """
        self._ask("models")

    def prepare(
        self,
        requests: Iterable[Request],
        read_image: Callable[[str], bytes],
        display_name: str,
    ) -> str:
        """Uploads the input file; returns the endpoint its lines are for and its name.

        Raises:
            Rejected: OpenAI refuses the file, it would be larger than `max_bytes`, or its requests
                are for several endpoints.
            Unavailable: the upload failed in every try.
        """
        endpoints: set[str] = set()

        def line(request: Request, reference: Callable[[str, int | None], bytes]) -> bytes:
            endpoints.add(endpoint_of(request))
            return request_line(request, reference)

        with spooled(
            requests, line, read_image, max_bytes=self.max_bytes, display_name=display_name
        ) as spool:
            if len(endpoints) != 1:
                raise Rejected(
                    f"The requests of {display_name!r} are for {len(endpoints)} endpoints.",
                    "A batch has one: put them into jobs of their own.",
                    FailureClass.INVALID,
                )

            def upload() -> str:
                spool.seek(0)
                named = (f"{display_name}.jsonl", spool, "application/jsonl")
                return self._client.files.create(file=named, purpose="batch").id

            return f"{endpoints.pop()} {self._patiently(upload)}"

    def create(self, handle: str, model: str, token: str) -> str:
        """Creates the batch in one attempt; `token` goes into its metadata."""
        endpoint, _, file = handle.partition(" ")
        try:
            batch = self._client.batches.create(
                input_file_id=file,
                endpoint=endpoint,  # type: ignore[arg-type]
                completion_window="24h",
                metadata={TOKEN: token},
                timeout=CREATE_TIMEOUT_S,
            )
        except openai.APIStatusError as error:
            fault = _fault_of(error)
            if fault.is_clean_no:
                raise self._rejected(fault) from None
            raise Unsure(self._message(fault)) from None
        except _NO_ANSWER as error:
            raise Unsure(*self._lost(error)) from None
        if not isinstance(batch.id, str) or not batch.id:
            raise Unsure("The OpenAI API answered without naming the batch.")
        return batch.id

    def find(self, token: str) -> list[str]:
        """Looks through the whole list of the project's batches; the service cannot search."""
        return [
            str(batch["id"])
            for batch in self._batches()
            if dict_of(batch.get("metadata")).get(TOKEN) == token
        ]

    def poll(self, name: str) -> JobStatus:
        """Looks at the batch once.

        Raises:
            Rejected: a clean no, such as for a batch that does not exist.
            Unavailable: no answer in every try.
        """
        return _status(name, self._ask(f"batches/{quote(name)}"))

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        """Streams the file of successes, then that of failures; drops are resumed.

        Raises:
            ResultsGone: the batch left no results, or OpenAI has deleted some; those that are
                still there were yielded.
            Unavailable: the connection dropped in every try; what came until then was yielded.
        """
        batch = self._ask(f"batches/{quote(name)}")
        files = [
            file for field in ("output_file_id", "error_file_id") if (file := batch.get(field))
        ]
        gone = "" if files else f"The batch {name} has left no results."
        for file in files:
            try:
                chunks = chunks_of(partial(self._open, str(file)), _may_pass)
                for line in split_lines(chunks):
                    yield read_line(line, wants_image)
            except ApiError as error:
                if error.fault.http not in (403, 404, 410):
                    raise self._unavailable(error.fault) from None
                gone = f"{self._message(error.fault)} ({name})"
            except (*DROPS, Changed) as error:
                raise Unavailable(*self._lost(error)) from None
        if gone:
            raise ResultsGone(gone)

    def cancel(self, name: str) -> None:
        """Asks for the batch to stop; that it has already ended is no error.

        Raises:
            Rejected: a clean no, such as for a batch that does not exist.
            Unavailable: no answer in every try.
        """
        try:
            self._patiently(partial(self._client.batches.cancel, name))
        except Rejected:
            if not self.poll(name).state.done:
                raise

    def models(self) -> list[str]:
        """The ids of the models that the API lists for this key.

        Raises:
            Rejected: the key is refused.
            Unavailable: no answer in every try.
        """
        return [str(model.get("id", "")) for model in dicts_of(self._ask("models").get("data"))]

    def _batches(self) -> Iterator[dict[str, Any]]:
        after: dict[str, str] = {}
        while True:
            page = self._ask(f"batches?{urlencode({'limit': PAGE_SIZE, **after})}")
            batches = dicts_of(page.get("data"))
            yield from batches
            if not page.get("has_more") or not batches:
                return
            after = {"after": str(batches[-1]["id"])}

    def _ask(self, path: str) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            answer = self._get(f"{self._root}/{path}").json()
            if not isinstance(answer, dict):
                raise Dropped("the answer is no JSON object")
            return answer

        return self._patiently(ask)

    def _open(self, file: str, position: int) -> Response:
        headers = {"Range": f"bytes={position}-"} if position else {}
        return self._get(f"{self._root}/files/{quote(file)}/content", headers=headers, stream=True)

    def _get(self, url: str, **options: Any) -> Response:
        response = self._session.get(url, timeout=TIMEOUT_S, **options)
        if response.status_code not in (200, 206):
            with response:
                raise ApiError(_fault(response))
        return response

    def _patiently(self, call: Callable[[], T]) -> T:
        """The call's answer, asked for as often as its failures allow; never used for `create`."""
        try:
            for attempt in patience(_may_pass):
                with attempt:
                    answer = call()
        except (ApiError, openai.APIStatusError) as error:
            fault = _fault_of(error)
            if fault.is_clean_no and fault.failure is not FailureClass.TRANSIENT:
                raise self._rejected(fault) from None
            raise self._unavailable(fault) from None
        except _NO_ANSWER as error:
            raise Unavailable(*self._lost(error)) from None
        return answer

    def _rejected(self, fault: Fault) -> Rejected:
        return Rejected(self._message(fault), fault.fix, fault.failure, fault.retry_after)

    def _unavailable(self, fault: Fault) -> Unavailable:
        return Unavailable(self._message(fault), fault.fix)

    def _message(self, fault: Fault) -> str:
        # The original error is not chained to what is raised: it, too, may quote the key.
        said = fault.message.replace(self._key, "…")
        return f"The OpenAI API answered {fault.http} {fault.code or fault.kind}: {said}"

    def _lost(self, error: Exception) -> tuple[str, str]:
        """What to say of a call without a proper answer, and what may help."""
        if isinstance(error, _NO_CONNECTION) and not isinstance(error, ValueError):
            host = urlsplit(self._root).netloc.rpartition("@")[2]
            return (
                f"No answer from the OpenAI API at {host}: {name_of_loss(error)}.",
                f"Check the network and {BASE_URL_VARIABLE}.",
            )
        said = str(error).replace(self._key, "…")
        return f"No proper answer from the OpenAI API: {type(error).__name__}: {said}", ""


def _fault(response: Response) -> Fault:
    try:
        body = response.json()
    except ValueError:
        body = None
    return read_fault(response.status_code, body, response.headers)


def _fault_of(error: ApiError | openai.APIStatusError) -> Fault:
    if isinstance(error, ApiError):
        return error.fault
    return read_fault(error.status_code, error.body, error.response.headers)


def _may_pass(error: Exception) -> bool | float:
    if isinstance(error, ApiError | openai.APIStatusError):
        return _fault_of(error).wait
    return isinstance(error, _NO_ANSWER)


def _status(name: str, batch: Mapping[str, Any]) -> JobStatus:
    counts = dict_of(batch.get("request_counts"))
    errors = dicts_of(dict_of(batch.get("errors")).get("data"))
    return JobStatus(
        name=name,
        # A state that is not known is taken for one on the way.
        state=_STATES.get(str(batch.get("status")), JobState.RUNNING),
        message="; ".join(str(error.get("message", "")) for error in errors[:3]),
        total=_number(counts.get("total")),
        succeeded=_number(counts.get("completed")),
        failed=_number(counts.get("failed")),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
