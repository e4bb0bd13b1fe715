"""The `jobs` facts: what SQL sees of the job folders."""

from decimal import Decimal

from imagewave.storage.facts import facts
from imagewave.storage.jobs.folder import Accepted, Intent, JobFolder, Settled

# Planned by a run that ended before it could hand them to the provider. Ordered, as the simulator
# replays by its seed alone what is done with them.
UNSENT = """
SELECT DISTINCT job_id FROM raw_submissions
WHERE job_id NOT IN (SELECT job_id FROM jobs WHERE event <> 'released') ORDER BY job_id
"""


def claimed(folder: JobFolder, intent: Intent) -> None:
    """The job's money is held and its provider is about to be asked."""
    _append(folder, "claimed", f"claimed-{intent.generation}", token=intent.token)


def released(folder: JobFolder, intent: Intent, reason: str) -> None:
    """The claim and its money were given back: the provider does not have the job."""
    _append(folder, "released", f"released-{intent.generation}", token=intent.token, message=reason)


def accepted(folder: JobFolder, accepted: Accepted) -> None:
    """The provider has the job."""
    message = "adopted" if accepted.adopted else ""
    _append(
        folder,
        "accepted",
        "accepted",
        token=accepted.token,
        provider_job=accepted.provider_job,
        message=message,
    )


def settled(folder: JobFolder, settled: Settled) -> None:
    """The job is over."""
    accepted = folder.accepted()
    _append(
        folder,
        "settled",
        "settled",
        token=accepted.token if accepted else "",
        provider_job=accepted.provider_job if accepted else "",
        state=settled.state,
        message=settled.message,
        captured_usd=Decimal(settled.captured_usd),
    )


def found(folder: JobFolder, number: int, captured: Decimal) -> None:
    """Results came to light that were held for lost; `captured` is what the job did cost then."""
    accepted = folder.accepted()
    assert accepted is not None
    event = f"found-{number}"
    _append(folder, event, event, token=accepted.token, captured_usd=captured)


def _append(
    folder: JobFolder,
    event: str,
    part: str,
    *,
    token: str,
    provider_job: str = "",
    state: str = "",
    message: str = "",
    captured_usd: Decimal | None = None,
) -> None:
    plan = folder.plan()
    row = {
        "job_id": folder.job_id,
        "wave": plan.wave,
        "revision": plan.revision,
        "kind": plan.kind,
        "round": plan.round,
        "attempt": plan.attempt,
        "lane": plan.lane,
        "model": plan.model,
        "requests": plan.requests,
        "event": event,
        "token": token,
        "provider_job": provider_job,
        "state": state,
        "held_usd": Decimal(plan.estimate_usd),
        "captured_usd": captured_usd,
        "message": message,
    }
    facts.append(folder.store, "jobs", f"{folder.job_id}-{part}", [row])
