"""Asks a provider where a job stands."""

from imagewave.providers.protocol import JobState, JobStatus, Lane, Rejected, Unavailable
from imagewave.storage.jobs.folder import Accepted


def look(lane: Lane, accepted: Accepted) -> JobStatus:
    """Where the job stands with its provider, which may not know it: not yet, or not any more.

    One look proves nothing: what is gone is gone when it stays so.

    Raises:
        Rejected: a clean no that is not about this job, such as to the key.
        Unavailable: no answer in every try, or a no about a job that the provider lists.
    """
    try:
        return lane.poll(accepted.provider_job)
    except Rejected as refusal:
        # Another key, or one that is no longer valid, could not read the list either.
        if accepted.provider_job in lane.find(accepted.token):
            raise Unavailable(refusal.message, refusal.fix) from None
        return JobStatus(name=accepted.provider_job, state=JobState.GONE, message=refusal.message)
