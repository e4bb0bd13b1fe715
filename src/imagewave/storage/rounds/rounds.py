"""A round of a wave: the requests of one kind that are asked for together, and what came of them.

What a round asks for is written once, by put-if-absent, before anything is sent: whoever comes
later, or races, reads what the first one planned. So is, once all of its jobs are over, which
results it goes by: a better result that another wave or a late job brings afterwards changes
nothing in what was decided from them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import orjson

from imagewave.storage.facts import analytics, facts
from imagewave.storage.records import read_record
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds import refusals
from imagewave.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The n-th round (from 1) of one kind of request in a revision of a wave.

    Its `fallback` asks another model for what was given up in the round itself.
    """

    wave: str
    revision: str
    kind: Kind
    number: int
    fallback: bool = False

    @property
    def label(self) -> str:
        """What the round is called within its wave, such as `draft-2`."""
        return f"{self.kind}-{self.number}{'-fallback' if self.fallback else ''}"

    @property
    def part(self) -> str:
        """The name of this round's parts in the fact tables."""
        return f"{self.wave}-{self.revision}-{self.label}"


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


def record(store: Store, round: Round, asks: Iterable[Ask], *, by_name: bool = False) -> list[Ask]:
    """Writes what the round asks for, unless that stands already; returns what stands.

    The same request for the same brief is asked once. What a model has turned down before stays
    refused and is not sent, unless a person asked for these very requests (`by_name`).
    """
    unique = {(ask.brief, ask.request.id): ask for ask in asks}
    answered = analytics.answered(store, {request_id for _, request_id in unique})
    if not by_name:
        answered |= _refused(store, round, unique.values(), answered)
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
            # An imported picture was answered from the start, and this wave may well have paid.
            "reused": request_id in answered and not ask.request.imported,
            "request": ask.request.to_json().decode(),
        }
        for (_, request_id), ask in sorted(unique.items())
    ]
    facts.append(store, "requests", round.part, rows)
    standing = load(store, round)
    assert standing is not None
    return standing


def _refused(
    store: Store, round: Round, asks: Iterable[Ask], answered: Collection[str]
) -> set[str]:
    """The requests that were turned down before, each with that as its answer."""
    requests = {
        ask.request.id: ask.request
        for ask in asks
        if ask.request.id not in answered and not ask.request.imported
    }
    found = refusals.refused(store, requests.values()) if requests else {}
    pairs = ((requests[id], refusal) for id, refusal in found.items())
    refusals.record(store, round.wave, round.part, pairs)
    return set(found)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Closed:
    """What is written of a closed round: by request, the job whose result the round goes by.

    `late` are the requests whose results were found after they had been held for lost.
    """

    answers: dict[str, str]
    given_up: list[str]
    late: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a round: the results it goes by, and the requests whose jobs were given up."""

    answers: Mapping[str, Answer]
    given_up: frozenset[str]


def close(store: Store, round: Round, asks: Sequence[Ask], given_up: Iterable[str]) -> Outcome:
    """Writes which results the round goes by, unless that stands already; returns what stands.

    `given_up` are the requests of jobs that nobody waits for any longer. Written down as well is
    which of the results were found late, after they had been held for lost.
    """
    found = answers(store, (ask.request.id for ask in asks))
    brought = {id for id, answer in found.items() if answer.status in ("image", "text")}
    lost = sorted(set(given_up) - brought)
    jobs = {id: answer.job_id for id, answer in found.items()}
    first = _of_jobs(store, "every_results", jobs)
    late = sorted(id for id, row in first.items() if row.status != found[id].status)
    closed = _Closed(answers=jobs, late=late, given_up=lost)
    content = orjson.dumps(closed, option=orjson.OPT_SORT_KEYS)
    store.put_if_absent(_outcome_path(round), content)
    standing = outcome(store, round)
    assert standing is not None
    return standing


def outcome(store: Store, round: Round) -> Outcome | None:
    """What came of the round; None while it is not over.

    Raises:
        BadRecord: what was written about it cannot be read.
    """
    try:
        closed = read_record(store, _outcome_path(round), _Closed)
    except FileNotFoundError:
        return None
    late = {id: closed.answers[id] for id in closed.late}
    # Others as they were recorded first: what is found later changes nothing that was decided.
    answers = _of_jobs(store, "every_results", closed.answers)
    if late:
        answers |= _of_jobs(store, "attempts", late)
    return Outcome(answers=answers, given_up=frozenset(closed.given_up))


def _outcome_path(round: Round) -> str:
    return f"rounds/{round.part}.json"


def _of_jobs(store: Store, view: str, jobs: Mapping[str, str]) -> dict[str, Answer]:
    """The results of these requests by these jobs of theirs."""
    rows = _answers(store, view, jobs)
    return {row.request_id: row for row in rows if row.job_id == jobs[row.request_id]}


def answers(store: Store, request_ids: Iterable[str]) -> dict[str, Answer]:
    """The effective result of each of these requests that has any, whichever wave paid for it."""
    found = _answers(store, "results", request_ids, f" AND {analytics.KEPT}")
    return {row.request_id: row for row in found}


def _answers(
    store: Store, view: str, request_ids: Iterable[str], condition: str = ""
) -> list[Answer]:
    rows = analytics.query(
        store,
        "SELECT request_id, job_id, status, failure, reason, image, format, text, cost_usd"
        f" FROM {view} WHERE request_id IN (SELECT unnest(?::VARCHAR[])){condition}",
        [list(request_ids)],
    )
    return [Answer(**row) for row in rows]


def results_of(store: Store, job_ids: Sequence[str]) -> list[Mapping[str, object]]:
    """All result rows of these jobs, as facts."""
    return [row for job_id in job_ids for row in facts.read(store, "results", job_id) or ()]
