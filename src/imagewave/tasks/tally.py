"""Counts what many plays of a wave took, stage by stage, and what of it is answered already."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np

from imagewave.storage.wave import Wave
from imagewave.tasks.forecast import Course, Ints
from imagewave.tasks.known import Known

_NANO = Decimal("1e-9")
_KNOWN = ("expand", "draft", "judge", "final", "judge_final")


class Counts:
    """How many requests of each stage each play took, and how many of them are answered already."""

    def __init__(
        self,
        wave: Wave,
        stages: Sequence[str],
        plays: Sequence[Mapping[str, Course]],
        there: Known,
    ) -> None:
        self._wave = wave
        self._there = {name: _by_case(wave, getattr(there, name)) for name in _KNOWN}
        self.asked = {
            stage: [self._requests(stage, courses) for courses in plays] for stage in stages
        }
        self.free = {stage: [self._known(stage, courses) for courses in plays] for stage in stages}
        self.rounds = [
            (
                max(c.rounds - c.final_rounds for c in courses.values()),
                max(c.final_rounds for c in courses.values()),
            )
            for courses in plays
        ]

    def paid(self, stage: str, run: int) -> int:
        """How many requests of the stage have to be paid for in this play."""
        return self.asked[stage][run] - self.free[stage][run]

    def usd(self, each: Mapping[str, Decimal], run: int) -> Decimal:
        """What the play costs."""
        return sum((self.paid(stage, run) * each[stage] for stage in self.asked), Decimal(0))

    def mean_usd(self, stage: str, usd_per_call: Decimal) -> Decimal:
        """What the stage costs in the mean of all plays."""
        paid = [self.paid(stage, run) for run in range(len(self.rounds))]
        return (Decimal(sum(paid)) * usd_per_call / len(paid)).quantize(_NANO)

    def _requests(self, stage: str, courses: Mapping[str, Course]) -> int:
        if stage == "expand":
            return len(self._wave.briefs)
        return sum(
            int(numbers.sum())
            for course in courses.values()
            for _, numbers in self._of(stage, course)
        )

    def _known(self, stage: str, courses: Mapping[str, Course]) -> int:
        if stage == "expand":
            return sum(int(numbers.sum()) for numbers in self._there["expand"].values())
        return sum(
            int(np.minimum(numbers, self._there[name][case]).sum())
            for case, course in courses.items()
            for name, numbers in self._of(stage, course)
        )

    def _of(self, stage: str, course: Course) -> list[tuple[str, Ints]]:
        """What of a course the stage is, by the name that `Known` has for it."""
        if stage == "draft":
            return [("draft", course.drafts)]
        if stage == "final":
            return [("final", course.finals)]
        judged = [("judge", course.drafts_judged)]
        return judged + [("judge_final", course.finals_judged)] * self._wave.final.judge


def _by_case(wave: Wave, numbers: Mapping[str, int]) -> dict[str, Ints]:
    """Numbers by brief as arrays by use case, in the order of `cases_of`."""
    found: dict[str, list[int]] = {}
    for brief in wave.briefs:
        found.setdefault(brief.use_case or wave.use_case, []).append(numbers.get(brief.id, 0))
    return {case: np.array(counts, np.int64) for case, counts in found.items()}
