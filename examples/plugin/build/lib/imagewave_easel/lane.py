"""The lane `easel-batch`: jobs at Easel, which takes our token, lists jobs and keeps results."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pybase64
from requests import RequestException

from imagewave.providers.failures import GRPC
from imagewave.providers.http.downloads import Dropped
from imagewave.providers.http.faults import ApiError, Fault, seconds_told
from imagewave.providers.http.rest import Api, Rest
from imagewave.providers.http.sessions import KeyedSession
from imagewave.providers.protocol import (
    JobState,
    JobStatus,
    NoResults,
    Outcome,
    Rejected,
    Unsure,
)
from imagewave.providers.realm import realm_of
from imagewave.providers.wire.fields import count_of, dict_of, dicts_of, text_of
from imagewave.providers.wire.input_file import Reference, spooled
from imagewave.providers.wire.job_lists import jobs_on, next_of
from imagewave.providers.wire.long_values import Format, LongValues, broken, read
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import Usage
from imagewave.storage.realms import Realm
from imagewave.storage.requests import FailureClass, Request, Status
from imagewave_easel.access import ACCESS

BASE_URL = "https://api.easel.example/v1"
PAGE_SIZE = 100

_FORMAT = Format.of(long="image", key="id")
_STATES = {
    "queued": JobState.PENDING,
    "drawing": JobState.RUNNING,
    "done": JobState.SUCCEEDED,
    "partly done": JobState.PARTIAL,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}


def _read_fault(http: int, body: object, headers: Mapping[str, str]) -> Fault:
    error = dict_of(dict_of(body).get("error"))
    return Fault(
        http=http,
        kind=text_of(error.get("kind")),
        code="",
        message=text_of(error.get("message")) or f"HTTP {http}",
        retry_after=seconds_told(headers),
        fix=f"Check {ACCESS.keys[0]}; keys are made at {ACCESS.keys_from}." if http == 401 else "",
    )


_API = Api(
    name=ACCESS.service,
    address_variable=ACCESS.address,
    status_error=ApiError,
    connection_error=RequestException,
    nonsense_error=Dropped,
    read_fault=_read_fault,
)


class EaselBatchLane:
    """Jobs at Easel, or at whatever speaks its language at `base_url`."""

    name = "easel-batch"
    max_requests = 1_000
    max_bytes = 100_000_000

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        session = KeyedSession("Authorization", f"Bearer {api_key}")
        self._rest = Rest(_API, (base_url or BASE_URL).rstrip("/"), api_key, session)
        self._base_url = base_url

    @cached_property
    def realm(self) -> Realm:
        """The realm of who answers at its address."""
        return realm_of(self._base_url)

    def check_access(self) -> None:
        """Asks for something free."""
        self._rest.ask("models")

    def models(self) -> list[str]:
        """The ids of the models that the key may use."""
        return [text_of(model.get("id")) for model in dicts_of(self._rest.ask("models")["data"])]

    def prepare(
        self,
        requests: Iterable[Request],
        read_image: Callable[[str], bytes],
        display_name: str,
    ) -> str:
        """Uploads the requests; Easel draws nothing before a job names them."""
        with spooled(
            requests, _line, read_image, max_bytes=self.max_bytes, display_name=display_name
        ) as spool:
            body = spool.seek(0) or spool.read()
        answer = self._rest.patiently(partial(self._rest.post, "inputs", body))
        return text_of(answer["id"])

    def create(self, handle: str, model: str, token: str) -> str:
        """Asks once for the job."""
        body = orjson.dumps({"input": handle, "model": model, "token": token})
        with self._rest.asked_once():
            name = text_of(self._rest.post("jobs", body).get("id"))
        if not name:
            raise Unsure("The Easel API answered without naming the job.")
        return name

    def find(self, token: str) -> list[str]:
        """Looks through the whole list."""
        return [name for name, carried in self.listed() if carried == token]

    def listed(self) -> Iterator[tuple[str, str]]:
        """Every job with its token, page by page."""
        query: dict[str, str | int] = {"limit": PAGE_SIZE}
        while True:
            page = self._rest.ask(f"jobs?{urlencode(query)}")
            jobs = jobs_on(page, "data", name="id", provider=ACCESS.service)
            for job in jobs:
                if token := text_of(job.get("token")):
                    yield job["id"], token
            last = next_of(page, jobs, name="id", provider=ACCESS.service)
            if last is None:
                return
            query["after"] = last

    def poll(self, name: str) -> JobStatus:
        """Looks at the job once."""
        job = self._rest.ask(f"jobs/{quote(name)}")
        # A state that is not known is taken for one on the way.
        state = _STATES.get(text_of(job.get("state")), JobState.RUNNING)
        return JobStatus(name=name, state=state, message=text_of(job.get("message")))

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        """Streams the job's results; Easel gives pictures only."""
        file = text_of(self._rest.ask(f"jobs/{quote(name)}").get("results"))
        if not file:
            raise NoResults(f"The job {name} names no results.")
        for line in self._rest.lines(f"results/{quote(file)}", gone=(404, 410)):
            yield read(line, _FORMAT, _outcome)

    def cancel(self, name: str) -> None:
        """Asks for the job to stop; that it has already ended is no error."""
        try:
            self._rest.patiently(partial(self._rest.post, f"jobs/{quote(name)}/cancel", b"{}"))
        except Rejected:
            if not self.poll(name).state.done:
                raise


def _line(request: Request, reference: Reference) -> bytes:
    pixels = find_model(request.model).pixels[request.aspect_ratio, request.size or ""]
    shown = [
        pybase64.b64encode(reference(sha256, request.reference_edge)).decode()
        for sha256 in request.references
    ]
    line = {"id": request.id, "prompt": request.prompt, "pixels": pixels, "references": shown}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _outcome(line: Any, values: LongValues) -> Outcome:
    if not isinstance(line, dict):
        return broken(None, "NO_OBJECT", "the line is not a JSON object", billed=True)
    key = text_of(line.get("id")) or None
    if error := dict_of(line.get("error")):
        return _failed(key, count_of(error.get("code")), text_of(error.get("message")))
    # A count that is missing is unknown, never nothing: imagewave charges its estimate then.
    tokens = count_of(line.get("tokens"))
    usage = Usage(0, tokens, 0, 0) if tokens else None
    if reason := text_of(line.get("refused")):
        return Outcome(
            key=key,
            status=Status.REFUSED,
            failure=FailureClass.REFUSED,
            reason=reason.upper(),
            usage=usage,
        )
    found = values.picture([(text_of(line.get("image")), "image/png")])
    if found is None:
        reason = "INVALID_BASE64" if values.spoiled else "NO_IMAGE"
        return Outcome(
            key=key,
            status=Status.FAILED,
            failure=FailureClass.BROKEN,
            reason=reason,
            usage=usage,
            billed=True,
        )
    return Outcome(key=key, status=Status.IMAGE, image=found[0], mime=found[1], usage=usage)


def _failed(key: str | None, code: int, message: str) -> Outcome:
    if not code:  # it was never drawn, as in a job that ended early
        return Outcome(
            key=key,
            status=Status.MISSING,
            failure=FailureClass.TRANSIENT,
            reason="NOT_DRAWN",
            message=message,
        )
    reason, failure = GRPC.get(code, ("UNKNOWN", FailureClass.TRANSIENT))
    return Outcome(key=key, status=Status.FAILED, failure=failure, reason=reason, message=message)
