"""Cuts a round into jobs: the same jobs, whoever cuts it and however often."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from imagewave.storage import facts, rounds
from imagewave.storage.jobs import JobFolder, Plan
from imagewave.storage.requests import FailureClass, Request, job_id
from imagewave.storage.rounds import Ask, Round
from imagewave.storage.store import Store
from imagewave.tasks.failures import retryable
from imagewave.tasks.providers.protocol import Lane

# A job is a unit of work and of loss: fifty of them share a large wave, none is trivially small.
_SHARES = 50
_FEWEST, _MOST = 100, 2000
# Bytes of a request line besides its reference images, and of one such image as base64: reduced
# for a judge, or as a model drew it.
_LINE_BYTES = 4_000
_REDUCED_BYTES, _FULL_BYTES = 200_000, 3_000_000


def shard(
    store: Store,
    round: Round,
    asks: Sequence[Ask],
    lane: Lane,
    previous: Sequence[str] | None,
) -> list[str]:
    """The ids of the jobs of one attempt at a round, their folders written.

    `previous` are the settled jobs of the attempt before (None: this is the first). The first
    attempt takes what was unanswered when the round was planned, a later one what may be tried
    again; no job at all means that the round is over.
    """
    estimates = {ask.request.id: ask.estimate_usd for ask in asks}
    if previous is None:
        attempt = 1
        due = {ask.request.id: ask.request for ask in asks if not ask.reused}
    else:
        attempt, due = _remainder(store, previous)
    jobs = []
    for requests in _cut(list(due.values()), lane):
        plan = Plan(
            wave=round.wave,
            revision=round.revision,
            kind=round.kind,
            round=round.number,
            attempt=attempt,
            lane=lane.name,
            model=requests[0].model,
            requests=len(requests),
            estimate_usd=str(sum((estimates[r.id] for r in requests), Decimal(0))),
        )
        id = job_id(requests, f"{round.kind}-{round.number}.{attempt}")
        JobFolder(store, id).write_plan(plan, requests)
        rows = [
            {"job_id": id, "request_id": request.id, "attempt": attempt} for request in requests
        ]
        facts.append(store, "submissions", id, rows)
        jobs.append(id)
    return jobs


def _remainder(store: Store, previous: Sequence[str]) -> tuple[int, dict[str, Request]]:
    """The next attempt's number, and what of the settled jobs may be tried again."""
    attempt = 1
    unanswered: dict[str, Request] = {}
    for id in previous:
        folder = JobFolder(store, id)
        attempt = folder.plan().attempt + 1
        rows = {row["request_id"]: row for row in rounds.results_of(store, [id])}
        for request in folder.requests():
            row = rows.get(request.id)
            # No row at all: the job was superseded before it was sent.
            if row is None or _may_be_tried_again(row, attempt - 1):
                unanswered[request.id] = request
    for id in rounds.answers(store, unanswered) if unanswered else ():
        del unanswered[id]
    return attempt, unanswered


def _may_be_tried_again(row: Mapping[str, object], attempts: int) -> bool:
    failure = str(row["failure"])
    return bool(failure) and retryable(FailureClass(failure), str(row["reason"]), attempts)


def _cut(requests: Sequence[Request], lane: Lane) -> Iterator[list[Request]]:
    """Runs of requests of one model that keep within the lane's limits."""
    limit = min(lane.max_requests, max(_FEWEST, min(_MOST, len(requests) // _SHARES)))
    for model in sorted({request.model for request in requests}):
        shard: list[Request] = []
        size = 0
        for request in (r for r in requests if r.model == model):
            line = _bytes(request)
            if shard and (len(shard) == limit or size + line > lane.max_bytes):
                yield shard
                shard, size = [], 0
            shard.append(request)
            size += line
        if shard:
            yield shard


def _bytes(request: Request) -> int:
    each = _FULL_BYTES if request.reference_edge is None else _REDUCED_BYTES
    return _LINE_BYTES + len(request.prompt) + len(request.system) + each * len(request.references)
