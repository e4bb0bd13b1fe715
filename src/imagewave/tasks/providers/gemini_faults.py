"""What an error answer of the Gemini API means: its class, when to come back, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from google.genai.errors import APIError

from imagewave.storage.requests import FailureClass
from imagewave.tasks.failures import DOUBTFUL_HTTP, of_http

LONGEST_WAIT = 120.0
"""Seconds for which a call waits by itself; who is told to wait longer should come back later."""

_FIXES: Mapping[str, str] = MappingProxyType(
    {
        "API_KEY_INVALID": "Check GEMINI_API_KEY; keys are made at https://aistudio.google.com/apikey.",
        "UNAUTHENTICATED": "Check GEMINI_API_KEY; keys are made at https://aistudio.google.com/apikey.",
        "FAILED_PRECONDITION": "Check that the key's project has billing and its region is served.",
        "PERMISSION_DENIED": "Check that the key's project has billing and may use this model.",
        "NOT_FOUND": "The model may be retired, see `imagewave models`; or the upload has expired, "
        "then run again.",
        "RESOURCE_EXHAUSTED": "The project's quota is used up for now; run again later.",
        "INVALID_ARGUMENT": "Change what the message names.",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One error answer; `status` is Google's word for it, "" where the answer was not Google's."""

    http: int
    status: str
    message: str
    retry_after: float | None

    @property
    def failure(self) -> FailureClass:
        """The class that decides about another try."""
        return of_http(self.http)

    @property
    def is_clean_no(self) -> bool:
        """Whether it proves that nothing was accepted: Google itself refused the request."""
        return 400 <= self.http < 500 and self.http not in DOUBTFUL_HTTP and bool(self.status)

    @property
    def fix(self) -> str:
        """What a user can do about it."""
        return _FIXES.get(self.status, "")


def read_fault(error: APIError, now: datetime | None = None) -> Fault:
    """Reads `{"error": {code, message, status, details}}` and the hints in its details."""
    body = error.details.get("error") if isinstance(error.details, dict) else None
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    status = fields.get("status") if isinstance(fields.get("status"), str) else ""
    retry_after: float | None = None
    details = fields.get("details")
    for detail in details if isinstance(details, list) else []:
        if not isinstance(detail, dict):
            continue
        kind = str(detail.get("@type", "")).rpartition(".")[2]
        if kind == "ErrorInfo" and detail.get("reason") in _FIXES:
            status = detail["reason"]
        elif kind == "RetryInfo":
            retry_after = _seconds(detail.get("retryDelay"), retry_after)
        elif kind == "QuotaFailure" and "PerDay" in str(detail.get("violations")):
            retry_after = _until_midnight_pacific(now)
    return Fault(
        http=error.code,
        status=status or "",
        message=str(fields.get("message") or error.message or f"HTTP {error.code}"),
        retry_after=retry_after,
    )


def wait_for(error: APIError) -> bool | float:
    """Whether a call that got this answer may be made again, or after how many seconds."""
    fault = read_fault(error)
    if fault.failure is not FailureClass.TRANSIENT:
        return False
    if fault.retry_after is None:
        return True
    return fault.retry_after <= LONGEST_WAIT and fault.retry_after


def _seconds(delay: object, otherwise: float | None) -> float | None:
    """Seconds of a protobuf duration such as `34.07s`."""
    try:
        return float(str(delay).removesuffix("s"))
    except ValueError:
        return otherwise


def _until_midnight_pacific(now: datetime | None) -> float:
    """Seconds until Google's daily quotas are filled again."""
    zone = ZoneInfo("America/Los_Angeles")
    here = (now or datetime.now(zone)).astimezone(zone)
    midnight = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), zone)
    return midnight.timestamp() - here.timestamp()
