"""Cuts a round into jobs: the same jobs, whoever cuts it and however often."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import count, islice
from typing import Any

from imagewave.providers.failures import retryable
from imagewave.providers.protocol import Lane
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.lanes import draws_on_your_gpus
from imagewave.storage.catalog.prices import UnknownPrice, gpu_seconds
from imagewave.storage.facts import analytics, facts
from imagewave.storage.jobs.folder import JobFolder, Plan
from imagewave.storage.requests import FailureClass, Request, job_id
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.rounds import Ask, Round
from imagewave.storage.store import Store

# A job is a unit of work and of loss: ten of them share a large wave, none is trivially small.
_SHARES = 10
_FEWEST, _MOST = 250, 2000
# Own GPUs load the model anew for each job, for half a minute or more: one is worth eight minutes.
_GPU_JOB_S = 480
# Bytes of a request line besides its reference images, and of one such image as base64: reduced
# for a judge, or as a model drew it.
_LINE_BYTES = 4_000
_REDUCED_BYTES, _FULL_BYTES = 200_000, 3_000_000


def shard(
    store: Store, round: Round, asks: Sequence[Ask], lane_for: Callable[[str], Lane], attempt: int
) -> list[str]:
    """The ids of the jobs of the `attempt`-th (from 1) attempt at a round, their folders written.

    The first attempt takes what was unanswered when the round was planned, a later one what may be
    tried again after the one before, all of whose jobs are over. No job: the round is over. What
    an attempt sends is written once, so that results which arrive meanwhile from other waves
    change nothing in it.
    """
    by_id = {ask.request.id: ask for ask in asks}
    rows = facts.read(store, "submissions", _part(round, attempt))
    if rows is None:
        due = _due(store, round, asks, attempt)
        planned = [
            {"job_id": id, "request_id": request.id, "attempt": attempt}
            for requests in _cut([by_id[id].request for id in due], lane_for)
            for id in [job_id(requests, f"{round.wave} {round.label}.{attempt}")]
            for request in requests
        ]
        facts.append(store, "submissions", _part(round, attempt), planned)
        rows = facts.read(store, "submissions", _part(round, attempt))
        assert rows is not None
    jobs: dict[str, list[Ask]] = {}
    for row in rows:
        jobs.setdefault(row["job_id"], []).append(by_id[row["request_id"]])
    for id, sent in jobs.items():
        plan = Plan(
            wave=round.wave,
            revision=round.revision,
            kind=round.kind,
            round=round.number,
            attempt=attempt,
            lane=lane_for(sent[0].request.model).name,
            model=sent[0].request.model,
            requests=len(sent),
            estimate_usd=str(sum((ask.estimate_usd for ask in sent), Decimal(0))),
        )
        JobFolder(store, id).write_plan(plan, (ask.request for ask in sent))
    return list(jobs)


def is_cut(store: Store, round: Round) -> bool:
    """Whether it is decided what the first attempt at the round sends."""
    return facts.has(store, "submissions", _part(round, 1))


def given_up(store: Store, round: Round) -> list[str]:
    """The requests of the round's jobs that were given up, of all attempts so far."""
    return [
        row["request_id"]
        for attempt in _attempts(store, round)
        for gone in [_abandoned(store, {row["job_id"] for row in attempt})]
        for row in attempt
        if row["job_id"] in gone
    ]


def _attempts(store: Store, round: Round) -> Iterator[list[dict[str, Any]]]:
    for attempt in count(1):
        rows = facts.read(store, "submissions", _part(round, attempt))
        if not rows:
            return
        yield rows


def _abandoned(store: Store, jobs: Iterable[str]) -> set[str]:
    return {id for id in jobs if JobFolder(store, id).abandoned()}


def _part(round: Round, attempt: int) -> str:
    return f"{round.part}.{attempt}"


def _due(store: Store, round: Round, asks: Sequence[Ask], attempt: int) -> list[str]:
    """The ids of the requests that the attempt is to send, in the order of the asks."""
    if attempt == 1:
        wanted = (ask.request for ask in asks if not ask.reused)
        ids = list(dict.fromkeys(request.id for request in wanted if not request.imported))
        answered = analytics.answered(store, ids)
        return [id for id in ids if id not in answered]
    sent = list(islice(_attempts(store, round), attempt - 1))
    previous = sent[-1] if len(sent) == attempt - 1 else []
    jobs = {row["job_id"] for row in previous}
    gone = _abandoned(store, jobs)
    results: dict[str, list[Mapping[str, object]]] = {}
    for result in rounds.results_of(
        store, sorted({row["job_id"] for rows in sent for row in rows})
    ):
        results.setdefault(str(result["request_id"]), []).append(result)
    due = []
    for row in previous:
        if row["job_id"] in gone:
            continue
        so_far = results.get(row["request_id"], [])
        last = next((r for r in so_far if r["job_id"] == row["job_id"]), None)
        # No result at all: the job was superseded before it was sent.
        if last is None or _may_be_tried_again(last, so_far):
            due.append(row["request_id"])
    answered = analytics.answered(store, due)
    return [id for id in due if id not in answered]


def _may_be_tried_again(row: Mapping[str, object], so_far: Sequence[Mapping[str, object]]) -> bool:
    """Whether the request is asked for once more after this result, by all of the round's so far.

    What counts are failures of the same kind, and answers apart from jobs that brought none: one
    that expired takes nothing from what a bad answer may be tried again.
    """
    failure = str(row["failure"])
    kind = (row["failure"], row["status"] == "missing")
    attempts = sum((other["failure"], other["status"] == "missing") == kind for other in so_far)
    return bool(failure) and retryable(FailureClass(failure), str(row["reason"]), attempts)


def _cut(requests: Sequence[Request], lane_for: Callable[[str], Lane]) -> Iterator[list[Request]]:
    """Runs of requests of one model that keep within its lane's limits.

    Requests with and without references go apart: for some providers they are different jobs.
    """
    share = max(_FEWEST, min(_MOST, len(requests) // _SHARES))
    for model, refers in sorted({(r.model, bool(r.references)) for r in requests}):
        lane = lane_for(model)
        alike = [r for r in requests if (r.model, bool(r.references)) == (model, refers)]
        limit = min(lane.max_requests, _gpu_share(alike[0]) or share)
        shard: list[Request] = []
        size = 0
        for request in alike:
            line = _bytes(request)
            if shard and (len(shard) == limit or size + line > lane.max_bytes):
                yield shard
                shard, size = [], 0
            shard.append(request)
            size += line
        if shard:
            yield shard


def _gpu_share(request: Request) -> int | None:
    """How many such pictures keep a GPU busy long enough; None where that is no question."""
    model = find_model(request.model)
    if not draws_on_your_gpus(model):
        return None
    try:
        seconds = gpu_seconds(model, request.size, request.steps)
    except UnknownPrice:
        return None
    return max(1, int(_GPU_JOB_S / seconds)) if seconds else None


def _bytes(request: Request) -> int:
    each = _FULL_BYTES if request.reference_edge is None else _REDUCED_BYTES
    return _LINE_BYTES + len(request.prompt) + len(request.system) + each * len(request.references)
