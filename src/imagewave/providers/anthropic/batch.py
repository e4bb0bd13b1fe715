"""The lane `anthropic-batch`: Claude's Message Batches, through Anthropic's own client.

A batch carries no name and no metadata, and its `custom_id`s can be read only in its results, once
it has ended. So a job whose `create` was not answered is found by elimination: the lane writes down
what it is about to ask for, and of the batches that are no older, those with another number of
requests or another owner are not it; those that have ended tell by the mark in their first
`custom_id`; one that goes on must be waited for. docs/reliability.md says what that costs.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import IO, Any
from urllib.parse import quote, urlencode

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.providers.anthropic.access import ACCESS
from imagewave.providers.anthropic.faults import (
    BASE_URL,
    VERSION,
    read_fault,
)
from imagewave.providers.anthropic.upload import Upload, put_marks
from imagewave.providers.anthropic.wire import mark_in, mark_of, read_line, request_line
from imagewave.providers.http.faults import Fault
from imagewave.providers.http.rest import TIMEOUT_S, Api, Rest
from imagewave.providers.http.sessions import KeyedSession
from imagewave.providers.protocol import (
    JobState,
    JobStatus,
    NoResults,
    Outcome,
    Rejected,
    Unavailable,
    Undecided,
    Unsure,
)
from imagewave.providers.realm import realm_of
from imagewave.providers.wire.fields import count_of, dict_of, dicts_of, text_of
from imagewave.providers.wire.input_file import spooled
from imagewave.providers.wire.job_lists import jobs_on, next_of
from imagewave.storage.jobs.untagged import Asked, ask, asked_for, own, owner, tokens
from imagewave.storage.realms import Realm
from imagewave.storage.requests import FailureClass, Request
from imagewave.storage.store import Store

try:
    import anthropic
    from anthropic.types.messages import MessageBatch
except ImportError as error:
    raise ImagewaveError(
        "The lane 'anthropic-batch' needs Anthropic's client, which is not installed.",
        "Run pip install 'imagewave[anthropic]'.",
    ) from error

CREATE_TIMEOUT_S = 30.0
"""Longest silence in `create`."""

PAGE_SIZE = 1000

CLOCKS = timedelta(minutes=1)
"""By so much the clocks of the service's own machines may differ."""

SETTLING = timedelta(minutes=10)
"""For so long after its creation a batch may be unknown to some of the service's machines:
anthropic-sdk-python#1432 saw it two minutes after."""

_BATCHES = "v1/messages/batches"
_API = Api(
    name=ACCESS.service,
    address_variable=ACCESS.address,
    status_error=anthropic.APIStatusError,
    connection_error=anthropic.APIConnectionError,
    nonsense_error=anthropic.APIResponseValidationError,
    read_fault=read_fault,
)


def list_models(api_key: str, base_url: str | None) -> list[str]:
    """The ids of the models that the API lists for the key.

    Raises:
        Rejected: it is refused.
        Unavailable: no answer in every try.
    """
    _, rest = _connect(api_key, base_url)
    listed = dicts_of(rest.ask(f"v1/models?limit={PAGE_SIZE}").get("data"))
    return [text_of(model.get("id")) for model in listed]


def _connect(api_key: str, base_url: str | None) -> tuple[anthropic.Anthropic, Rest]:
    root = (base_url or BASE_URL).rstrip("/")
    # By itself the client sends a POST again that may have been heard: never a create.
    client = anthropic.Anthropic(api_key=api_key, base_url=root, max_retries=0, timeout=TIMEOUT_S)
    # The same header and the same version of the API as the client's.
    session = KeyedSession(*next(iter(client.auth_headers.items())))
    session.headers[VERSION] = str(client.default_headers[VERSION])
    return client, Rest(_API, root, api_key, session)


@dataclass(frozen=True, slots=True)
class _Input:
    """What `prepare` has written: the body of a `create`, but for its marks."""

    file: IO[bytes]
    requests: int
    close: Callable[[], None]


class AnthropicBatchLane:
    """Batches at the Claude API, or at whatever speaks its language at `base_url`.

    The key is in no repr, message or log: where the service quotes it, it is blotted out.
    """

    name = "anthropic-batch"
    max_requests = 100_000
    # The API takes 256 MB. But the input is sent with `create` itself, which must end long before
    # its claim does, over an ordinary line as well.
    max_bytes = 64_000_000

    def __init__(self, store: Store, api_key: str, base_url: str | None = None) -> None:
        self._store = store
        self._client, self._rest = _connect(api_key, base_url)
        self._inputs: dict[str, _Input] = {}
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
        self._rest.ask("v1/models?limit=1")

    def prepare(
        self,
        requests: Iterable[Request],
        read_image: Callable[[str], bytes],
        display_name: str,
    ) -> str:
        """Writes the body of the request to this machine's disk: the API has no files to upload.

        Raises:
            Rejected: it would be larger than `max_bytes`.
        """
        count = 0

        def line(request: Request, reference: Callable[[str, int | None], bytes]) -> bytes:
            nonlocal count
            count += 1
            return request_line(request, reference)

        with ExitStack() as stack:
            file = stack.enter_context(
                spooled(
                    requests,
                    line,
                    read_image,
                    max_bytes=self.max_bytes,
                    display_name=display_name,
                    around=(b'{"requests":[', b",", b"]}"),
                )
            )
            handle = secrets.token_hex(8)
            self._inputs[handle] = _Input(file, count, stack.pop_all().close)
        return handle

    def create(self, handle: str, model: str, token: str) -> str:
        """Creates the batch in one attempt, and forgets the input once the answer is clear."""
        if handle not in self._inputs:
            raise Rejected(
                f"There is no input {handle!r}.", "Prepare it again.", FailureClass.INVALID
            )
        input = self._inputs[handle]
        put_marks(input.file, mark_of(token))
        self._write_down(token, input.requests)
        with self._rest.asked_once():
            batch = self._client.post(
                f"/{_BATCHES}",
                content=Upload(input.file),
                cast_to=MessageBatch,
                options={
                    "headers": {"content-type": "application/json"},
                    "timeout": CREATE_TIMEOUT_S,
                },
            )
        if not isinstance(batch.id, str) or not batch.id:
            raise Unsure("The Claude API answered without naming the batch.")
        own(self._store, batch.id, token)
        self._inputs.pop(handle).close()
        return batch.id

    def find(self, token: str) -> list[str]:
        """Finds the token's batch by what was written down before it was asked for.

        Raises:
            Undecided: a batch that may be it has not ended.
            Unavailable: no answer in every try.
        """
        asked = asked_for(self._store, token)
        if asked is None:
            return []
        found, open_ones = [], []
        for batch in self._batches(since=asked.after):
            name = text_of(batch.get("id"))
            owned = owner(self._store, name)
            if owned is not None:
                found += [name] if owned.token == token else []
            elif _total(batch) == asked.requests:
                mark = self._mark(batch)
                if mark is None:
                    open_ones.append(name)
                elif mark == mark_of(token).decode():
                    own(self._store, name, token)
                    found.append(name)
        if open_ones and not found:
            raise Undecided(
                f"Claude may have taken a job as {' or '.join(open_ones)}, and says which job that"
                " is only when it has ended.",
                "It ends within 24 hours. Nothing is asked for again until then.",
            )
        return found

    def listed(self) -> Iterator[tuple[str, str]]:
        """The batches that are known, or prove, to be those of a token that was asked with.

        One that goes on, or whose results cannot be read, is nobody's as yet.
        """
        asked: dict[str, str] | None = None  # tokens by their marks: only where they are needed
        for batch in self._batches():
            name = text_of(batch.get("id"))
            owned = owner(self._store, name)
            token = owned.token if owned else ""
            if owned is None:
                if asked is None:
                    asked = {mark_of(token).decode(): token for token in tokens(self._store)}
                token = self._recognised(batch, asked)
            if token:
                yield name, token

    def poll(self, name: str) -> JobStatus:
        """Looks at the batch once.

        Raises:
            Rejected: a clean no, such as for a batch that does not exist.
            Unavailable: no answer in every try, or a batch that should be known is not.
        """
        try:
            return _status(name, self._rest.ask(f"{_BATCHES}/{quote(name)}", may_pass=_unknown))
        except Rejected:
            listed = (b for b in self._batches() if b.get("id") == name)
            batch = next(listed, None)
            if batch is not None:
                return _status(name, batch)
            owned = owner(self._store, name)
            if owned and clock.now() - datetime.fromisoformat(owned.at) < SETTLING:
                raise Unavailable(f"The Claude API does not know {name} yet.") from None
            raise

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        """Streams the result lines; drops are resumed.

        Raises:
            NoResults: the batch names none; perhaps they were archived.
            ResultsGone: Claude does not have them, for now or any more.
            Unavailable: the connection dropped in every try; what came until then was yielded.
        """
        batch = self._rest.ask(f"{_BATCHES}/{quote(name)}", may_pass=_unknown)
        if not batch.get("results_url"):
            raise NoResults(f"The batch {name} names no results; perhaps they were archived.")
        path = f"{_BATCHES}/{quote(name)}/results"
        for line in self._rest.lines(path, gone=(403, 404, 410), may_pass=_unknown):
            yield read_line(line)

    def cancel(self, name: str) -> None:
        """Asks for the batch to stop; that it has already ended is no error.

        Raises:
            Rejected: a clean no, such as for a batch that does not exist.
            Unavailable: no answer in every try.
        """
        try:
            self._rest.patiently(partial(self._client.messages.batches.cancel, name))
        except Rejected:
            if not self.poll(name).state.done:
                raise

    def _write_down(self, token: str, requests: int) -> None:
        """Keeps what is about to be asked for, and what the newest batch was before it.

        Raises:
            Rejected: the list cannot be read, so that a lost answer could not be found again.
        """
        try:
            newest = next(self._batches(limit=1), {})
        except Unavailable as error:
            raise Rejected(error.message, error.fix, FailureClass.TRANSIENT) from None
        after = text_of(newest.get("created_at"))
        ask(self._store, token, Asked(requests=requests, after=after))

    def _recognised(self, batch: Mapping[str, Any], asked: Mapping[str, str]) -> str:
        """The token of a batch that has ended, by its mark; "" for another's, or where none tells.

        Which it is is written down: the results are read once.
        """
        try:
            mark = self._mark(batch)
        except Unavailable:  # also of a stranger's, which must not keep ours from being listed
            return ""
        if mark is None:
            return ""
        token = asked.get(mark, "")
        own(self._store, text_of(batch.get("id")), token)
        return token

    def _mark(self, batch: Mapping[str, Any]) -> str | None:
        """The mark in the batch's `custom_id`s; "" where there is none, None where it is too soon.

        Raises:
            Unavailable: the results cannot be read for now, or never again.
        """
        if batch.get("processing_status") != "ended":
            return None
        name = text_of(batch.get("id"))
        path = f"{_BATCHES}/{quote(name)}/results"
        if batch.get("results_url"):
            for line in self._rest.lines(path, may_pass=_unknown):
                if (mark := mark_in(line)) is not None:
                    return mark
        raise Undecided(
            f"The batch {name} may be the one that is looked for; its results are gone.",
            "Delete it at Claude if it is not, and run the wave again.",
        )

    def _batches(self, since: str = "", limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The workspace's batches, newest first, down to those created at the same time."""
        oldest = datetime.fromisoformat(since) - CLOCKS if since else None
        query: dict[str, str | int] = {"limit": limit or PAGE_SIZE}
        while True:
            page = self._rest.ask(f"{_BATCHES}?{urlencode(query)}")
            batches = jobs_on(page, "data", name="id", provider="Claude")
            for batch in batches:
                if oldest and _created(batch, oldest) < oldest:
                    return
                yield batch
            last = next_of(page, batches, name="id", provider="Claude")
            if last is None:
                return
            query["after_id"] = last


def _unknown(fault: Fault) -> bool:
    return fault.http == 404


def _created(batch: Mapping[str, Any], otherwise: datetime) -> datetime:
    """When the batch was created; `otherwise` where it does not say so legibly."""
    try:
        created = datetime.fromisoformat(text_of(batch.get("created_at")))
    except ValueError:
        return otherwise
    return created if created.tzinfo else otherwise


def _counts(batch: Mapping[str, Any]) -> dict[str, int]:
    return {name: count_of(n) for name, n in dict_of(batch.get("request_counts")).items()}


def _total(batch: Mapping[str, Any]) -> int:
    return sum(_counts(batch).values())


def _status(name: str, batch: Mapping[str, Any]) -> JobStatus:
    counts = _counts(batch)
    state = JobState.RUNNING
    # A state that is not known is taken for one on the way.
    if batch.get("processing_status") == "ended":
        state = JobState.SUCCEEDED
        for kind, unfinished in (("canceled", JobState.CANCELLED), ("expired", JobState.EXPIRED)):
            if counts.get(kind):
                state = unfinished
    return JobStatus(
        name=name,
        state=state,
        total=sum(counts.values()),
        succeeded=counts.get("succeeded", 0),
        failed=counts.get("errored", 0),
    )
