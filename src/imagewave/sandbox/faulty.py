"""Routes that misbehave as they are told: what armed faults do to any API's calls and batches."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response

from imagewave.sandbox.faults import Faults
from imagewave.sandbox.http import Hangup, json_response
from imagewave.sandbox.jobs import Job
from imagewave.sandbox.wire import ApiError

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
