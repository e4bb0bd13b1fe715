"""How many drafts an accepted image takes: our rounds against fixed multiples and one at a time.

Exact, not sampled: every outcome of every round is weighed with its probability, through the very
function that a wave asks (`next_step`), so that a repeat prints the same figures. One draft costs
one unit. "ok" is the probability of reaching the wanted count within the cap.

Fixed ×3 and ×10 ask for that multiple of the wanted count at once. "fixed, as ok" is the cheapest
number asked for at once that reaches our probability *if the true rate were known*: more than any
fixed policy can do. One at a time is the least that any policy can pay, in as many rounds.

    python benchmarks/oversampling.py              the defaults, without and with history
    python benchmarks/oversampling.py --settings   what other rounds, confidences and probes give
"""

import argparse
import itertools
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binom

from imagewave.storage.waves.wave import Draft
from imagewave.tasks.drafting.draft import policy
from imagewave.tasks.drafting.oversample import History, Policy, Rate, next_step

RATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
WANTS = (1, 3, 10)
TOLERANCE = 1.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a policy comes to on average: `got` counts accepted images up to the wanted number."""

    drafts: float
    got: float
    ok: float
    rounds: float

    @property
    def per_accepted(self) -> float:
        """Drafts paid for per wanted image that was accepted."""
        return self.drafts / self.got


def ours(allowed: Policy, prior: Rate, rate: float, want: int) -> Result:
    """Our policy on a brief of this true rate, all its possible courses weighed."""
    open = {(0, 0): 1.0}
    ended: defaultdict[tuple[int, int], float] = defaultdict(float)
    rounds = 0.0
    for round in itertools.count(1):
        going: defaultdict[tuple[int, int], float] = defaultdict(float)
        for (accepted, tried), weight in open.items():
            step = next_step(prior, allowed, want=want, accepted=accepted, tried=tried, round=round)
            if not step.drafts:
                ended[accepted, tried] += weight
                continue
            rounds += weight
            for more, share in enumerate(_outcomes(step.drafts, rate)):
                if share * weight > 1e-13:
                    going[accepted + more, tried + step.drafts] += share * weight
        if not going:
            return _result(ended, want, rounds)
        open = going
    raise AssertionError


def fixed(drafts: int, rate: float, want: int) -> Result:
    """So many drafts at once, whatever comes of them."""
    ended = {(k, drafts): share for k, share in enumerate(_outcomes(drafts, rate))}
    return _result(ended, want, 1.0)


def one_at_a_time(cap: int, rate: float, want: int) -> Result:
    """One draft after another until enough are accepted or the cap is reached."""
    open = {0: 1.0}
    ended: defaultdict[tuple[int, int], float] = defaultdict(float)
    for tried in range(1, cap + 1):
        going: defaultdict[int, float] = defaultdict(float)
        for accepted, weight in open.items():
            for more, share in enumerate((1 - rate, rate)):
                at = accepted + more
                if at == want or tried == cap:
                    ended[at, tried] += weight * share
                else:
                    going[at] += weight * share
        open = dict(going)
    result = _result(ended, want, 0.0)
    return replace(result, rounds=result.drafts)


def cheapest_fixed(rate: float, want: int, ok: float) -> int:
    """The fewest drafts at once that bring enough with at least this probability."""
    low, high = want, want
    while binom.sf(want - 1, high, rate) < ok - 1e-12:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if binom.sf(want - 1, middle, rate) < ok - 1e-12:
            low = middle + 1
        else:
            high = middle
    return low


def measured(rate: float) -> Rate:
    """The belief of a store that has seen 20 briefs of this very rate, 10 drafts of each."""
    passed = 200 * rate
    counts = Counter((round(passed * (i + 1) / 20) - round(passed * i / 20), 10) for i in range(20))
    return History(counts, "simulated").prior()


def compare(allowed: Policy, priors: dict[float, Rate]) -> bool:
    """Prints the comparison; True if ours never costs more than the cheapest fixed policy."""
    print(
        "| want | true rate | ours: ok | rounds | **per accepted** | fixed, as ok | ×3: ok | per "
        "accepted | ×10: ok | per accepted | one at a time | rounds |"
    )
    print("|" + "--:|" * 12)
    good = True
    for want, rate in itertools.product(WANTS, RATES):
        mine = ours(allowed, priors[rate], rate, want)
        rival = fixed(cheapest_fixed(rate, want, mine.ok), rate, want)
        three, ten = fixed(3 * want, rate, want), fixed(10 * want, rate, want)
        one = one_at_a_time(allowed.cap(want), rate, want)
        worse = mine.per_accepted > rival.per_accepted * TOLERANCE
        good &= not worse
        print(
            f"| {want} | {rate:.0%} | {mine.ok:.1%} | {mine.rounds:.2f} |"
            f" **{mine.per_accepted:.2f}**{' (worse)' if worse else ''} |"
            f" {rival.per_accepted:.2f} |"
            f" {three.ok:.1%} | {three.per_accepted:.2f} | {ten.ok:.1%} | {ten.per_accepted:.2f} |"
            f" {one.per_accepted:.2f} | {one.rounds:.1f} |"
        )
    return good


def same_caps(allowed: Policy) -> None:
    """Prints ours beside fixed ×3 and ×10 when it may ask for as many drafts as they do."""
    print(
        "| want | true rate | ours, cap ×3: ok | per accepted | ×3: ok | per accepted |"
        " ours, cap ×10: ok | per accepted | ×10: ok | per accepted |"
    )
    print("|" + "--:|" * 10)
    for want, rate in itertools.product(WANTS, RATES):
        cells = []
        for factor in (3, 10):
            mine = ours(replace(allowed, max_oversample=factor), Rate(), rate, want)
            rival = fixed(factor * want, rate, want)
            cells += [f"{mine.ok:.1%}", f"**{mine.per_accepted:.2f}**"]
            cells += [f"{rival.ok:.1%}", f"{rival.per_accepted:.2f}"]
        print(f"| {want} | {rate:.0%} | {' | '.join(cells)} |")


def settings() -> None:
    """Prints what other settings come to, on average over rates from 10 to 90 %."""
    print("| rounds | confidence | probe | cap | ok | rounds taken | per accepted |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    base = policy(Draft())
    variants = [
        *(replace(base, max_rounds=n) for n in (1, 2, 3, 4, 6)),
        *(replace(base, confidence=c) for c in (0.7, 0.8, 0.95, 0.99)),
        *(replace(base, probe=n) for n in (2, 3)),
        *(replace(base, max_oversample=n) for n in (2, 6, 10)),
    ]
    for variant in variants:
        results = [
            ours(variant, Rate(), rate, want)
            for want, rate in itertools.product(WANTS, RATES)
            if rate >= 0.1
        ]
        print(
            f"| {variant.max_rounds} | {variant.confidence} | {variant.probe} |"
            f" ×{variant.max_oversample:g} | {_mean([r.ok for r in results]):.1%} |"
            f" {_mean([r.rounds for r in results]):.2f} |"
            f" {_mean([r.per_accepted for r in results]):.2f} |"
            + (" default" if variant == base else "")
        )


def _outcomes(drafts: int, rate: float) -> list[float]:
    return [float(share) for share in binom.pmf(np.arange(drafts + 1), drafts, rate)]


def _result(ended: dict[tuple[int, int], float], want: int, rounds: float) -> Result:
    return Result(
        drafts=sum(tried * weight for (_, tried), weight in ended.items()),
        got=sum(min(accepted, want) * weight for (accepted, _), weight in ended.items()),
        ok=sum(weight for (accepted, _), weight in ended.items() if accepted >= want),
        rounds=rounds,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--settings", action="store_true", help="compare other settings")
    if parser.parse_args().settings:
        settings()
        return 0
    allowed = policy(Draft())
    print("Without history\n")
    good = compare(allowed, dict.fromkeys(RATES, Rate()))
    print("\nWith history: 20 briefs of the same rate, 10 drafts each\n")
    good &= compare(allowed, {rate: measured(rate) for rate in RATES})
    print("\nWithout history, with the cap of the fixed policy\n")
    same_caps(allowed)
    print("\nOurs at most the cheapest fixed policy's cost:", "yes" if good else "NO")
    return not good


if __name__ == "__main__":
    sys.exit(main())
