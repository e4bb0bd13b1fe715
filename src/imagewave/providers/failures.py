"""The one table of failures: what is tried again, how often, and after which wait.

A failure's class says whose fault it is; a handful of reasons deviate from their class. Providers
translate their own words into classes (`GRPC`, `HTTP`, and each provider's table of refusals);
nothing outside this module decides whether anything is tried again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import uniform
from types import MappingProxyType

import stamina

from imagewave.storage.requests import FailureClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How often something is tried in all, first time included, and the waits between, in seconds.

    The waits double from `wait_initial` up to `wait_max` and are jittered, so that many workers
    that failed together do not come back together.
    """

    attempts: int
    wait_initial: float = 0.0
    wait_max: float = 0.0


POLICIES: Mapping[FailureClass, Policy] = MappingProxyType(
    {
        FailureClass.TRANSIENT: Policy(attempts=3, wait_initial=1.0, wait_max=60.0),
        FailureClass.BROKEN: Policy(attempts=2),
        FailureClass.REFUSED: Policy(attempts=1),
        FailureClass.INVALID: Policy(attempts=1),
    }
)
"""What becomes of each class."""

EXCEPTIONS: Mapping[str, Policy] = MappingProxyType(
    {
        # The filter looks at the picture that was drawn: another draw of the same prompt may pass.
        "IMAGE_SAFETY": Policy(attempts=2),
    }
)
"""Reasons that deviate from their class. A prompt blocked for IMAGE_SAFETY does not come here:
its reason is spelled `PROMPT_IMAGE_SAFETY`."""

GRPC: Mapping[int, tuple[str, FailureClass]] = MappingProxyType(
    {
        1: ("CANCELLED", FailureClass.TRANSIENT),
        2: ("UNKNOWN", FailureClass.TRANSIENT),
        3: ("INVALID_ARGUMENT", FailureClass.INVALID),
        4: ("DEADLINE_EXCEEDED", FailureClass.TRANSIENT),
        5: ("NOT_FOUND", FailureClass.INVALID),
        6: ("ALREADY_EXISTS", FailureClass.INVALID),
        7: ("PERMISSION_DENIED", FailureClass.INVALID),
        8: ("RESOURCE_EXHAUSTED", FailureClass.TRANSIENT),
        9: ("FAILED_PRECONDITION", FailureClass.INVALID),
        10: ("ABORTED", FailureClass.TRANSIENT),
        11: ("OUT_OF_RANGE", FailureClass.INVALID),
        12: ("UNIMPLEMENTED", FailureClass.INVALID),
        13: ("INTERNAL", FailureClass.TRANSIENT),
        14: ("UNAVAILABLE", FailureClass.TRANSIENT),
        15: ("DATA_LOSS", FailureClass.TRANSIENT),
        16: ("UNAUTHENTICATED", FailureClass.INVALID),
    }
)
"""gRPC status codes, as batch results carry them per line."""

GRPC_NAMES: Mapping[str, FailureClass] = MappingProxyType(
    {**dict(GRPC.values()), "CANCELED": FailureClass.TRANSIENT}
)
"""The same by their names."""

HTTP: Mapping[int, FailureClass] = MappingProxyType(
    {
        400: FailureClass.INVALID,
        401: FailureClass.INVALID,
        403: FailureClass.INVALID,
        404: FailureClass.INVALID,
        408: FailureClass.TRANSIENT,
        409: FailureClass.TRANSIENT,
        413: FailureClass.INVALID,
        429: FailureClass.TRANSIENT,
        499: FailureClass.TRANSIENT,
    }
)
"""HTTP status codes; see `of_http` for the rest."""

DOUBTFUL_HTTP = frozenset({408, 409, 499})
"""Client errors that do not prove that the server did nothing."""


def of_http(code: int) -> FailureClass:
    """The class of an HTTP status; other 4xx are invalid, all else may pass with time."""
    default = FailureClass.INVALID if 400 <= code < 500 else FailureClass.TRANSIENT
    return HTTP.get(code, default)


def policy_for(failure: FailureClass, reason: str = "") -> Policy:
    """The row of the table that a failure falls under."""
    return EXCEPTIONS.get(reason, POLICIES[failure])


def retryable(failure: FailureClass, reason: str, attempts: int) -> bool:
    """Whether a request that failed like this after `attempts` tries is asked for once more."""
    return attempts < policy_for(failure, reason).attempts


def wait_before_retry(
    failure: FailureClass, reason: str, attempts: int, told: float | None = None
) -> float:
    """Seconds to wait after the `attempts`-th try; `told` is what the provider asked for."""
    policy = policy_for(failure, reason)
    if told is not None:
        return told
    ceiling = min(policy.wait_max, policy.wait_initial * 2 ** (attempts - 1))
    return uniform(ceiling / 2, ceiling)


def patience(on: Callable[[Exception], bool | float]) -> Iterable[stamina.Attempt]:
    """Retries of one call to a provider, by the transient row: `for attempt in …: with attempt: …`.

    `on` says of an exception whether it may pass with time, or after how many seconds.
    """
    policy = POLICIES[FailureClass.TRANSIENT]
    return stamina.retry_context(
        on=on,
        attempts=policy.attempts,
        timeout=None,
        wait_initial=policy.wait_initial,
        wait_max=policy.wait_max,
        wait_jitter=policy.wait_initial,
    )
