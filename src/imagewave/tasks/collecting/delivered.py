"""What a job delivered that its provider has ended, held against what the provider says of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from imagewave.killpoints import reached
from imagewave.providers.protocol import (
    CALL_UNANSWERED,
    JobState,
    JobStatus,
    Lane,
    NoResults,
    Outcome,
    Rejected,
    ResultsGone,
)
from imagewave.storage.images import StoredImage
from imagewave.storage.requests import Request, Status
from imagewave.storage.store import Store
from imagewave.tasks.collecting.intake import intake
from imagewave.tasks.screening.metrics import Metrics
from imagewave.tasks.screening.pool import Pool, Source

RESULTS_GONE = "RESULTS_GONE"
"""The reason of a result that was paid for, of a job whose results are gone."""

NOT_DELIVERED = "NOT_DELIVERED"
"""The reason of a result that was paid for, and that is not among those of its job."""

LOST = (RESULTS_GONE, NOT_DELIVERED)

UNREADABLE = (*LOST, CALL_UNANSWERED, "INVALID_JSON", "LINE_TOO_LONG")
"""Reasons of results that may have been billed, without anything that says how much."""


@dataclass(slots=True)
class Delivered:
    """What has been read of a job's results, by request.

    `strays` are lines without a key of ours. `gone` says what became of results that should be
    there, "" where nothing did; `named` is whether the provider named any.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    stored: dict[str, StoredImage] = field(default_factory=dict)
    mimes: dict[str, str] = field(default_factory=dict)
    images: dict[str, StoredImage] = field(default_factory=dict)
    metrics: dict[str, Metrics] = field(default_factory=dict)
    findings: list[tuple[str, str, str]] = field(default_factory=list)
    strays: list[Outcome] = field(default_factory=list)
    gone: str = ""
    named: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """How many lines the provider counts as done and has not delivered, and how many of them it has
    answered, and so billed."""

    lines: int
    answered: int


def read(
    store: Store,
    lane: Lane,
    status: JobStatus,
    requests: dict[str, Request],
    pool: Pool,
    *,
    wants_image: bool,
) -> Delivered:
    """Reads all results once, storing and measuring pictures on the way.

    Raises:
        Unavailable: the provider does not deliver for now.
    """
    found = Delivered()
    if status.state is JobState.GONE:
        found.gone = status.message or "its provider does not know it"
        return found

    def pictures() -> Iterator[tuple[str, Source]]:
        try:
            outcomes = lane.results(status.name, lambda key: wants_image)
            for count, (outcome, stored, at) in enumerate(intake(store, outcomes)):
                if count == len(requests) // 2:
                    reached("collect.midway")
                _take(found, outcome, stored, requests)
                if stored is not None and stored.sha256 not in found.images:
                    found.images[stored.sha256] = stored
                    yield stored.sha256, at
        except NoResults as none:
            found.named = False
            if status.state in (JobState.SUCCEEDED, JobState.PARTIAL):
                found.gone = str(none)
        except (ResultsGone, Rejected) as gone:
            found.gone = str(gone)

    reached("collect.downloading")
    found.metrics = dict(pool.measure(pictures()))
    return found


def owed(found: Delivered, status: JobStatus, requests: int) -> Owed:
    """What the provider still owes of a job of so many requests.

    Its own counts tell. Without any, a job that has succeeded, or whose results should be there,
    owes all of its lines, and one that ended otherwise none; so does one that has answered nothing
    and names no results.
    """
    whole = status.state is JobState.SUCCEEDED or bool(found.gone)
    if not found.named and not found.gone and not status.succeeded:
        return Owed(lines=0, answered=0)
    answered, failed = status.succeeded or 0, status.failed or 0
    if not answered + failed:
        answered = requests if whole else 0
    lines = [*found.outcomes.values(), *found.strays]
    kinds = Counter(map(_kind, lines))
    # What a provider did not get to it counts as failed, or not at all; an error as failed, or as
    # answered. So these count for as much as they can, and the rest of the counts is owed.
    failed -= min(failed, kinds["unreached"])
    errors = kinds["error"] - min(failed, kinds["error"])
    failed -= min(failed, kinds["error"])
    answered -= min(answered, kinds["answer"])
    answered -= min(answered, errors)
    missing = min(answered + failed, max(0, requests - len(lines)))
    return Owed(lines=missing, answered=min(missing, answered))


def _kind(outcome: Outcome) -> str:
    """Whether the line is an `answer`, an `error`, or of a request that was `unreached`.

    Providers do not bill errors. Some count a refusal among the answers, others among the failures;
    those that answered report a usage.
    """
    if outcome.status is Status.MISSING:
        return "unreached"
    silent = outcome.usage is None and not outcome.billed and outcome.reason not in UNREADABLE
    return "error" if silent and outcome.status in (Status.FAILED, Status.REFUSED) else "answer"


def _take(
    found: Delivered,
    outcome: Outcome,
    stored: StoredImage | None,
    requests: dict[str, Request],
) -> None:
    """Files one result line under its request; whatever is odd about it becomes a finding."""
    image = f"image {stored.sha256}" if stored else f"{outcome.status} {outcome.reason}".strip()
    found.findings += (("odd line", outcome.key or "", what) for what in outcome.odd)
    if stored:
        found.mimes.setdefault(stored.sha256, outcome.mime)
    if outcome.key is None:
        found.findings.append(("line without key", "", f"{image} {outcome.message}".strip()))
        found.strays.append(outcome)
        return
    if outcome.key not in requests:
        found.findings.append(("unknown key", outcome.key, image))
        found.strays.append(outcome)
        return
    first = found.outcomes.get(outcome.key)
    if first is not None:
        found.findings.append(("duplicate key", outcome.key, image))
        if stored is None or first.status is Status.IMAGE:
            return
    found.outcomes[outcome.key] = outcome
    if stored is not None:
        found.stored[outcome.key] = stored
