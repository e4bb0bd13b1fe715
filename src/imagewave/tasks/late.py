"""Jobs that are gone or take too long: the alarm, and what is asked of another model instead."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from imagewave.storage import facts
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.jobs import Accepted, JobFolder
from imagewave.storage.rounds import Ask
from imagewave.storage.store import Store
from imagewave.tasks.providers.protocol import JobState, JobStatus, Lane, Rejected


def look(lane: Lane, accepted: Accepted) -> JobStatus:
    """Where the job stands with its provider, which may not know it any more.

    Raises:
        Rejected: a clean no that is not about this job, such as to the key.
        Unavailable: no answer in every try.
    """
    try:
        return lane.poll(accepted.provider_job)
    except Rejected as refusal:
        # Another key, or one that is no longer valid, could not read the list either.
        if accepted.provider_job in lane.find(accepted.token):
            raise
        return JobStatus(name=accepted.provider_job, state=JobState.GONE, message=refusal.message)


def age_hours(accepted: Accepted) -> float:
    """Hours since the provider took the job; never less than none, whatever the clock says."""
    age = datetime.now(UTC) - datetime.fromisoformat(accepted.at)
    return max(0.0, age.total_seconds() / 3600)


def late(store: Store, job_id: str, accepted: Accepted, limit_hours: float) -> None:
    """Records, once per job, that it is older than the wave's limit."""
    finding = {
        "wave": JobFolder(store, job_id).plan().wave,
        "job_id": job_id,
        "kind": "late job",
        "key": accepted.provider_job,
        "detail": f"with the provider since {accepted.at}, more than {limit_hours:g} h",
    }
    facts.append(store, "findings", f"{job_id}-late", [finding])


def fallback_asks(asks: Sequence[Ask], model_name: str, *, lane: str) -> list[Ask]:
    """The same asks of another model, at the size it has nearest by name, else its default."""
    model = find_model(model_name)
    moved = []
    for ask in asks:
        size = ask.request.size if ask.request.size in model.sizes else model.default_size
        thinking = ask.request.thinking if ask.request.thinking in model.thinking else None
        quality = ask.request.quality
        if quality not in model.qualities:
            quality = model.qualities[0] if model.qualities else None
        request = replace(
            ask.request,
            model=model.id,
            size=size,
            quality=quality,
            thinking=thinking,
            steps=model.steps,
            guidance=model.guidance,
            loras=None,
        )
        cost = estimate(
            model,
            lane=lane,
            size=size,
            quality=quality,
            aspect_ratio=request.aspect_ratio,
            prompt_chars=len(request.prompt),
            references=len(request.references),
            thinking=thinking,
        )
        moved.append(replace(ask, request=request, estimate_usd=cost, reused=False))
    return moved
