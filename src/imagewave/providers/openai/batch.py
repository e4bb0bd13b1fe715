"""The lane `openai-batch`: OpenAI's Batch API, through OpenAI's own client."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote, urlencode

import openai

from imagewave.providers.http.rest import TIMEOUT_S, Api, Rest
from imagewave.providers.http.sessions import KeyedSession
from imagewave.providers.openai.access import ACCESS
from imagewave.providers.openai.faults import read_fault
from imagewave.providers.openai.wire import endpoint_of, read_line, request_line
from imagewave.providers.protocol import (
    JobState,
    JobStatus,
    NoResults,
    Outcome,
    Rejected,
    ResultsGone,
    Unsure,
)
from imagewave.providers.realm import realm_of
from imagewave.providers.wire.fields import dict_of, dicts_of, text_of
from imagewave.providers.wire.input_file import spooled
from imagewave.providers.wire.job_lists import jobs_on, next_of
from imagewave.storage.realms import Realm
from imagewave.storage.requests import FailureClass, Request

BASE_URL = "https://api.openai.com/v1"
"""As the official client has it: with the version."""

TOKEN = "imagewave_token"
"""The name under which a batch's metadata carry the token."""

CREATE_TIMEOUT_S = 30.0
"""Longest silence in `create`, well below every lease."""

PAGE_SIZE = 100

_API = Api(
    name=ACCESS.service,
    address_variable=ACCESS.address,
    status_error=openai.APIStatusError,
    connection_error=openai.APIConnectionError,
    nonsense_error=openai.APIResponseValidationError,
    read_fault=read_fault,
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


class OpenAIBatchLane:
    """Batches at the OpenAI API, or at whatever speaks its language at `base_url`.

    The key is in no repr, message or log: where the service quotes it, it is blotted out.
    """

    name = "openai-batch"
    max_requests = 50_000
    max_bytes = 200_000_000

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        root = (base_url or BASE_URL).rstrip("/")
        # By itself the client sends a POST again that may have been heard: never a create.
        self._client = openai.OpenAI(
            api_key=api_key, base_url=root, max_retries=0, timeout=TIMEOUT_S
        )
        session = KeyedSession("Authorization", f"Bearer {api_key}")
        self._rest = Rest(_API, root, api_key, session)
        self._base_url = base_url

    @cached_property
    def realm(self) -> Realm:
        """The realm of who answers at its address."""
        return realm_of(self._base_url)

    def check_access(self) -> None:
        """Asks for something free, so that a bad key stops the run before anything is planned.

        Raises:
            Rejected: the key is refused.
            Unavailable: no answer in every try.
        """
        self._rest.ask("models")

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

            return f"{endpoints.pop()} {self._rest.patiently(upload)}"

    def create(self, handle: str, model: str, token: str) -> str:
        """Creates the batch in one attempt; `token` goes into its metadata."""
        endpoint, _, file = handle.partition(" ")
        with self._rest.asked_once():
            batch = self._client.batches.create(
                input_file_id=file,
                endpoint=endpoint,  # type: ignore[arg-type]
                completion_window="24h",
                metadata={TOKEN: token},
                timeout=CREATE_TIMEOUT_S,
            )
        if not isinstance(batch.id, str) or not batch.id:
            raise Unsure("The OpenAI API answered without naming the batch.")
        return batch.id

    def find(self, token: str) -> list[str]:
        """Looks through the whole list of the project's batches; the service cannot search."""
        return [name for name, carried in self.listed() if carried == token]

    def listed(self) -> Iterator[tuple[str, str]]:
        """The ids of the project's batches that have a token in their metadata, with it."""
        for batch in self._batches():
            if token := text_of(dict_of(batch.get("metadata")).get(TOKEN)):
                yield batch["id"], token

    def poll(self, name: str) -> JobStatus:
        """Looks at the batch once.

        Raises:
            Rejected: a clean no, such as for a batch that does not exist.
            Unavailable: no answer in every try.
        """
        return _status(name, self._rest.ask(f"batches/{quote(name)}"))

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        """Streams the file of successes, then that of failures; drops are resumed.

        Raises:
            NoResults: the batch names no results.
            ResultsGone: OpenAI does not have some, for now or any more; the others were yielded.
            Unavailable: the connection dropped in every try; what came until then was yielded.
        """
        batch = self._rest.ask(f"batches/{quote(name)}")
        files = [
            file for field in ("output_file_id", "error_file_id") if (file := batch.get(field))
        ]
        if not files:
            raise NoResults(f"The batch {name} names no results.")
        gone = ""
        for file in files:
            path = f"files/{quote(str(file))}/content"
            try:
                for line in self._rest.lines(path, gone=(403, 404, 410)):
                    yield read_line(line, wants_image)
            except ResultsGone as lost:  # the other file may be there
                gone = lost.message
        if gone:
            raise ResultsGone(gone)

    def cancel(self, name: str) -> None:
        """Asks for the batch to stop; that it has already ended is no error.

        Raises:
            Rejected: a clean no, such as for a batch that does not exist.
            Unavailable: no answer in every try.
        """
        try:
            self._rest.patiently(partial(self._client.batches.cancel, name))
        except Rejected:
            if not self.poll(name).state.done:
                raise

    def models(self) -> list[str]:
        """The ids of the models that the API lists for this key.

        Raises:
            Rejected: the key is refused.
            Unavailable: no answer in every try.
        """
        return [
            str(model.get("id", "")) for model in dicts_of(self._rest.ask("models").get("data"))
        ]

    def _batches(self) -> Iterator[dict[str, Any]]:
        query: dict[str, str | int] = {"limit": PAGE_SIZE}
        while True:
            page = self._rest.ask(f"batches?{urlencode(query)}")
            batches = jobs_on(page, "data", name="id", provider="OpenAI")
            yield from batches
            last = next_of(page, batches, name="id", provider="OpenAI")
            if last is None:
                return
            query["after"] = last


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
