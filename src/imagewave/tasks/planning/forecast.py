"""Simulates a wave's rounds many times: how many requests of each kind it takes.

The policy is the real one (`next_step`, priors from history and from the wave's own earlier
rounds); only the pictures are made up: each brief has a true acceptance rate, drawn from what is
known of such briefs, and drafts pass or fail by it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from imagewave.tasks.drafting.oversample import History, Policy, Rate, next_step
from imagewave.tasks.final import RENDERS

# Even before any history, use cases of which nearly all or nearly no draft passes are rare.
_SURE_AT_LEAST = 2.0
# More than any number of drafts of one brief.
_MOST = 1 << 20
# Of so many briefs, the drafts of one are a small part of what is known of the others.
_MANY = 200

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FINALS = Rate(a=8.0, b=2.0, sure=8.0, source="no history, 80 % assumed")
"""The belief about finals before any were made: each carries a draft that was good."""

NEARLY = 0.5
"""Share of the rejected pictures that passes the screens and fails at the judge, before any
history tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The briefs of one use case: how many pictures each wants, and what is known of such briefs.

    Each stands for `weights` of them: of a large wave a sample is simulated. `drafts` and `finals`
    are None where nothing was measured. `nearly` are the shares of rejected drafts and of rejected
    finals that the judge sees. The `policy` says how drafts are asked for.
    """

    wants: Ints
    policy: Policy
    drafts: History | None = None
    finals: History | None = None
    weights: Floats | float = 1.0
    nearly: tuple[float, float] = (NEARLY, NEARLY)

    @property
    def draft_rate(self) -> Rate:
        """The belief about a new brief's drafts."""
        return self.drafts.prior() if self.drafts else Rate()

    @property
    def final_rate(self) -> Rate:
        """The belief about a new brief's finals."""
        rate = self.finals.prior() if self.finals else Rate()
        return rate if rate.sure else FINALS

    def total(self, numbers: Ints) -> int:
        """What numbers of the briefs that are simulated come to for all briefs."""
        return round(float((numbers * self.weights).sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCase:
    """One way that a wave may go, brief by brief: numbers of requests, and pictures that passed.

    `rounds` are those of drafts and of finals, `final_rounds` the latter alone.
    """

    drafts: Ints
    drafts_judged: Ints
    accepted: Ints
    finals: Ints
    finals_judged: Ints
    delivered: Ints
    rounds: int
    final_rounds: int = 0


def simulate(case: Case, rng: np.random.Generator, *, finals: bool) -> SimulatedCase:
    """One way that the briefs of a use case may go. Without `finals`, accepted drafts are final."""
    rates = _true_rates(case.draft_rate, len(case.wants), rng)
    tried, passed, rounds = _drafts(case, rates, rng)
    accepted = np.minimum(passed, case.wants)
    judged = passed + rng.binomial(tried - passed, case.nearly[0])
    if not finals:
        none = np.zeros_like(tried)
        return SimulatedCase(
            drafts=tried,
            drafts_judged=judged,
            accepted=accepted,
            finals=none,
            finals_judged=none,
            delivered=accepted,
            rounds=rounds,
        )
    final_rates = _true_rates(case.final_rate, len(case.wants), rng)
    rendered, good, final_rounds = _finals(case.wants, passed, final_rates, rng)
    return SimulatedCase(
        drafts=tried,
        drafts_judged=judged,
        accepted=accepted,
        finals=rendered,
        finals_judged=good + rng.binomial(rendered - good, case.nearly[1]),
        delivered=good,
        rounds=rounds + final_rounds,
        final_rounds=final_rounds,
    )


def _true_rates(belief: Rate, briefs: int, rng: np.random.Generator) -> Floats:
    """The briefs' rates: drawn around an average that is itself known only so well."""
    alike = belief.a + belief.b
    sure = max(belief.sure, _SURE_AT_LEAST)
    average = rng.beta(1 + belief.mean * sure, 1 + (1 - belief.mean) * sure)
    average = min(max(average, 0.001), 0.999)
    return rng.beta(alike * average, alike * (1 - average), size=briefs)


def _drafts(case: Case, rates: Floats, rng: np.random.Generator) -> tuple[Ints, Ints, int]:
    """Drafts tried, drafts that passed, and the number of rounds."""
    tried, passed = np.zeros_like(case.wants), np.zeros_like(case.wants)
    for round in count(1):
        # Briefs that stand alike are asked for alike.
        coded, of = np.unique((case.wants * _MOST + passed) * _MOST + tried, return_inverse=True)
        briefs = np.rint(np.bincount(of, np.broadcast_to(case.weights, len(of)))).astype(np.int64)
        states = list(zip(coded // _MOST**2, coded // _MOST % _MOST, coded % _MOST, strict=True))
        counts: Counter[tuple[int, int]] = Counter()
        for (_, accepted, asked_for), number in zip(states, briefs, strict=True):
            counts[int(accepted), int(asked_for)] += int(number)
        here = History(counts, "").joined(case.drafts)
        common = here.prior() if tried.any() and len(tried) >= _MANY else None
        asked = np.array(
            [
                next_step(
                    common or here.prior(own=(int(accepted), int(asked_for))),
                    case.policy,
                    want=int(want),
                    accepted=int(accepted),
                    tried=int(asked_for),
                    round=round,
                ).drafts
                for want, accepted, asked_for in states
            ]
        )[of]
        if not asked.any():
            return tried, passed, round - 1
        tried = tried + asked
        passed = passed + rng.binomial(asked, rates)
    raise AssertionError


def _finals(
    wants: Ints, passed: Ints, rates: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints, int]:
    """Finals rendered, finals that passed, and the number of rounds.

    A failed final falls back to a draft in reserve, then to another render of a failed draft.
    """
    rendered, good = np.zeros_like(wants), np.zeros_like(wants)
    target = np.minimum(wants, passed)
    for round in count(1):
        left = passed * RENDERS - rendered
        asked = np.where(rendered == 0, target, np.minimum(target - good, left))
        # Without a reserve each draft is rendered so often and no more.
        asked = np.where((round > RENDERS) & (passed <= wants), 0, asked)
        if not asked.any():
            return rendered, good, round - 1
        rendered = rendered + asked
        good = good + rng.binomial(asked, rates)
    raise AssertionError


T = TypeVar("T", int, float, Decimal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread(Generic[T]):
    """The 10th, 50th and 90th percentile of many simulations, or their mean in the middle."""

    low: T
    middle: T
    high: T

    @classmethod
    def of(cls, values: Sequence[T]) -> "Spread[T]":
        """The percentiles of these values."""
        ordered = sorted(values)
        low, middle, high = (
            ordered[round(share * (len(ordered) - 1))] for share in (0.1, 0.5, 0.9)
        )
        return cls(low=low, middle=middle, high=high)

    @classmethod
    def around(cls, mean: T, values: Sequence[T]) -> "Spread[T]":
        """The 10th and 90th percentile of these values with their mean between them."""
        ends = cls.of(values)
        return cls(low=min(ends.low, mean), middle=mean, high=max(ends.high, mean))
