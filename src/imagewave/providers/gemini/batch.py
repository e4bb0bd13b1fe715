"""The lane `gemini-batch`: Gemini's Batch API in file mode, through Google's own client.

What is asked for by GET goes past the client, by plain HTTP with the same key and address: it drops
a job's counts and error, does not know all of the service's states, trips over an empty last page,
and can neither resume a download nor receive it at the machine's speed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
from google import genai
from google.genai.errors import APIError
from google.genai.types import (
    CreateBatchJobConfig,
    HttpOptions,
    UploadFileConfig,
)

from imagewave.providers.gemini.access import ACCESS
from imagewave.providers.gemini.faults import read_fault
from imagewave.providers.gemini.wire import read_line, request_line
from imagewave.providers.http.rest import TIMEOUT_S, Api, Rest
from imagewave.providers.http.sessions import KeyedSession
from imagewave.providers.protocol import (
    JobState,
    JobStatus,
    NoResults,
    Outcome,
    Unavailable,
    Unsure,
)
from imagewave.providers.realm import realm_of
from imagewave.providers.wire.fields import dict_of, dicts_of, text_of
from imagewave.providers.wire.input_file import spooled
from imagewave.providers.wire.job_lists import jobs_on
from imagewave.storage.realms import Realm
from imagewave.storage.requests import Request

BASE_URL = "https://generativelanguage.googleapis.com"
API_VERSION = "v1beta"
"""The version under which Google documents batches and image settings."""

CREATE_TIMEOUT_MS = 30_000
"""Longest silence in `create`. A claimer whose call has lasted longer than its lease may find its
job created a second time, so this stays well below every lease."""

PAGE_SIZE = 100

_API = Api(
    name=ACCESS.service,
    address_variable=ACCESS.address,
    status_error=APIError,
    connection_error=httpx2.HTTPError,
    # It looks into an answer without making sure that it is one.
    nonsense_error=KeyError,
    read_fault=read_fault,
    parts=lambda error: (error.code, error.details, getattr(error.response, "headers", {})),
)

_STATES: Mapping[str, JobState] = {
    "PENDING": JobState.PENDING,
    "QUEUED": JobState.PENDING,
    "UNSPECIFIED": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "UPDATING": JobState.RUNNING,
    "PAUSED": JobState.RUNNING,
    "CANCELLING": JobState.RUNNING,
    "SUCCEEDED": JobState.SUCCEEDED,
    "PARTIALLY_SUCCEEDED": JobState.PARTIAL,
    "FAILED": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    "EXPIRED": JobState.EXPIRED,
}
"""Google's states without their prefix, which is BATCH_STATE_ or JOB_STATE_."""


class GeminiBatchLane:
    """Batches at the Gemini API, or at whatever speaks its language at `base_url`.

    The key is in no repr, message or log: where the service quotes it, it is blotted out.
    """

    name = "gemini-batch"
    max_requests = 5_000
    """Google sets no limit. So many results, at 1.5 MB a picture, fill half of the 20 GB that a
    project may store."""
    max_bytes = 2_000_000_000

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        root = f"{(base_url or BASE_URL).rstrip('/')}/{API_VERSION}"
        # By itself the client picks its HTTP library, and what it raises, by what is installed, and
        # follows redirects with the key in hand. It also reads the machine's certificates once for
        # each of four libraries, which takes a third of a second.
        certificates = httpx2.create_ssl_context()
        self._client = genai.Client(
            vertexai=False,
            api_key=api_key,
            http_options=HttpOptions(
                base_url=base_url or BASE_URL,
                api_version=API_VERSION,
                timeout=int(TIMEOUT_S * 1000),
                httpx_client=httpx2.Client(verify=certificates),
                async_client_args={"verify": certificates, "ssl": certificates},
            ),
        )
        self._rest = Rest(_API, root, api_key, KeyedSession("x-goog-api-key", api_key))
        self._base_url = base_url

    @cached_property
    def realm(self) -> Realm:
        """The realm of who answers at its address."""
        return realm_of(self._base_url)

    def check_access(self) -> None:
        """Asks for one model of the list, which any key that is accepted may see."""
        self._rest.ask("models?pageSize=1")

    def prepare(
        self,
        requests: Iterable[Request],
        read_image: Callable[[str], bytes],
        display_name: str,
    ) -> str:
        """Uploads the input file and returns its name, such as `files/abc`; Google keeps it 48 h.

        Raises:
            Rejected: Google refuses the file, or it would be larger than `max_bytes`.
            Unavailable: the upload failed in every try.
        """
        with spooled(
            requests,
            request_line,
            read_image,
            max_bytes=self.max_bytes,
            display_name=display_name,
        ) as spool:
            config = UploadFileConfig(mime_type="application/jsonl", display_name=display_name)
            upload = partial(self._client.files.upload, file=spool.name, config=config)
            uploaded = self._rest.patiently(upload)
        if not uploaded.name:
            raise Unavailable(f"The Gemini API gave the input of {display_name!r} no name.")
        return uploaded.name

    def create(self, handle: str, model: str, token: str) -> str:
        """Creates the batch job in one attempt; `token` becomes its display name."""
        config = CreateBatchJobConfig(
            display_name=token, http_options=HttpOptions(timeout=CREATE_TIMEOUT_MS)
        )
        with self._rest.asked_once():
            job = self._client.batches.create(model=model, src=handle, config=config)
        if not job.name:
            raise Unsure("The Gemini API answered without naming the job.")
        return job.name

    def find(self, token: str) -> list[str]:
        """Looks through the whole list of the project's jobs; the service cannot search."""
        return [name for name, carried in self.listed() if carried == token]

    def listed(self) -> Iterator[tuple[str, str]]:
        """The names of the project's jobs, with their display names."""
        for page in self._pages("batches"):
            for job in jobs_on(
                page, "operations", name="name", provider="Gemini", may_lack_field=True
            ):
                if token := text_of(dict_of(job.get("metadata")).get("displayName")):
                    yield text_of(job["name"]), token

    def poll(self, name: str) -> JobStatus:
        """Looks at the job once.

        Raises:
            Rejected: a clean no, such as for a job that does not exist.
            Unavailable: no answer in every try.
        """
        return _status(name, self._rest.ask(quote(name)))

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        """Streams the result file; a dropped connection is resumed where it dropped.

        Raises:
            NoResults: the job names no results.
            ResultsGone: Google does not have them, for now or any more.
            Unavailable: the connection dropped in every try; what came until then was yielded.
        """
        file = _result_file(self._rest.ask(quote(name)))
        if file is None:
            raise NoResults(f"The batch {name} names no results.")
        # Google answers 403 for a file that is not there, as it does for somebody else's.
        lines = self._rest.lines(f"{quote(file)}:download?alt=media", gone=(403, 404, 410))
        for line in lines:
            yield read_line(line, wants_image)

    def cancel(self, name: str) -> None:
        """Asks for the job to stop; that it has already ended is no error.

        Raises:
            Rejected: a clean no, such as for a job that does not exist.
            Unavailable: no answer in every try.
        """
        self._rest.patiently(partial(self._client.batches.cancel, name=name))

    def models(self) -> list[str]:
        """The ids of the models that the API lists for this key.

        Raises:
            Rejected: the key is refused.
            Unavailable: no answer in every try.
        """
        models = (model for page in self._pages("models") for model in dicts_of(page.get("models")))
        return [text_of(model.get("name")).removeprefix("models/") for model in models]

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        page_token = ""
        while True:
            query = urlencode({"pageSize": PAGE_SIZE, "pageToken": page_token})
            page = self._rest.ask(f"{path}?{query}")
            yield page
            page_token = text_of(page.get("nextPageToken"))
            if not page_token:
                return


def _status(name: str, operation: Mapping[str, Any]) -> JobStatus:
    metadata = dict_of(operation.get("metadata"))
    stats = dict_of(metadata.get("batchStats"))
    error = dict_of(operation.get("error"))
    return JobStatus(
        name=name,
        state=_state(str(metadata.get("state", "")), operation),
        message=str(error.get("message", "")),
        total=_number(stats.get("requestCount")),
        succeeded=_number(stats.get("successfulRequestCount")),
        failed=_number(stats.get("failedRequestCount")),
    )


def _state(wire: str, operation: Mapping[str, Any]) -> JobState:
    """A state that is not known counts by whether the operation is done, and how it ended."""
    known = _STATES.get(wire.partition("STATE_")[2])
    if known is not None:
        return known
    if not operation.get("done"):
        return JobState.RUNNING
    return JobState.FAILED if "error" in operation else JobState.SUCCEEDED


def _result_file(operation: Mapping[str, Any]) -> str | None:
    output = dict_of(dict_of(operation.get("metadata")).get("output"))
    response = dict_of(operation.get("response"))
    file = output.get("responsesFile") or response.get("responsesFile")
    return file if isinstance(file, str) else None


def _number(value: object) -> int | None:
    """A count, which the service spells as a string."""
    return int(value) if isinstance(value, str | int) and str(value).isdigit() else None
