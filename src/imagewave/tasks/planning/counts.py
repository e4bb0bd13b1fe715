"""Counts what many simulations of a wave took, by stage, and what of it is answered already."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np

from imagewave.storage.waves.wave import Wave
from imagewave.tasks.planning.answered import Answered
from imagewave.tasks.planning.forecast import Case, Ints, SimulatedCase

_NANO = Decimal("1e-9")
_ANSWERED = ("expand", "draft", "judge", "final", "judge_final")


class Counts:
    """How many requests of each stage each simulation took, and how many of them are answered."""

    def __init__(
        self,
        wave: Wave,
        cases: Mapping[str, Case],
        stages: Sequence[str],
        simulations: Sequence[Mapping[str, SimulatedCase]],
        answered: Answered,
    ) -> None:
        self._wave = wave
        self._cases = cases
        self._answered = {name: _by_case(wave, getattr(answered, name)) for name in _ANSWERED}
        self.asked = {
            stage: [self._requests(stage, simulation) for simulation in simulations]
            for stage in stages
        }
        self.free = {
            stage: [self._free_requests(stage, simulation) for simulation in simulations]
            for stage in stages
        }
        self.rounds = [
            (
                max((c.rounds - c.final_rounds for c in simulation.values()), default=0),
                max((c.final_rounds for c in simulation.values()), default=0),
            )
            for simulation in simulations
        ]

    def paid(self, stage: str, run: int) -> int:
        """How many requests of the stage have to be paid for in this simulation."""
        return self.asked[stage][run] - self.free[stage][run]

    def usd(self, each: Mapping[str, Decimal], run: int) -> Decimal:
        """What the simulation costs."""
        return sum((self.paid(stage, run) * each[stage] for stage in self.asked), Decimal(0))

    def mean_usd(self, stage: str, usd_per_call: Decimal) -> Decimal:
        """What the stage costs in the mean of all simulations."""
        paid = [self.paid(stage, run) for run in range(len(self.rounds))]
        return (Decimal(sum(paid)) * usd_per_call / len(paid)).quantize(_NANO)

    def _requests(self, stage: str, simulation: Mapping[str, SimulatedCase]) -> int:
        if stage == "expand":
            return sum(case.total(np.ones_like(case.wants)) for case in self._cases.values())
        return sum(
            self._cases[case].total(numbers)
            for case, simulated in simulation.items()
            for _, numbers in self._of(stage, simulated)
        )

    def _free_requests(self, stage: str, simulation: Mapping[str, SimulatedCase]) -> int:
        if stage == "expand":
            return sum(self._cases[case].total(n) for case, n in self._answered["expand"].items())
        return sum(
            self._cases[case].total(np.minimum(numbers, self._answered[name][case]))
            for case, simulated in simulation.items()
            for name, numbers in self._of(stage, simulated)
        )

    def _of(self, stage: str, simulated: SimulatedCase) -> list[tuple[str, Ints]]:
        """What of a simulated case the stage is, by the name that `Answered` has for it."""
        if stage == "draft":
            return [("draft", simulated.drafts)]
        if stage == "final":
            return [("final", simulated.finals)]
        judged = [("judge", simulated.drafts_judged)]
        return judged + [("judge_final", simulated.finals_judged)] * self._wave.final.judge


def _by_case(wave: Wave, numbers: Mapping[str, int]) -> dict[str, Ints]:
    """Numbers by brief as arrays by use case, in the order of `cases_of`."""
    found: dict[str, list[int]] = {}
    for brief in wave.briefs:
        found.setdefault(brief.use_case or wave.use_case, []).append(numbers.get(brief.id, 0))
    return {case: np.array(counts, np.int64) for case, counts in found.items()}
