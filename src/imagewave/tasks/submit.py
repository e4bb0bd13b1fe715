"""Hands a job to its provider exactly once, whatever is killed, dropped or repeated.

The order is: requests written, money held, input uploaded, job claimed, provider asked, answer
recorded. Nothing before the asking costs anything, so any of it may be repeated. Once a claim
stands, the provider may have the job, and only its list can tell: a claim without an answer is
resolved by adoption, and only a job that is provably absent is asked for again.

What remains is said in docs/reliability.md: a claimer that is frozen for longer than its lease
between its last look at the clock and the first byte of the call.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from imagewave.errors import ImagewaveError
from imagewave.killpoints import reached
from imagewave.storage import analytics, job_events
from imagewave.storage.images import read_image
from imagewave.storage.jobs import Accepted, Intent, JobFolder, Settled, now
from imagewave.storage.ledger import Budget, Ledger
from imagewave.storage.requests import Request
from imagewave.storage.store import Store
from imagewave.tasks.providers.protocol import Lane, Rejected, Unsure

SUPERSEDED = "superseded"


class Overlap(ImagewaveError):
    """An open job already carries some of these requests; its results will answer them."""

    def __init__(self, job_id: str, other: str) -> None:
        super().__init__(f"Job {job_id} waits for job {other}, which has some of its requests.")
        self.other = other


class Quarantined(ImagewaveError):
    """Several provider jobs carry this job's token; a person must choose."""

    def __init__(self, job_id: str, provider_jobs: Sequence[str]) -> None:
        super().__init__(
            f"The provider has {len(provider_jobs)} jobs for job {job_id}: "
            f"{', '.join(provider_jobs)}.",
            "Cancel all but one there, write its name into the job's folder as accepted.json "
            "(docs/reliability.md shows how) and delete quarantine.json.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """How long it takes to be sure that a provider does not have a job.

    `lease_s`: a claim of which nothing more is known is dead after so many seconds. It must exceed
    the time that a `create` call can take. `list_lag_s`: a job accepted now is in the provider's
    list after at most so many seconds.
    """

    lease_s: float = 180.0
    list_lag_s: float = 30.0


def submit(
    store: Store,
    job_id: str,
    lane: Lane,
    *,
    budget: Budget,
    doubt: Doubt,
) -> Accepted | Settled:
    """Gets a planned job to the provider, or finds it there.

    Repeating this after any interruption, or from several processes at once, creates one provider
    job and holds its money once; whoever is not the claimer waits for the claimer's answer. A job
    of whose requests some were answered meanwhile settles as superseded, unsent: what it lacks
    goes into the next attempt.

    Raises:
        BudgetExceeded: the estimate does not fit a budget; nothing was sent.
        Overlap: an open job will answer some of these requests; the hold was given back.
        Rejected: a clean no; claim and hold were given back.
        Quarantined: more than one provider job carries the token.
        Unavailable: the provider's list cannot be read for now; the claim stands.
    """
    folder = JobFolder(store, job_id)
    if settled := folder.settled():
        return settled
    if accepted := folder.accepted():
        return _told(folder, accepted)
    if provider_jobs := folder.quarantined():
        raise Quarantined(job_id, provider_jobs)

    requests = folder.requests()
    ledger = Ledger(store)
    plan = folder.plan()
    ledger.hold(job_id, plan.wave, Decimal(plan.estimate_usd), budget)
    if not folder.intents() and _superseded(store, folder, ledger, requests):
        settled = Settled(
            state=SUPERSEDED,
            message="answered by another job",
            counts={},
            captured_usd="0",
            at=now(),
        )
        job_events.settled(folder, settled)
        folder.settle(settled)
        ledger.release(job_id)
        return settled
    return _create_once(folder, lane, requests, ledger, doubt)


def _create_once(
    folder: JobFolder,
    lane: Lane,
    requests: Sequence[Request],
    ledger: Ledger,
    doubt: Doubt,
) -> Accepted:
    plan = folder.plan()
    reader = _reader(folder.store, requests)
    label = f"{plan.wave}-{plan.kind}-{plan.round}.{plan.attempt}"
    handle: str | None = None
    unanswered: set[str] = set()  # tokens with which this very call asked, without a clear answer
    seen: dict[str, float] = {}
    while True:
        if accepted := folder.accepted():
            return _told(folder, accepted)
        standing = folder.intents()
        if standing:
            last = standing[-1]
            since = seen.setdefault(last.token, time.monotonic())
            expired = time.monotonic() - since > doubt.lease_s
            if not (last.token in unanswered or last.claimer.known_dead() or expired):
                time.sleep(min(1.0, doubt.lease_s / 10))
                continue
            if accepted := _adopt(folder, lane, standing, doubt.list_lag_s):
                return accepted
        if handle is None:
            reached("submit.before_upload")
            handle = lane.prepare(requests, reader, f"{label}-{folder.job_id[:12]}")
        reached("submit.before_claim")
        intent = folder.claim(
            label=label, lane=lane.name, held_usd=plan.estimate_usd, after=standing
        )
        if intent is None:
            continue
        claimed = time.monotonic()
        unanswered.add(intent.token)
        job_events.claimed(folder, intent)
        reached("submit.after_claim")
        if time.monotonic() - claimed > doubt.lease_s / 2:
            continue  # frozen meanwhile: others may have taken over
        try:
            provider_job = lane.create(handle, plan.model, intent.token)
        except Rejected:
            folder.release(intent)
            if not folder.intents():
                ledger.release(folder.job_id)
            raise
        except Unsure:
            continue
        reached("submit.after_create")
        accepted = folder.accept(intent, provider_job, adopted=False)
        if accepted.provider_job != provider_job:
            # Others held this claim for dead and created the job anew. One of the two is one too
            # many: stop ours before it costs, and let a person see that it happened.
            lane.cancel(provider_job)
            folder.quarantine([accepted.provider_job, provider_job])
            raise Quarantined(folder.job_id, [accepted.provider_job, provider_job])
        reached("submit.after_accept")
        return _told(folder, accepted)


def _reader(store: Store, requests: Sequence[Request]) -> Callable[[str], bytes]:
    """Reads the reference images of these requests by their addresses."""
    references = {sha256 for request in requests for sha256 in request.references}
    rows = (
        analytics.query(
            store,
            "SELECT image, format FROM images WHERE image IN (SELECT unnest(?::VARCHAR[]))",
            [list(references)],
        )
        if references
        else []
    )
    formats = {row["image"]: row["format"] for row in rows}
    return lambda sha256: read_image(store, sha256, formats[sha256])


def _adopt(
    folder: JobFolder, lane: Lane, standing: Sequence[Intent], list_lag_s: float
) -> Accepted | None:
    """The provider's job that one of the claims led to; None if there provably is none."""
    deadline = time.monotonic() + list_lag_s
    while True:
        found = {name: intent for intent in standing for name in lane.find(intent.token)}
        if len(found) > 1:
            folder.quarantine(sorted(found))
            raise Quarantined(folder.job_id, sorted(found))
        for provider_job, intent in found.items():
            return _told(folder, folder.accept(intent, provider_job, adopted=True))
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(left, max(0.2, list_lag_s / 10)))


def _told(folder: JobFolder, accepted: Accepted) -> Accepted:
    """The job as accepted, with SQL told of it: whoever accepted it may have died before."""
    job_events.accepted(folder, accepted)
    return accepted


def _superseded(
    store: Store, folder: JobFolder, ledger: Ledger, requests: Sequence[Request]
) -> bool:
    """Whether results already answer some of the requests.

    Holds are totally ordered and a job's hold outlives the recording of its results, so of two
    jobs that share a request the later one sees the earlier one here: as an open hold, or as
    results.

    Raises:
        Overlap: an open job that held earlier has some of them; the hold was given back.
    """
    wanted = {request.id for request in requests}
    for hold in ledger.open_holds():
        if hold.job_id == folder.job_id:
            break
        if wanted & {request.id for request in JobFolder(store, hold.job_id).requests()}:
            ledger.release(folder.job_id)
            raise Overlap(folder.job_id, hold.job_id)
    return bool(analytics.answered(store, wanted))
