"""What an error answer of the Gemini API means: its class, when to come back, and what to do."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from imagewave.providers.http.faults import Fault, seconds_told

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


def read_fault(
    http: int, body: object, headers: Mapping[str, str], now: datetime | None = None
) -> Fault:
    """Reads `{"error": {code, message, status, details}}` and the hints in its details."""
    said: dict[str, Any] = body if isinstance(body, dict) else {}
    inner = said.get("error")
    fields: dict[str, Any] = inner if isinstance(inner, dict) else {}
    status = fields.get("status") if isinstance(fields.get("status"), str) else ""
    retry_after = seconds_told(headers)
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
        http=http,
        kind=status or "",
        code="",
        message=str(fields.get("message") or said.get("message") or f"HTTP {http}"),
        retry_after=retry_after,
        fix=_FIXES.get(status or "", ""),
    )


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
