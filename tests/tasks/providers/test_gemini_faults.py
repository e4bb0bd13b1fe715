"""What Google's error answers mean."""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.genai.errors import APIError

from imagewave.storage.requests import FailureClass
from imagewave.tasks.providers.gemini_faults import read_fault, wait_for


def error(code: int, status: str | None = None, *details: dict[str, Any]) -> APIError:
    body: dict[str, Any] = {
        "code": code,
        "message": "so",
        "status": status,
        "details": [*details],
    }
    return APIError(code, {"error": body})


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
    fault = read_fault(error(code, status))
    assert (fault.failure, fault.is_clean_no) == (failure, clean)


@pytest.mark.parametrize("body", [{"message": "<html>", "status": "Forbidden"}, {}, [], None, "x"])
def test_a_4xx_of_somebody_else_proves_nothing(body: Any) -> None:
    broken = APIError(403, {})
    broken.details = body
    assert not read_fault(broken).is_clean_no


def test_a_bad_key_is_named_as_such() -> None:
    fault = read_fault(
        error(400, "INVALID_ARGUMENT", detail("ErrorInfo", reason="API_KEY_INVALID"))
    )
    assert "GEMINI_API_KEY" in fault.fix


def test_a_told_wait_is_taken_if_it_is_short() -> None:
    told = error(429, "RESOURCE_EXHAUSTED", detail("RetryInfo", retryDelay="34.5s"))
    assert read_fault(told).retry_after == 34.5
    assert wait_for(told) == 34.5
    assert wait_for(error(429, "X", detail("RetryInfo", retryDelay="3600s"))) is False
    assert wait_for(error(429, "X", detail("RetryInfo", retryDelay="soon"))) is True


def test_a_daily_quota_is_full_again_at_midnight_in_california() -> None:
    spent = error(
        429,
        "RESOURCE_EXHAUSTED",
        detail("QuotaFailure", violations=[{"quotaId": "BatchTokensPerDayPerProject"}]),
    )
    fault = read_fault(spent, now=datetime(2026, 11, 21, 6, 30, tzinfo=UTC))  # 22:30 the day before
    assert fault.retry_after == 1.5 * 3600
    fault = read_fault(spent, now=datetime(2026, 11, 1, 7, 0, tzinfo=UTC))  # the clocks go back
    assert fault.retry_after == 25 * 3600


def test_invalid_requests_are_not_asked_again() -> None:
    assert wait_for(error(400, "INVALID_ARGUMENT")) is False
    assert wait_for(error(503, "UNAVAILABLE")) is True
