"""Recovers results that were held for lost: paid for, not delivered then, and there after all.

What was decided without them stays as it is; who asks for them again has them for nothing. A find
is a file of the job's folder, rows and all, so that it can be entered in the books and the facts
by whoever comes next, though the provider have lost them again.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from imagewave.providers.protocol import JobStatus, Lane
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.jobs import events as job_events
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.requests import digest
from imagewave.storage.store import Store
from imagewave.tasks.collecting.collect import append_images, result_rows
from imagewave.tasks.collecting.delivered import LOST, Owed, read
from imagewave.tasks.screening.pool import Pool

_LOSERS = """
SELECT DISTINCT job_id FROM attempts
WHERE request_id IN (SELECT unnest(?::VARCHAR[])) AND reason IN (SELECT unnest(?::VARCHAR[]))
ORDER BY job_id
"""
_LOST_OF = """
SELECT request_id, cost_usd FROM attempts
WHERE job_id = ? AND reason IN (SELECT unnest(?::VARCHAR[]))
"""


def losers(store: Store, request_ids: Iterable[str]) -> list[str]:
    """The jobs by which results of these requests were paid for and lost."""
    rows = query(store, _LOSERS, [list(request_ids), list(LOST)])
    return [row["job_id"] for row in rows]


def recover(store: Store, job_id: str, lane: Lane, status: JobStatus, pool: Pool) -> int:
    """Looks once for what a settled job has lost; returns how many results were found.

    Raises:
        Unavailable: the provider does not deliver for now.
    """
    folder = JobFolder(store, job_id)
    finds = folder.found()
    for number, rows in enumerate(finds, 1):
        _enter(folder, number, rows)
    lost = {
        row["request_id"]: row["cost_usd"] for row in query(store, _LOST_OF, [job_id, list(LOST)])
    }
    plan, accepted = folder.plan(), folder.accepted()
    assert accepted is not None
    requests = {request.id: request for request in folder.requests()}
    if not lost:
        return 0
    taken = read(store, lane, status, requests, pool, wants_image=plan.kind.wants_image)
    wanted = {id: requests[id] for id in sorted(lost) if id in taken.outcomes}
    if not wanted:
        return 0
    taken.strays.clear()
    taken.gone = ""
    rows = result_rows(job_id, plan, accepted, wanted, taken, status, Owed(lines=0, answered=0))
    append_images(store, f"{job_id}-{digest(list(wanted))}", taken)
    found = [
        {
            **row,
            "cost_usd": str(facts.rounded(Decimal(str(row["cost_usd"])))),
            "estimated_usd": str(lost[row["request_id"]]),
        }
        for row in rows
    ]
    if not folder.add_found(len(finds) + 1, found):
        return recover(store, job_id, lane, status, pool)  # somebody else finds things here, too
    _enter(folder, len(finds) + 1, found)
    return len(found)


def _enter(folder: JobFolder, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Enters a find in the books and the facts; the results last, since they say that it is."""
    store, job_id, part = folder.store, folder.job_id, f"{folder.job_id}-found-{number}"
    if facts.has(store, "results", part):
        return
    wave, settled = folder.plan().wave, folder.settled()
    assert settled is not None
    if (more := _more(rows)) > 0:
        Ledger(store).capture_late(job_id, wave, more, f"found-{number}")
    elif more:
        Ledger(store).credit(job_id, wave, -more, f"found-{number}")
    finds = (_more(find) for find in folder.found()[:number])
    job_events.found(folder, number, sum(finds, Decimal(settled.captured_usd)))
    findings = [
        {
            "wave": wave,
            "job_id": job_id,
            "kind": "found late",
            "key": row["request_id"],
            "detail": f"charged as estimated before: {row['estimated_usd']}",
        }
        for row in rows
    ]
    facts.append(store, "findings", part, findings)
    entered = [{**row, "cost_usd": Decimal(row["cost_usd"])} for row in rows]
    for row in entered:
        del row["estimated_usd"]
    facts.append(store, "results", part, entered)


def _more(rows: Iterable[Mapping[str, Any]]) -> Decimal:
    """By how much the results of a find did cost more than was estimated; it may be less."""
    each = (Decimal(row["cost_usd"]) - Decimal(row["estimated_usd"]) for row in rows)
    return sum(each, Decimal(0))
