"""The one table of failures: what is tried again, how often, after which wait."""

import pytest

from imagewave.providers import failures
from imagewave.providers.failures import retryable, wait_before_retry
from imagewave.storage.requests import FailureClass

TRANSIENT, BROKEN = FailureClass.TRANSIENT, FailureClass.BROKEN
REFUSED, INVALID = FailureClass.REFUSED, FailureClass.INVALID


@pytest.mark.parametrize(
    ("failure", "reason", "tries"),
    [
        (TRANSIENT, "INTERNAL", 3),
        (BROKEN, "NO_IMAGE", 2),
        (BROKEN, "RECITATION", 2),
        (REFUSED, "SAFETY", 1),
        (REFUSED, "IMAGE_SAFETY", 2),
        (REFUSED, "PROMPT_IMAGE_SAFETY", 1),
        (INVALID, "MAX_TOKENS", 1),
    ],
)
def test_a_request_is_tried_so_often_in_all(failure: FailureClass, reason: str, tries: int) -> None:
    asked = [attempts for attempts in range(1, 10) if retryable(failure, reason, attempts)]
    assert asked == list(range(1, tries))


def test_every_class_has_a_policy() -> None:
    assert set(failures.POLICIES) == set(FailureClass)


def test_waits_double_within_their_jitter_and_end_at_the_longest() -> None:
    policy = failures.POLICIES[TRANSIENT]
    for attempts, ceiling in [(1, 1.0), (2, 2.0), (3, 4.0), (30, policy.wait_max)]:
        waits = [wait_before_retry(TRANSIENT, "", attempts) for _ in range(50)]
        assert all(ceiling / 2 <= wait <= ceiling for wait in waits)
        assert len(set(waits)) > 1


def test_the_provider_s_word_on_the_wait_is_taken() -> None:
    assert wait_before_retry(TRANSIENT, "", 1, told=34.5) == 34.5


def test_what_was_broken_is_asked_for_again_at_once() -> None:
    assert wait_before_retry(BROKEN, "NO_IMAGE", 1) == 0


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (400, INVALID),
        (404, INVALID),
        (418, INVALID),
        (429, TRANSIENT),
        (500, TRANSIENT),
    ],
)
def test_an_http_status_has_a_class(code: int, failure: FailureClass) -> None:
    assert failures.of_http(code) is failure
