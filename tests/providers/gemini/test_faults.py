"""What Google's error answers mean."""

from datetime import UTC, datetime
from typing import Any

import pytest

from imagewave.providers.gemini.faults import read_fault
from imagewave.providers.http.faults import Fault
from imagewave.storage.requests import FailureClass


def fault_of(
    code: int, status: str | None = None, *details: dict[str, Any], now: datetime | None = None
) -> Fault:
    body: dict[str, Any] = {
        "code": code,
        "message": "so",
        "status": status,
        "details": [*details],
    }
    return read_fault(code, {"error": body}, {}, now)


def detail(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


@pytest.mark.parametrize(
    ("code", "status", "failure", "clean"),
    [
        (400, "INVALID_ARGUMENT", FailureClass.INVALID, True),
        (400, "FAILED_PRECONDITION", FailureClass.INVALID, True),
        (403, "PERMISSION_DENIED", FailureClass.INVALID, True),
        (404, "NOT_FOUND", FailureClass.INVALID, True),
        (429, "RESOURCE_EXHAUSTED", FailureClass.TRANSIENT, True),
        (408, "DEADLINE_EXCEEDED", FailureClass.TRANSIENT, False),
        (409, "ABORTED", FailureClass.TRANSIENT, False),
        (500, "INTERNAL", FailureClass.TRANSIENT, False),
        (503, "UNAVAILABLE", FailureClass.TRANSIENT, False),
        (302, "FOUND", FailureClass.TRANSIENT, False),
    ],
)
def test_only_google_s_own_4xx_proves_that_nothing_was_accepted(
    code: int, status: str, failure: FailureClass, clean: bool
) -> None:
    fault = fault_of(code, status)
    assert (fault.failure, fault.is_clean_no) == (failure, clean)


@pytest.mark.parametrize("body", [{"message": "<html>", "status": "Forbidden"}, {}, [], None, "x"])
def test_a_4xx_of_somebody_else_proves_nothing(body: Any) -> None:
    assert not read_fault(403, body, {}).is_clean_no


def test_a_bad_key_is_named_as_such() -> None:
    fault = fault_of(400, "INVALID_ARGUMENT", detail("ErrorInfo", reason="API_KEY_INVALID"))
    assert "GEMINI_API_KEY" in fault.fix


def test_a_told_wait_is_taken_if_it_is_short() -> None:
    told = fault_of(429, "RESOURCE_EXHAUSTED", detail("RetryInfo", retryDelay="34.5s"))
    assert told.retry_after == 34.5
    assert told.wait == 34.5
    assert fault_of(429, "X", detail("RetryInfo", retryDelay="3600s")).wait is False
    assert fault_of(429, "X", detail("RetryInfo", retryDelay="soon")).wait is True
    assert read_fault(429, None, {"retry-after": "7"}).wait == 7


def test_a_daily_quota_is_full_again_at_midnight_in_california() -> None:
    spent = detail("QuotaFailure", violations=[{"quotaId": "BatchTokensPerDayPerProject"}])
    late = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)  # 22:30 the day before
    assert fault_of(429, "RESOURCE_EXHAUSTED", spent, now=late).retry_after == 1.5 * 3600
    clocks_go_back = datetime(2026, 11, 1, 7, 0, tzinfo=UTC)
    assert fault_of(429, "RESOURCE_EXHAUSTED", spent, now=clocks_go_back).retry_after == 25 * 3600


def test_invalid_requests_are_not_asked_again() -> None:
    assert fault_of(400, "INVALID_ARGUMENT").wait is False
    assert fault_of(503, "UNAVAILABLE").wait is True
