"""What an error answer of the OpenAI API means: its class, when to come back, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from imagewave.storage.requests import FailureClass
from imagewave.tasks.failures import DOUBTFUL_HTTP, of_http

LONGEST_WAIT = 120.0
"""Seconds for which a call waits by itself; who is told to wait longer should come back later."""

_KEYS = "https://platform.openai.com/api-keys"
_FIXES: Mapping[str, str] = MappingProxyType(
    {
        "invalid_api_key": f"Check OPENAI_API_KEY; keys are made at {_KEYS}.",
        "insufficient_quota": "Add credit to the key's project, or raise its limit.",
        "billing_hard_limit_reached": "Raise the project's limit.",
        "rate_limit_exceeded": "The project's quota is used up for now; run again later.",
        "model_not_found": "The model may be retired, see `imagewave models`.",
    }
)
_FIX_OF_HTTP: Mapping[int, str] = MappingProxyType(
    {
        400: "Change what the message names.",
        401: f"Check OPENAI_API_KEY; keys are made at {_KEYS}.",
        403: "Check that the key's project may use this model, and that its region is served.",
        404: "The model may be retired, see `imagewave models`; or the upload has expired, then "
        "run again.",
        429: "The project's quota is used up for now; run again later.",
    }
)
# Quotas that time does not fill.
_LASTING = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


class ApiError(Exception):
    """The API answered with an error; its fault says what that means."""

    def __init__(self, fault: "Fault") -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One error answer; `kind` is OpenAI's word for it, "" where the answer was not OpenAI's."""

    http: int
    kind: str
    code: str
    message: str
    retry_after: float | None

    @property
    def failure(self) -> FailureClass:
        """The class that decides about another try."""
        return FailureClass.INVALID if self.code in _LASTING else of_http(self.http)

    @property
    def is_clean_no(self) -> bool:
        """Whether it proves that nothing was accepted: OpenAI itself refused the request."""
        return 400 <= self.http < 500 and self.http not in DOUBTFUL_HTTP and bool(self.kind)

    @property
    def fix(self) -> str:
        """What a user can do about it."""
        return _FIXES.get(self.code) or _FIX_OF_HTTP.get(self.http, "")

    @property
    def wait(self) -> bool | float:
        """Whether the call may be made again, or after how many seconds."""
        if self.failure is not FailureClass.TRANSIENT:
            return False
        if self.retry_after is None:
            return True
        return self.retry_after <= LONGEST_WAIT and self.retry_after


def read_fault(http: int, body: object, headers: Mapping[str, str]) -> Fault:
    """Reads `{"error": {message, type, param, code}}`, or that error alone, and `Retry-After`."""
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    inner = fields.get("error")
    fields = inner if isinstance(inner, dict) else fields
    return Fault(
        http=http,
        kind=str(fields.get("type") or ""),
        code=str(fields.get("code") or ""),
        message=str(fields.get("message") or f"HTTP {http}"),
        retry_after=_seconds(headers.get("retry-after")),
    )


def _seconds(told: str | None) -> float | None:
    try:
        return max(0.0, float(told)) if told else None
    except ValueError:  # a date, which OpenAI does not send
        return None
