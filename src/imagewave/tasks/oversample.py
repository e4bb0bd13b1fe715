"""How many drafts to ask for: as few as bring enough accepted ones with the chosen confidence.

The acceptance rate of a brief is unknown; what is known of it is a Beta distribution: the rate
measured before for this model and use case, then the drafts seen so far. The number accepted of n
more drafts is then beta-binomial, and a round asks for the smallest n that brings what is still
needed with the chosen probability.
"""

from dataclasses import dataclass

from scipy.stats import beta, betabinom

# What one draft of history weighs against one of this brief, in all: briefs differ.
_PRIOR_WEIGHT = 6.0
# A brief is given up when its rate lies, with this probability, below what the cap could bear.
_GIVE_UP = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Belief about an acceptance rate: Beta(`a`, `b`). `source` says where it comes from."""

    a: float = 1.0
    b: float = 1.0
    source: str = "no history"

    @property
    def mean(self) -> float:
        """The expected rate."""
        return self.a / (self.a + self.b)

    def after(self, accepted: int, tried: int) -> "Rate":
        """The belief once `accepted` of `tried` drafts have passed."""
        return Rate(a=self.a + accepted, b=self.b + tried - accepted, source=self.source)


def from_history(accepted: int, tried: int, what: str) -> Rate:
    """A prior from what the store has measured, weakened so that a brief can differ from it."""
    if tried == 0:
        return Rate()
    weight = min(1.0, _PRIOR_WEIGHT / tried)
    return Rate(
        a=1.0 + accepted * weight,
        b=1.0 + (tried - accepted) * weight,
        source=f"{accepted} of {tried} drafts accepted before ({what})",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do next for a brief: ask for `drafts` more, or stop (0) because of `reason`."""

    drafts: int
    reason: str


def next_step(
    prior: Rate,
    *,
    want: int,
    accepted: int,
    tried: int,
    cap: int,
    probe: int,
    rounds_left: int,
    confidence: float,
) -> Step:
    """The next round of one brief.

    `cap` is the most drafts in all; `probe` the size of a first round without history.
    """
    if accepted >= want:
        return Step(drafts=0, reason="enough accepted")
    if tried >= cap:
        return Step(drafts=0, reason=f"cap of {cap} drafts reached with {accepted} of {want}")
    if rounds_left <= 0:
        return Step(drafts=0, reason=f"last round done with {accepted} of {want} accepted")
    room = cap - tried
    need = want - accepted
    rate = prior.after(accepted, tried)
    if tried and _hopeless(rate, need, room):
        return Step(
            drafts=0,
            reason=f"low acceptance: {accepted} of {tried} drafts passed; change the prompt",
        )
    if not tried and prior.source == Rate().source:
        return Step(drafts=min(room, max(want, probe)), reason="probe")
    return Step(
        drafts=min(room, smallest(rate, need, confidence, room)),
        reason=f"expected acceptance {rate.mean:.0%}",
    )


def smallest(rate: Rate, need: int, confidence: float, most: int) -> int:
    """The smallest n ≤ `most` with P(at least `need` of n accepted) ≥ `confidence`, else `most`."""
    low, high = need, max(need, most)
    while low < high:
        middle = (low + high) // 2
        if betabinom.sf(need - 1, middle, rate.a, rate.b) >= confidence:
            high = middle
        else:
            low = middle + 1
    return low


def _hopeless(rate: Rate, need: int, room: int) -> bool:
    """Whether the rate is almost surely below what `need` accepted of `room` drafts takes."""
    return bool(beta.cdf(need / room, rate.a, rate.b) >= _GIVE_UP)
