"""One lane on the bench: the service behind it, its books, and requests to try it with."""

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from imagewave.providers.protocol import JobState, Lane, Outcome, Undecided
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.lanes import on_your_gpus
from imagewave.storage.catalog.prices import metered
from imagewave.storage.requests import Kind, Request, Status, canonical_json

KEY = "sandbox-key-that-nobody-may-see"
BAD_KEY = "bad-secret-key"

JUDGEMENT = canonical_json(
    {
        "type": "object",
        "properties": {"score": {"type": "number"}, "reason": {"type": "string"}},
        "required": ["score", "reason"],
        "additionalProperties": False,
    }
).decode()


class Service(Protocol):
    """A stand-in for a provider's service, over HTTP, that can be told to misbehave.

    It takes any key but those that begin with `bad`. A prompt that holds `[[sandbox:NAME]]` gets
    that defect; docs/providers.md lists the names of defects and faults.
    """

    @property
    def url(self) -> str:
        """Where it answers."""
        ...

    def arm(self, **faults: Any) -> None:
        """Has the service commit each fault so many times, or as its table of settings says."""
        ...

    def disarm(self) -> None:
        """Takes back every fault that was not committed yet."""
        ...

    def jobs(self) -> int:
        """How many jobs it has ever accepted."""
        ...

    def ledger(self) -> list[dict[str, Any]]:
        """All that it has ever billed: an entry per request, with `usd`."""
        ...


class Retired(StrEnum):
    """When a service turns a retired model down."""

    AT_CREATE = "at create"
    IN_THE_JOB = "in the job"
    IN_EACH_RESULT = "in each result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A lane and a provider behind it, and in what they differ from others.

    `make` opens the lane for an address, a key and a folder of its own. `model` draws or, where
    nothing draws, judges: then it `gives` text. `ratio` is one that `model` draws. `partly` is the
    fault by which a job loses something; "" where nobody serves, so that there are neither keys nor
    faults. `refuses` says whether prompts are turned down for their content. `unknown_job` is a
    name of the provider's form that no job has. `page_size` is the dotted name of the constant that
    says how many jobs a page of the list has.
    """

    lane: str
    model: str
    make: Callable[[str, str, Path], Lane]
    partly: str = ""
    text_model: str = ""
    retired_model: str = ""
    retired: Retired = Retired.IN_EACH_RESULT
    gives: Status = Status.IMAGE
    realm: str = "sandbox"
    unknown_job: str = "nothing"
    page_size: str = ""
    refuses: bool = True
    ratio: str = "3:2"

    @property
    def costs_time(self) -> bool:
        """Whether it is billed by time, so that no bill of the service's can be held against it."""
        return on_your_gpus(self.lane)


class Bench:
    """A lane, and the switches and books of the service behind it."""

    def __init__(self, service: Service, way: Way, folder: Path) -> None:
        self.service = service
        self.way = way
        self.folder = folder
        self.lane = self.open()
        self._read = len(service.ledger())

    @property
    def token(self) -> str:
        """A token that no other test has."""
        return self.folder.parent.name

    def open(self, key: str = KEY) -> Lane:
        """The lane once more, as another process would open it."""
        return self.way.make(self.service.url, key, self.folder)

    def billed(self) -> list[dict[str, Any]]:
        """What was written into the books since this test began."""
        return self.service.ledger()[self._read :]

    def bill(self) -> Decimal:
        """The sum of that, in USD."""
        return sum((Decimal(entry["usd"]) for entry in self.billed()), Decimal(0))

    def draft(self, prompt: str = "tulips", **fields: Any) -> Request:
        """What the lane is for: a picture to be drawn or, where it draws none, to be judged."""
        model = find_model(self.way.model)
        if self.way.gives is Status.TEXT:
            return self.judgement(prompt.replace("]]", "@any]]"), **fields)
        return Request(
            kind=Kind.DRAFT,
            model=model.id,
            prompt=prompt,
            aspect_ratio=self.way.ratio,
            size=model.default_size,
            **fields,
        )

    def judgement(self, prompt: str, **fields: Any) -> Request:
        """A picture to be judged."""
        asked: dict[str, Any] = {"references": ("a" * 64,), "reference_edge": 256, **fields}
        return Request(
            kind=Kind.JUDGE,
            model=self.way.text_model,
            prompt=prompt,
            system="be strict",
            temperature=0.0,
            response_schema=JUDGEMENT,
            **asked,
        )

    def drafts(self, count: int) -> list[Request]:
        """So many different drafts."""
        return [self.draft(f"tulips {number}") for number in range(count)]

    def create(self, *requests: Request, token: str = "token") -> str:
        """Hands the requests over as a job; returns its name."""
        handle = self.lane.prepare(requests, a_picture, "input")
        return self.lane.create(handle, requests[0].model, token)

    def finish(self, name: str) -> JobState:
        """Waits for the job's end."""
        while not (status := self.lane.poll(name)).state.done:
            time.sleep(0.02)
        return status.state

    def find(self, token: str) -> list[str]:
        """The jobs of the token, once that can be told."""
        while True:
            try:
                return self.lane.find(token)
            except Undecided:
                time.sleep(0.02)

    def results(self, name: str, *requests: Request) -> list[Outcome]:
        """The job's results, in their order."""
        wants = {request.id: request.kind.wants_image for request in requests}
        return list(self.lane.results(name, lambda key: wants.get(key, True)))

    def outcomes(self, *requests: Request) -> dict[str | None, Outcome]:
        """What became of each request of a job of its own."""
        name = self.create(*requests)
        self.finish(name)
        found = self.results(name, *requests)
        outcomes = {outcome.key: outcome for outcome in found}
        assert len(outcomes) == len(found)
        return outcomes

    def cost(self, *outcomes: Outcome) -> Decimal:
        """What imagewave reckons that these cost, in USD."""
        today = datetime.now(UTC).date()
        model = find_model(self.way.model)
        used = [outcome.usage for outcome in outcomes if outcome.usage]
        costs = (metered(model, usage, lane=self.way.lane, at=today) for usage in used)
        return sum(costs, Decimal(0))


def a_picture(sha256: str) -> bytes:
    """A JPEG of noise, whatever picture is asked for."""
    out = io.BytesIO()
    Image.effect_noise((900, 600), 60).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def fields_of(outcome: Outcome) -> set[str]:
    """The fields of an answer in JSON."""
    return set(json.loads(outcome.text or "{}"))
