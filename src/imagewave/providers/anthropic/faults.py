"""What an error answer of the Claude API means: its class, when to come back, and what to do."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from imagewave.providers.anthropic.access import ACCESS
from imagewave.providers.http.faults import Fault, seconds_told

BASE_URL = "https://api.anthropic.com"
"""As the official client has it: without the version."""

VERSION = "anthropic-version"
"""The header that says which version of the API is spoken."""

_FIX_OF_HTTP: Mapping[int, str] = MappingProxyType(
    {
        400: "Change what the message names.",
        401: f"Check {ACCESS.keys[0]}; keys are made at {ACCESS.keys_from}.",
        402: "Add credit to the key's organisation.",
        403: "Check that the key's workspace may use this model.",
        404: "The model may be retired, see `imagewave models`.",
        413: "Put fewer requests into a job.",
        429: "The organisation's quota is used up for now; run again later.",
    }
)

STATUS: Mapping[str, int] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "billing_error": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "api_error": 500,
        "timeout_error": 504,
        "overloaded_error": 529,
    }
)
"""The HTTP status of each kind of error, for result lines, which carry the kind alone."""


def read_fault(http: int, body: object, headers: Mapping[str, str]) -> Fault:
    """Reads `{"type": "error", "error": {"type", "message"}}` and `Retry-After`."""
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    inner = fields.get("error")
    fields = inner if isinstance(inner, dict) else {}
    kind = str(fields.get("type") or "")
    return Fault(
        http=http,
        kind=kind,
        code=kind,
        message=str(fields.get("message") or f"HTTP {http}"),
        retry_after=seconds_told(headers),
        fix=_FIX_OF_HTTP.get(http, ""),
    )
