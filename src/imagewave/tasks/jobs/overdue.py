"""Jobs that are gone or take too long: the alarm, and what is asked of another model instead."""

from datetime import datetime

from imagewave import clock
from imagewave.storage.facts import facts
from imagewave.storage.jobs.folder import Accepted, JobFolder
from imagewave.storage.store import Store


def age_hours(accepted: Accepted) -> float:
    """Hours since the provider took the job; never less than none, whatever the clock says."""
    age = clock.now() - datetime.fromisoformat(accepted.at)
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
