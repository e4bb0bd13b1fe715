"""What an error answer of the OpenAI API means: its class, when to come back, and what to do."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from imagewave.providers.http.faults import Fault, seconds_told

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


def read_fault(http: int, body: object, headers: Mapping[str, str]) -> Fault:
    """Reads `{"error": {message, type, param, code}}`, or that error alone, and `Retry-After`."""
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    inner = fields.get("error")
    fields = inner if isinstance(inner, dict) else fields
    code = str(fields.get("code") or "")
    return Fault(
        http=http,
        kind=str(fields.get("type") or ""),
        code=code,
        message=str(fields.get("message") or f"HTTP {http}"),
        retry_after=seconds_told(headers),
        fix=_FIXES.get(code) or _FIX_OF_HTTP.get(http, ""),
        lasting=code in _LASTING,
    )
