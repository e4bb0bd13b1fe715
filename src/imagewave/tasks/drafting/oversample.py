"""How many drafts to ask for: as few as bring enough accepted ones with the chosen confidence.

The acceptance rate of a brief is unknown; what is known of it is a Beta distribution: the rates
measured before for its model and use case, then its own drafts so far. The number accepted of n
more drafts is then beta-binomial. docs/oversampling.md has the figures that chose the defaults.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from imagewave.tasks.drafting.beta import log_pmf, quantile

HOPELESS = 0.05
"""A brief is given up when it would reach its wanted count with less than this probability, though
every draft that its cap still allows were made."""

# How alike briefs are, as the drafts that knowing the others is worth (the a + b of the Beta that
# briefs' rates are drawn from): the values considered, and how likely before anything is seen.
_ALIKE = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
_ALIKE_BEFORE = -0.5 * (np.log2(_ALIKE) - 2.0) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Belief about one brief's acceptance rate: Beta(`a`, `b`). `source` says where it comes from.

    `sure` is how many drafts the belief about the *average* brief is worth; 0 is no history.
    """

    a: float = 1.0
    b: float = 1.0
    sure: float = 0.0
    source: str = "no history"

    @property
    def mean(self) -> float:
        """The expected rate."""
        return self.a / (self.a + self.b)

    def after(self, accepted: int, tried: int) -> "Rate":
        """The belief once `accepted` of `tried` drafts of the brief itself have passed."""
        return Rate(
            a=self.a + accepted, b=self.b + tried - accepted, sure=self.sure, source=self.source
        )

    def interval(self) -> tuple[float, float]:
        """The rates between which the brief's lies with 90 % probability."""
        return quantile(0.05, self.a, self.b), quantile(0.95, self.a, self.b)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a wave allows: see `imagewave.storage.waves.wave.Draft`."""

    max_oversample: float
    max_rounds: int
    confidence: float
    probe: int

    def cap(self, want: int) -> int:
        """The most drafts of a brief, all rounds together."""
        return max(want, int(want * self.max_oversample))


class Reason(StrEnum):
    """Why a round asks for as many drafts as it does, or for none."""

    PROBE = "probe"
    SIZED = "sized"
    REUSED = "reused"
    ENOUGH = "enough"
    CAP = "cap"
    ROUNDS = "rounds"
    HOPELESS = "low acceptance"
    REFUSED = "refused"
    UNJUDGED = "unjudged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do next for a brief: ask for `drafts` more, or stop (0), because of `reason`.

    `rate` is the belief that it rests on; `chance` the probability of reaching the wanted count
    with all the drafts that the cap still allows.
    """

    drafts: int
    reason: Reason
    rate: Rate
    chance: float


def next_step(
    prior: Rate,
    policy: Policy,
    *,
    want: int,
    accepted: int,
    tried: int,
    round: int,
    unjudged: int = 0,
    used_up: int = 0,
) -> Step:
    """The next round of one brief, the `round`-th (from 1).

    The aim is the chosen confidence, or the best that the cap allows. A round asks for the smallest
    n that leaves no more than its share of the risk: with two rounds to come after it, it need only
    succeed with 1 - (1 - aim)^(1/3), for what it misses they can bring, sized by what it showed.

    `unjudged` of the drafts tried have no valid judgement: they say nothing of the rate, and where
    they could be enough, more drafts are no remedy for a judge that does not answer. `used_up` of
    those accepted are to be replaced, within the same cap: no final could be made of them.
    """
    rate = prior.after(accepted, tried - unjudged)
    need = want + used_up - accepted
    room = policy.cap(want) - tried
    reachable = chance(rate.a, rate.b, need, room)

    def step(reason: Reason, drafts: int = 0) -> Step:
        return Step(drafts=drafts, reason=reason, rate=rate, chance=reachable)

    if need <= 0:
        return step(Reason.ENOUGH)
    if unjudged >= need:
        return step(Reason.UNJUDGED)
    if room <= 0:
        return step(Reason.CAP)
    rounds_left = policy.max_rounds - round + 1
    if rounds_left <= 0:
        return step(Reason.ROUNDS)
    if tried and reachable < HOPELESS:
        return step(Reason.HOPELESS)
    if not tried and not prior.sure:
        return step(Reason.PROBE, min(room, max(want, policy.probe)))
    share = 1 - (1 - min(policy.confidence, reachable)) ** (1 / rounds_left)
    return step(Reason.SIZED, smallest(rate.a, rate.b, need, share, room))


@lru_cache(maxsize=65_536)
def smallest(a: float, b: float, need: int, confidence: float, most: int) -> int:
    """The smallest n ≤ `most` with P(at least `need` of n accepted) ≥ `confidence`, else `most`.

    The rate is Beta(`a`, `b`).
    """
    low, high = min(need, most), most
    while low < high:
        middle = (low + high) // 2
        if chance(a, b, need, middle) >= confidence:
            high = middle
        else:
            low = middle + 1
    return low


@lru_cache(maxsize=65_536)
def chance(a: float, b: float, need: int, drafts: int) -> float:
    """P(at least `need` of `drafts` are accepted) when the rate is Beta(`a`, `b`).

    A rate r that is known for certain is Beta(r · m, (1 - r) · m) for a large m.
    """
    if need <= 0:
        return 1.0
    if drafts < need:
        return 0.0
    return float(1 - np.exp(log_pmf(np.arange(need), drafts, a, b)).sum())


class History:
    """What other briefs of a model and use case did: (accepted, tried) of each, with how many.

    `what` says what was tried, as in "drafts (some-model, hero)".
    """

    def __init__(self, counts: Mapping[tuple[int, int], int], what: str) -> None:
        self._counts = {pair: number for pair, number in counts.items() if pair[1] and number}
        self._what = what

    def joined(self, other: "History | None") -> "History":
        """Both together."""
        if other is None:
            return self
        counts = Counter(self._counts)
        counts.update(other._counts)
        return History(counts, self._what)

    def prior(self, own: tuple[int, int] = (0, 0)) -> Rate:
        """The belief about a brief that is not among them; `own` is left out where it is.

        The mean is theirs; how far a brief may be from it is estimated from how far they are from
        one another (a beta-binomial fit), so that a use case whose briefs are all alike is trusted
        more than one whose briefs differ.
        """
        counts = dict(self._counts)
        if own in counts:
            counts[own] -= 1
        pairs = [pair for pair, number in counts.items() if number]
        if not pairs:
            return Rate()
        accepted = np.array([pair[0] for pair in pairs])
        tried = np.array([pair[1] for pair in pairs])
        number = np.array([counts[pair] for pair in pairs])
        passed, drafts = int(accepted @ number), int(tried @ number)
        mean = (1 + passed) / (2 + drafts)
        spread = _ALIKE[:, None]
        fits = log_pmf(accepted, tried, mean * spread, (1 - mean) * spread) @ number
        alike = min(float(_ALIKE[np.argmax(fits + _ALIKE_BEFORE)]), 2.0 + drafts)
        briefs = int(number.sum())
        return Rate(
            a=mean * alike,
            b=(1 - mean) * alike,
            # Drafts of one brief tell less of the others, the less alike briefs are.
            sure=float((tried / (1 + (tried - 1) / (1 + alike))) @ number),
            source=f"{passed} of {drafts} passed of {briefs} other brief{'s' * (briefs > 1)}"
            f" in {self._what}",
        )
