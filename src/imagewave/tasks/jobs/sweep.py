"""Finds provider jobs of ours that no folder knows: a second one that came of a lost answer.

Such a job is billed like any other. It gets a folder of its own, in which it counts as given up:
so its money is held, and what it brings is taken in, by those who do that for every job.
"""

from dataclasses import dataclass
from decimal import Decimal

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import JobState, Lane
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.files.protocol import StoreError
from imagewave.storage.jobs import events as job_events
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.money.ledger import Budget, Ledger
from imagewave.storage.records import BadRecord
from imagewave.storage.requests import digest
from imagewave.storage.store import Store

# A job of which no answer is known may still be adopted, but for one that nobody sends any more.
_OURS = """
SELECT job_id, coalesce(provider_job, '') AS provider_job FROM jobs JOIN waves USING (wave)
WHERE lane = ? AND coalesce(wave = ?, true)
  AND (provider_job IS NOT NULL OR event = 'settled'
       OR (event = 'released' AND jobs.revision <> waves.revision))
"""
_FRUITLESS = (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stray:
    """A provider's job that carries a token of ours, and that the token's job knows nothing of.

    `accepted` is the provider's job that it knows, "" for none.
    """

    job_id: str
    provider_job: str
    token: str
    accepted: str


def sweep(store: Store, lane: Lane, wave: str | None = None) -> dict[str, ImagewaveError]:
    """Takes over every stray at the lane's provider, of this wave or of all.

    Returns what kept which of them from it, by the provider's name; the next sweep tries again.

    Raises:
        Unavailable: the provider cannot be asked for its list.
        StoreError: the store cannot be reached.
    """
    trouble: dict[str, ImagewaveError] = {}
    for stray in _strays(store, lane, wave):
        try:
            if _has_claimed(JobFolder(store, stray.job_id), stray.token):
                _take_over(store, stray, lane)
        except ImagewaveError as error:
            if isinstance(error, StoreError) and not isinstance(error, BadRecord):
                raise
            trouble[stray.provider_job] = error
    return trouble


def _strays(store: Store, lane: Lane, wave: str | None) -> list[_Stray]:
    """The jobs at the lane's provider that no folder of the store has accepted.

    Some may be another store's, that runs the same wave with the same key.
    """
    rows = query(store, _OURS, [lane.name, wave])
    jobs = {row["job_id"][:12]: row for row in rows}
    return [
        _Stray(
            job_id=row["job_id"],
            provider_job=name,
            token=token,
            accepted=row["provider_job"],
        )
        for name, token in (lane.listed() if jobs else ())
        if (row := jobs.get(_job_in(token))) and row["provider_job"] != name
    ]


def _take_over(store: Store, stray: _Stray, lane: Lane) -> None:
    """Gives the stray a folder, holds its money and notes it; repeating it changes nothing.

    One that ended without an answer costs nothing, and is left alone.
    """
    folder = JobFolder(store, digest({"job": stray.job_id, "second": stray.provider_job}))
    if folder.settled():
        return
    status = lane.poll(stray.provider_job)
    if status.state in _FRUITLESS and not status.succeeded:
        return
    first = JobFolder(store, stray.job_id)
    plan, requests = first.plan(), first.requests()
    folder.write_plan(plan, requests)
    folder.abandon(f"a second job of {stray.job_id}")
    taken = folder.accept(stray.token, stray.provider_job, adopted=True)
    # No budget refuses it: the provider works on it already.
    Ledger(store).hold(folder.job_id, plan.wave, Decimal(plan.estimate_usd), Budget())
    job_events.accepted(folder, taken)
    sent = [
        {"job_id": folder.job_id, "request_id": request.id, "attempt": plan.attempt}
        for request in requests
    ]
    facts.append(store, "submissions", folder.job_id, sent)
    finding = {
        "wave": plan.wave,
        "job_id": folder.job_id,
        "kind": "second job",
        "key": stray.provider_job,
        "detail": f"{stray.token}, of which {stray.accepted or 'nothing'} was known",
    }
    facts.append(store, "findings", f"{folder.job_id}-second", [finding])


def _has_claimed(folder: JobFolder, token: str) -> bool:
    """Whether the token is that of one of the job's claims."""
    return any(intent.token == token for intent in folder.intents())


def _job_in(token: str) -> str:
    """The beginning of a job's id in its token, `{label}-{job}-{random}`; "" for no such token."""
    parts = token.rsplit("-", 2)
    return parts[1] if len(parts) == 3 else ""
