"""Routes that misbehave as they are told: what armed faults do to any API's calls and batches."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from imagewave.sandbox.batches.jobs import Job
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.faults import Faults
from imagewave.sandbox.core.http import FileSlice, Hangup, json_response

FaultError = Callable[[str, Mapping[str, Any]], ApiError]
"""A status and a fault's parameters to the error that the API answers with."""


def retry_details(retry_after: float | None) -> list[dict[str, Any]]:
    """An error's details that say after how many seconds to call again; none for None."""
    return [] if retry_after is None else [{"retryDelay": f"{retry_after:g}s"}]


def raise_armed(faults: Faults, name: str, status: str, error: FaultError) -> None:
    """Raises the error if the fault is armed."""
    if (fault := faults.take(name)) is not None:
        raise error(status, fault)


async def faulty_call(
    faults: Faults, error: FaultError, answer: Callable[[], Awaitable[object]]
) -> Response:
    """The answer to a single call, unless it is refused, breaks or gets lost."""
    raise_armed(faults, "call_429", "RESOURCE_EXHAUSTED", error)
    raise_armed(faults, "call_500", "INTERNAL", error)
    answered = await answer()
    return Hangup() if faults.take("call_dropped") else json_response(answered)


async def faulty_create(
    faults: Faults,
    error: FaultError,
    accept: Callable[[], Awaitable[Job]],
    view: Callable[[Job], object],
) -> Response:
    """A batch as its API shows it, accepted once: refused, broken, late, unheard or unanswered."""
    if faults.take("create_unheard"):
        return Hangup()
    raise_armed(faults, "create_429", "RESOURCE_EXHAUSTED", error)
    failing = faults.take("create_500")
    status = "INTERNAL" if failing else "UNAVAILABLE"
    failing = failing or faults.take("create_503")
    if failing and not failing["accepted"]:
        raise error(status, failing)
    job = await accept()
    if failing:
        raise error(status, failing)
    if faults.take("create_dropped"):
        return Hangup()
    if slow := faults.take("create_slow"):
        await asyncio.sleep(slow["seconds"])
    return json_response(view(job))


def faulty_get(faults: Faults, error: FaultError) -> None:
    """Refuses a look at a job, where that is armed."""
    raise_armed(faults, "get_500", "INTERNAL", error)
    if faults.take("get_404"):
        raise ApiError("NOT_FOUND", "Requested entity was not found.")


def faulty_download(
    faults: Faults, find: Callable[[], Path], media_type: str, request: Request
) -> Response:
    """A result file's bytes: whole, refused, cut off, slow, or less than there is.

    `find` gives the file, or refuses.
    """
    if faults.take("download_500"):
        raise ApiError("INTERNAL", "Internal error encountered.")
    if faults.take("download_404"):
        raise ApiError("NOT_FOUND", "Requested entity was not found.")
    path = find()
    dropped = faults.take("download_dropped")
    stalled = faults.take("download_stalled")
    short = faults.take("download_short")
    lacks = faults.take("download_lacks")
    return FileSlice(
        path,
        media_type,
        request.headers.get("range", ""),
        cut_at=dropped["fraction"] if dropped else None,
        stall=(stalled["fraction"], stalled["seconds"]) if stalled else None,
        short=short["fraction"] if short else None,
        lacks=int(lacks["lines"]) if lacks else 0,
    )
