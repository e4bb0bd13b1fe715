"""Takes in what a finished job gave: images to the store, everything else to the facts.

The result is streamed: each picture is stored and measured as it arrives, and only the facts about
it stay in memory. Nothing is settled before all of it is durable, and all of it may be repeated:
pictures are addressed by content, parts by job.

What the provider has done and does not deliver is looked for again, for hours: so long the job
stays open. Then it is charged as estimated, and nobody asks for it again by himself.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache, partial

from imagewave import clock
from imagewave.killpoints import reached
from imagewave.providers.protocol import JobState, JobStatus, Lane, Outcome, Unavailable
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import UnknownPrice, Usage, metered
from imagewave.storage.facts import facts
from imagewave.storage.images import StoredImage, phash_text
from imagewave.storage.jobs import events as job_events
from imagewave.storage.jobs.folder import MISSING_HOURS, Accepted, JobFolder, Plan, Settled, now
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.requests import FailureClass, Request, Status
from imagewave.storage.rounds.rounds import results_of
from imagewave.storage.store import Store
from imagewave.tasks.collecting.delivered import (
    NOT_DELIVERED,
    RESULTS_GONE,
    UNREADABLE,
    Delivered,
    Owed,
    owed,
    read,
)
from imagewave.tasks.json_answers import BadAnswer, read_answer
from imagewave.tasks.screening.metrics import Metrics
from imagewave.tasks.screening.pool import Pool
from imagewave.words import counted


class Undelivered(Unavailable):
    """The provider has ended the job and does not deliver, for now, all that it says is done."""

    def __init__(self, name: str, requests: int, found: Delivered, owed: Owed) -> None:
        what = found.gone or f"{counted(owed.lines, 'line')} of {requests} are not in its results"
        super().__init__(
            f"{name} has ended, but is not delivered: {what}",
            "It is looked for again; nothing is asked for anew.",
        )


def collect(
    store: Store,
    job_id: str,
    lane: Lane,
    status: JobStatus,
    pool: Pool,
    *,
    missing_hours: float = MISSING_HOURS,
) -> Settled:
    """Settles a job that its provider has ended; repeating it changes nothing.

    `pool` decodes and measures the pictures. What the provider owes counts as lost when it has owed
    it for `missing_hours`.

    Raises:
        Undelivered: the provider owes something; nothing is settled.
        Unavailable: the provider does not deliver for now; nothing is settled.
    """
    folder = JobFolder(store, job_id)
    if settled := folder.settled():
        return settled
    accepted = folder.accepted()
    assert accepted is not None, "a job is collected after it was accepted"
    plan = folder.plan()
    requests = {request.id: request for request in folder.requests()}

    taken = read(store, lane, status, requests, pool, wants_image=plan.kind.wants_image)
    lacking = owed(taken, status, len(requests))
    if lacking.lines:
        undelivered = Undelivered(status.name, len(requests), taken, lacking)
        since = folder.miss(undelivered.message)
        if (clock.now() - since).total_seconds() < missing_hours * 3600:
            raise undelivered
    rows = result_rows(job_id, plan, accepted, requests, taken, status, lacking)

    reached("collect.before_facts")
    append_images(store, job_id, taken)
    reached("collect.between_facts")
    facts.append(store, "findings", job_id, _finding_rows(plan, job_id, taken.findings))
    if renders := _render_rows(plan, job_id, taken):
        facts.append(store, "renders", job_id, renders)
    facts.append(store, "results", job_id, rows)
    reached("collect.before_capture")
    # The facts that stand, not those just computed: another process may have written them first.
    standing = results_of(store, [job_id])
    captured = sum((Decimal(str(row["cost_usd"])) for row in standing), Decimal(0))
    Ledger(store).capture(job_id, captured)
    reached("collect.before_settle")
    settled = Settled(
        state=status.state,
        message=status.message,
        counts=dict(Counter(str(row["status"]) for row in standing)),
        captured_usd=str(captured),
        at=now(),
    )
    job_events.settled(folder, settled)
    folder.settle(settled)
    return settled


def result_rows(
    job_id: str,
    plan: Plan,
    accepted: Accepted,
    requests: dict[str, Request],
    taken: Delivered,
    status: JobStatus,
    lacking: Owed,
) -> list[dict[str, object]]:
    """One result for each request of the job."""
    if taken.gone:
        taken.findings.append(("results gone", "", taken.gone))
    lost = lacking.answered
    day = datetime.fromisoformat(accepted.at).date()
    # Answers of one model mostly report the same counts, and a price takes its time.
    price = cache(partial(metered, find_model(plan.model), lane=plan.lane, at=day))
    strays = iter(taken.strays)
    rows = []
    for id in requests:
        cost = None
        outcome = taken.outcomes.get(id)
        stored = taken.stored.get(id)
        if outcome is None:
            # What a line without a key of ours did cost was spent on a request that lacks its own.
            if (stray := next(strays, None)) is not None:
                cost = _cost(stray, plan, price, taken)
            elif lost:
                lost -= 1
                outcome = _lost(id, taken)
            outcome = outcome or _missing(id, status, taken)
        if cost is None:
            cost = _cost(outcome, plan, price, taken)
        if fault := _fault(outcome, stored, requests[id], taken.metrics):
            reason, message = fault
            outcome = replace(
                outcome,
                status=Status.FAILED,
                failure=FailureClass.BROKEN,
                reason=reason,
                message=message,
            )
        usage = outcome.usage
        rows.append(
            {
                "request_id": id,
                "job_id": job_id,
                "wave": plan.wave,
                "kind": plan.kind,
                "model": plan.model,
                "attempt": plan.attempt,
                "status": outcome.status,
                "failure": outcome.failure or "",
                "reason": outcome.reason,
                "message": outcome.message[:2000],
                "image": stored.sha256 if stored else "",
                "format": stored.format if stored else "",
                "text": outcome.text or "",
                "prompt_tokens": usage and usage.prompt_tokens,
                "image_tokens": usage and usage.image_tokens,
                "text_tokens": usage and usage.text_tokens,
                "thought_tokens": usage and usage.thought_tokens,
                "reference_tokens": usage and usage.reference_tokens,
                "cost_usd": cost,
            }
        )
    for stray in strays:
        cost = _cost(stray, plan, price, taken)
        taken.findings.append(("cost of nobody", stray.key or "", f"not captured: {cost:f}"))
    return rows


def _lost(id: str, taken: Delivered) -> Outcome:
    """The result of a request that the provider has answered, and whose answer it has lost.

    It was billed: asking again by oneself would pay twice, so a person decides.
    """
    if taken.gone:
        return Outcome(key=id, status=Status.MISSING, reason=RESULTS_GONE)
    taken.findings.append(("not delivered", id, "counted as done, and not among the results"))
    return Outcome(key=id, status=Status.MISSING, reason=NOT_DELIVERED)


def _missing(id: str, status: JobStatus, taken: Delivered) -> Outcome:
    """The result of a request that nothing came back for, and that was not billed."""
    reason = f"JOB_{status.state}".upper()
    if status.state in (JobState.SUCCEEDED, JobState.PARTIAL):
        reason = "MISSING_KEY"
        taken.findings.append(("missing key", id, "no result line carries it"))
    return Outcome(key=id, status=Status.MISSING, failure=FailureClass.TRANSIENT, reason=reason)


def _fault(
    outcome: Outcome,
    stored: StoredImage | None,
    request: Request,
    metrics: dict[str, Metrics],
) -> tuple[str, str] | None:
    """Why an answer that came is no use (reason and message): it cannot be decoded, or its words
    are not the JSON that was asked for."""
    if stored is not None and (found := metrics[stored.sha256]).undecodable:
        return "UNDECODABLE", found.error
    if outcome.status is Status.TEXT and request.response_schema is not None:
        try:
            read_answer(outcome.text or "", request.response_schema)
        except BadAnswer as fault:
            return "BAD_ANSWER", str(fault)
    return None


def _cost(
    outcome: Outcome, plan: Plan, price: Callable[[Usage], Decimal], taken: Delivered
) -> Decimal:
    """What the request did cost, by the usage that its line reports.

    An answer without usage was billed all the same, usable or not, and so, for all that is known,
    were results that cannot be read or that the provider has lost: they are charged as estimated,
    and a finding says so; so is usage whose price nobody knows. Lines that are legible, without an
    answer and without usage, are not billed.
    """
    kind = "no usage"
    if outcome.usage is not None:
        try:
            return price(outcome.usage)
        except UnknownPrice:
            kind = "no price"
    answered = outcome.billed or outcome.status in (Status.IMAGE, Status.TEXT)
    if outcome.usage is None and not answered and outcome.reason not in UNREADABLE:
        return Decimal(0)
    share = Decimal(plan.estimate_usd) / plan.requests
    taken.findings.append((kind, outcome.key or "", f"charged as estimated: {share:f}"))
    return share


def append_images(store: Store, part: str, taken: Delivered) -> None:
    """Records the pictures that were read, and what was measured of them."""
    images = [
        {
            "image": sha256,
            "format": stored.format,
            "mime": taken.mimes[sha256],
            "bytes": stored.size,
            "path": stored.path,
        }
        for sha256, stored in taken.images.items()
    ]
    facts.append(store, "images", part, images)
    rows = [metrics_row(*item) for item in taken.metrics.items()]
    facts.append(store, "metrics", part, rows)


def _render_rows(plan: Plan, job_id: str, taken: Delivered) -> list[dict[str, object]]:
    """What your GPUs spent on each picture, and which others have the promise of its bits."""
    return [
        {
            "wave": plan.wave,
            "job_id": job_id,
            "request_id": key,
            "model": plan.model,
            "numerics_id": outcome.numerics_id,
            "gpu_seconds": float(outcome.usage.gpu_seconds),
        }
        for key, outcome in taken.outcomes.items()
        if outcome.usage is not None and outcome.usage.gpu_seconds is not None
    ]


def metrics_row(sha256: str, metrics: Metrics) -> dict[str, object]:
    """A row of the `metrics` table; without figures where there is an error."""
    names = (
        "brightness",
        "p05",
        "p95",
        "contrast",
        "blur",
        "entropy",
        "border",
        "cast",
    )
    known = not metrics.error
    return {
        "image": sha256,
        "width": metrics.width,
        "height": metrics.height,
        "error": metrics.error,
        **{name: getattr(metrics, name) if known else None for name in names},
        "phash": phash_text(metrics.phash) if metrics.phash is not None else "",
    }


def _finding_rows(
    plan: Plan, job_id: str, findings: Iterable[Sequence[str]]
) -> list[dict[str, object]]:
    return [
        {
            "wave": plan.wave,
            "job_id": job_id,
            "kind": kind,
            "key": key[:200],
            "detail": detail,
        }
        for kind, key, detail in dict.fromkeys(map(tuple, findings))
    ]
