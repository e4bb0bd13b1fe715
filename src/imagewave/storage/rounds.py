"""A round of a wave: the requests of one kind that are asked for together, and the jobs they need.

What a round asks for is written once, by put-if-absent, before anything is sent: whoever comes
later, or races, reads what the first one planned. Its jobs follow from that part and from the
results of earlier attempts alone, so that every process computes the same jobs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from imagewave.storage import analytics, facts
from imagewave.storage.requests import Kind, Request
from imagewave.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The n-th round (from 1) of one kind of request in a revision of a wave."""

    wave: str
    revision: str
    kind: Kind
    number: int

    @property
    def part(self) -> str:
        """The name of this round's parts in the fact tables."""
        return f"{self.wave}-{self.revision}-{self.kind}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request as a wave asks for it.

    `reference` is the image that it is about: the draft that a final carries, or the picture that
    is judged. `about` is the request that made that picture. `reused` says that it was answered
    before this round, for which this wave pays nothing.
    """

    brief: str
    prompt_id: str
    request: Request
    estimate_usd: Decimal
    reference: str = ""
    about: str = ""
    reused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The effective result of a request."""

    request_id: str
    job_id: str
    status: str
    failure: str
    reason: str
    image: str
    format: str
    text: str
    cost_usd: Decimal


def record(store: Store, round: Round, asks: Iterable[Ask]) -> list[Ask]:
    """Writes what the round asks for, unless that stands already; returns what stands.

    The same request for the same brief is asked once.
    """
    unique = {(ask.brief, ask.request.id): ask for ask in asks}
    answered = analytics.answered(store, {request_id for _, request_id in unique})
    rows = [
        {
            "wave": round.wave,
            "revision": round.revision,
            "brief": ask.brief,
            "prompt_id": ask.prompt_id,
            "request_id": request_id,
            "kind": round.kind,
            "round": round.number,
            "model": ask.request.model,
            "sample": ask.request.sample,
            "seed": ask.request.seed,
            "aspect_ratio": ask.request.aspect_ratio,
            "size": ask.request.size,
            "reference": ask.reference,
            "about": ask.about,
            "estimate_usd": ask.estimate_usd,
            "reused": request_id in answered,
            "request": ask.request.to_json().decode(),
        }
        for (_, request_id), ask in sorted(unique.items())
    ]
    facts.append(store, "requests", round.part, rows)
    standing = load(store, round)
    assert standing is not None
    return standing


def load(store: Store, round: Round) -> list[Ask] | None:
    """What the round asks for; None if nobody has planned it."""
    rows = facts.read(store, "requests", round.part)
    if rows is None:
        return None
    return [
        Ask(
            brief=row["brief"],
            prompt_id=row["prompt_id"],
            request=Request.from_json(row["request"].encode()),
            estimate_usd=row["estimate_usd"],
            reference=row["reference"],
            about=row["about"],
            reused=row["reused"],
        )
        for row in rows
    ]


def answers(store: Store, request_ids: Iterable[str]) -> dict[str, Answer]:
    """The effective result of each of these requests that has any, whichever wave paid for it."""
    rows = analytics.query(
        store,
        "SELECT request_id, job_id, status, failure, reason, image, format, text, cost_usd"
        " FROM results WHERE request_id IN (SELECT unnest(?))",
        [list(request_ids)],
    )
    return {row["request_id"]: Answer(**row) for row in rows}


def results_of(store: Store, job_ids: Sequence[str]) -> list[Mapping[str, object]]:
    """All result rows of these jobs, as facts."""
    return [row for job_id in job_ids for row in facts.read(store, "results", job_id) or ()]
