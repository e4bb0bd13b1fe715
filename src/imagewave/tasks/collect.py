"""Takes in what a finished job gave: images to the store, everything else to the facts.

The result is streamed: each picture is stored and measured as it arrives, and only the facts about
it stay in memory. Nothing is settled before all of it is durable, and all of it may be repeated:
pictures are addressed by content, parts by job.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import cache, partial

from imagewave.killpoints import reached
from imagewave.storage import facts, job_events
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import Usage, metered
from imagewave.storage.images import StoredImage
from imagewave.storage.jobs import Accepted, JobFolder, Plan, Settled, now
from imagewave.storage.ledger import Ledger
from imagewave.storage.requests import FailureClass, Request, Status
from imagewave.storage.rounds import results_of
from imagewave.storage.store import Store
from imagewave.tasks.intake import intake
from imagewave.tasks.providers.protocol import (
    CALL_UNANSWERED,
    JobState,
    JobStatus,
    Lane,
    Outcome,
    ResultsGone,
)
from imagewave.tasks.schemas import schema_error
from imagewave.tasks.screening.metrics import Metrics
from imagewave.tasks.screening.pool import Pool, Source

RESULTS_GONE = "RESULTS_GONE"
_UNREADABLE = (RESULTS_GONE, CALL_UNANSWERED, "INVALID_JSON", "LINE_TOO_LONG")


@dataclass(slots=True)
class _Intake:
    """What has been read of a job's results so far, by request."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    stored: dict[str, StoredImage] = field(default_factory=dict)
    mimes: dict[str, str] = field(default_factory=dict)
    images: dict[str, StoredImage] = field(default_factory=dict)
    findings: list[tuple[str, str, str]] = field(default_factory=list)
    strays: list[Outcome] = field(default_factory=list)
    gone: bool = False


def collect(store: Store, job_id: str, lane: Lane, status: JobStatus, pool: Pool) -> Settled:
    """Settles a job that its provider has ended; repeating it changes nothing.

    `pool` decodes and measures the pictures.

    Raises:
        Unavailable: the provider does not deliver for now; nothing is settled.
    """
    folder = JobFolder(store, job_id)
    if settled := folder.settled():
        return settled
    accepted = folder.accepted()
    assert accepted is not None, "a job is collected after it was accepted"
    plan = folder.plan()
    requests = {request.id: request for request in folder.requests()}

    taken = _Intake()
    metrics = _stream(store, lane, status, plan, requests, taken, pool)
    rows = _rows(folder.job_id, plan, accepted, requests, taken, metrics, status)

    reached("collect.before_facts")
    _append_images(store, job_id, taken, metrics)
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


def _stream(
    store: Store,
    lane: Lane,
    status: JobStatus,
    plan: Plan,
    requests: dict[str, Request],
    taken: _Intake,
    pool: Pool,
) -> dict[str, Metrics]:
    """Reads all results once, storing and measuring pictures on the way."""

    def wants_image(key: str) -> bool:
        return plan.kind.wants_image

    def pictures() -> Iterator[tuple[str, Source]]:
        try:
            outcomes = lane.results(status.name, wants_image)
            for count, (outcome, stored) in enumerate(intake(store, outcomes)):
                if count == plan.requests // 2:
                    reached("collect.midway")
                _take(taken, outcome, stored, requests)
                if stored is not None and stored.sha256 not in taken.images:
                    taken.images[stored.sha256] = stored
                    path = store.local_path(stored.path)
                    yield stored.sha256, path or partial(store.read, stored.path)
        except ResultsGone as gone:
            if status.state in (JobState.SUCCEEDED, JobState.PARTIAL):
                taken.gone = True
                taken.findings.append(("results gone", "", str(gone)))

    if status.state is JobState.GONE:
        taken.gone = True
        taken.findings.append(("results gone", "", status.message))
        return {}
    reached("collect.downloading")
    return dict(pool.measure(pictures()))


def _take(
    taken: _Intake,
    outcome: Outcome,
    stored: StoredImage | None,
    requests: dict[str, Request],
) -> None:
    """Files one result line under its request; whatever is odd about it becomes a finding."""
    image = f"image {stored.sha256}" if stored else f"{outcome.status} {outcome.reason}".strip()
    if stored:
        taken.mimes.setdefault(stored.sha256, outcome.mime)
    if outcome.key is None:
        taken.findings.append(("line without key", "", f"{image} {outcome.message}".strip()))
        taken.strays.append(outcome)
        return
    if outcome.key not in requests:
        taken.findings.append(("unknown key", outcome.key, image))
        taken.strays.append(outcome)
        return
    first = taken.outcomes.get(outcome.key)
    if first is not None:
        taken.findings.append(("duplicate key", outcome.key, image))
        if stored is None or first.status is Status.IMAGE:
            return
    taken.outcomes[outcome.key] = outcome
    if stored is not None:
        taken.stored[outcome.key] = stored


def _rows(
    job_id: str,
    plan: Plan,
    accepted: Accepted,
    requests: dict[str, Request],
    taken: _Intake,
    metrics: dict[str, Metrics],
    status: JobStatus,
) -> list[dict[str, object]]:
    """One result for each request of the job."""
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
            outcome = _missing(id, status, taken)
            # What a line without a key of ours did cost was spent on a request that lacks its own.
            if (stray := next(strays, None)) is not None:
                cost = _cost(stray, plan, price, taken)
        if cost is None:
            cost = _cost(outcome, plan, price, taken)
        if fault := _fault(outcome, stored, requests[id], metrics):
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


def _missing(id: str, status: JobStatus, taken: _Intake) -> Outcome:
    """The result of a request that nothing came back for.

    Where the provider says that the job succeeded but has no results any more, they were billed:
    asking again by oneself would pay twice for what was lost there, so a person decides.
    """
    reason = f"JOB_{status.state}".upper()
    failure: FailureClass | None = FailureClass.TRANSIENT
    if taken.gone:
        reason, failure = RESULTS_GONE, None
    elif status.state in (JobState.SUCCEEDED, JobState.PARTIAL):
        reason = "MISSING_KEY"
        taken.findings.append(("missing key", id, "no result line carries it"))
    return Outcome(key=id, status=Status.MISSING, failure=failure, reason=reason)


def _fault(
    outcome: Outcome,
    stored: StoredImage | None,
    request: Request,
    metrics: dict[str, Metrics],
) -> tuple[str, str] | None:
    """Why an answer that came is no use (reason and message): it cannot be decoded, or its words
    are not the JSON that was asked for."""
    if stored is not None and (error := metrics[stored.sha256].error):
        return "UNDECODABLE", error
    if outcome.status is Status.TEXT and request.response_schema is not None:
        message = schema_error(outcome.text or "", request.response_schema)
        return ("BAD_ANSWER", message) if message else None
    return None


def _cost(
    outcome: Outcome, plan: Plan, price: Callable[[Usage], Decimal], taken: _Intake
) -> Decimal:
    """What the request did cost, by the usage that its line reports.

    An answer without usage was billed all the same, and so, for all that is known, were results
    that cannot be read or that the provider has lost: they are charged as estimated, and a finding
    says so. Lines that are legible, without an answer and without usage, are not billed.
    """
    if outcome.usage is not None:
        return price(outcome.usage)
    if outcome.status in (Status.IMAGE, Status.TEXT) or outcome.reason in _UNREADABLE:
        share = Decimal(plan.estimate_usd) / plan.requests
        taken.findings.append(("no usage", outcome.key or "", f"charged as estimated: {share:f}"))
        return share
    return Decimal(0)


def _append_images(store: Store, job_id: str, taken: _Intake, metrics: dict[str, Metrics]) -> None:
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
    facts.append(store, "images", job_id, images)
    facts.append(store, "metrics", job_id, [metrics_row(*item) for item in metrics.items()])


def _render_rows(plan: Plan, job_id: str, taken: _Intake) -> list[dict[str, object]]:
    """What own GPUs spent on each picture, and which others have the promise of its bits."""
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
    """A row of the `metrics` table; of what could not be decoded, only the error is known."""
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
        "phash": f"{metrics.phash:016x}" if metrics.phash is not None else "",
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
