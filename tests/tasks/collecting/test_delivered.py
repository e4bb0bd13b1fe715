"""What a provider still owes of a job."""

from collections.abc import Sequence

import pytest

from imagewave.providers.protocol import CALL_UNANSWERED, JobState, JobStatus, Outcome
from imagewave.storage.requests import FailureClass, Status
from imagewave.tasks.collecting.delivered import Delivered, Owed, owed

PICTURE = Outcome(key="", status=Status.IMAGE, image=b"x")
REFUSED = Outcome(
    key="", status=Status.REFUSED, failure=FailureClass.REFUSED, reason="moderation_blocked"
)
EXPIRED = Outcome(
    key="", status=Status.MISSING, failure=FailureClass.TRANSIENT, reason="BATCH_EXPIRED"
)
UNANSWERED = Outcome(
    key="", status=Status.MISSING, failure=FailureClass.TRANSIENT, reason=CALL_UNANSWERED
)


def owes(
    lines: Sequence[Outcome],
    succeeded: int | None,
    failed: int | None,
    *,
    of: int = 4,
    state: JobState = JobState.SUCCEEDED,
    named: bool = True,
) -> tuple[int, int]:
    """How many lines a job of so many requests owes, and how many of them it has answered."""
    found = Delivered(outcomes={str(n): line for n, line in enumerate(lines)}, named=named)
    status = JobStatus(name="job", state=state, total=of, succeeded=succeeded, failed=failed)
    lacks = owed(found, status, of)
    assert isinstance(lacks, Owed)
    return lacks.lines, lacks.answered


@pytest.mark.parametrize(
    ("lines", "succeeded", "failed", "lacks"),
    [
        ([PICTURE] * 4, 4, 0, (0, 0)),
        ([PICTURE] * 3, 4, 0, (1, 1)),
        ([PICTURE] * 3, 3, 1, (1, 0)),
        # Counted as a failure, it is not the answer that lacks; counted as an answer, it is one.
        ([PICTURE, REFUSED], 3, 1, (2, 2)),
        ([PICTURE, REFUSED], 2, 2, (2, 1)),
        ([PICTURE, REFUSED], 4, 0, (2, 2)),
        ([PICTURE] * 3 + [REFUSED], 4, 0, (0, 0)),
        # Odd counts make nobody wait for lines that no request lacks.
        ([PICTURE] * 4, 2, 2, (0, 0)),
        ([PICTURE] * 3, 9, 9, (1, 1)),
        ([PICTURE] * 4, None, None, (0, 0)),
        ([PICTURE] * 3, None, None, (1, 1)),
    ],
)
def test_lines_are_held_against_the_counts(
    lines: list[Outcome], succeeded: int | None, failed: int | None, lacks: tuple[int, int]
) -> None:
    assert owes(lines, succeeded, failed) == lacks


@pytest.mark.parametrize("failed", [0, 2])
def test_what_was_not_reached_stands_for_no_answer_that_lacks(failed: int) -> None:
    """Whether or not the provider counts it among the failures."""
    lines = [PICTURE, EXPIRED, EXPIRED]
    assert owes(lines, 2, failed, state=JobState.EXPIRED) == (1, 1)
    assert owes([*lines, PICTURE], 2, failed, state=JobState.EXPIRED) == (0, 0)


def test_single_calls_that_were_cancelled_owe_nothing() -> None:
    assert owes([PICTURE, PICTURE, UNANSWERED], 2, 1, of=5, state=JobState.CANCELLED) == (0, 0)


@pytest.mark.parametrize("state", [JobState.EXPIRED, JobState.CANCELLED, JobState.FAILED])
def test_a_job_that_names_no_results_owes_what_it_counts_as_answered(state: JobState) -> None:
    assert owes([], 2, None, state=state, named=False) == (2, 2)
    assert owes([], 0, 4, state=state, named=False) == (0, 0)
    assert owes([], None, None, state=state, named=False) == (0, 0)
