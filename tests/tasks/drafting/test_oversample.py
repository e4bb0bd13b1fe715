"""How many drafts: sized by belief, bounded by the cap, given up with evidence."""

import itertools
from collections import Counter
from fractions import Fraction

import pytest
from benchmarks.oversampling import cheapest_fixed, fixed, measured, ours
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from imagewave.storage.waves.wave import Draft
from imagewave.tasks.drafting.draft import policy
from imagewave.tasks.drafting.oversample import (
    HOPELESS,
    History,
    Policy,
    Rate,
    Reason,
    chance,
    next_step,
    smallest,
)

POLICY = Policy(max_oversample=4, max_rounds=3, confidence=0.9, probe=1)
SURE = 1e9
"""Drafts of a belief so firm that the rate is as good as known."""


def known(rate: float) -> Rate:
    return Rate(a=rate * SURE, b=(1 - rate) * SURE, sure=SURE, source="known")


def test_ten_drafts_at_one_in_five_bring_one_with_89_percent() -> None:
    rate = known(0.2)
    assert smallest(rate.a, rate.b, need=1, confidence=0.89, most=100) == 10
    assert smallest(rate.a, rate.b, need=1, confidence=0.90, most=100) == 11


def exact_chance(a: int, b: int, need: int, drafts: int) -> Fraction:
    """P(at least `need` of `drafts`) by Pólya's urn: each outcome changes the odds of the next."""
    paths = {0: Fraction(1)}
    for drawn in range(drafts):
        after: dict[int, Fraction] = {}
        for accepted, weight in paths.items():
            good = Fraction(a + accepted, a + b + drawn)
            after[accepted + 1] = after.get(accepted + 1, Fraction()) + weight * good
            after[accepted] = after.get(accepted, Fraction()) + weight * (1 - good)
        paths = after
    return sum((weight for accepted, weight in paths.items() if accepted >= need), Fraction())


@settings(deadline=None)
@given(
    a=st.integers(1, 20),
    b=st.integers(1, 20),
    need=st.integers(1, 10),
    confidence=st.integers(5, 99),
    most=st.integers(1, 40),
)
def test_the_smallest_is_enough_and_one_fewer_is_not(
    a: int, b: int, need: int, confidence: int, most: int
) -> None:
    wanted = confidence / 100 + 1e-9  # no exact tie, which rounding would decide
    drafts = smallest(a, b, need, wanted, most)
    assert drafts <= most
    if drafts < most:
        assert exact_chance(a, b, need, drafts) >= wanted
    if drafts > need:
        assert exact_chance(a, b, need, drafts - 1) < wanted


def test_a_first_round_without_history_measures_and_no_more() -> None:
    step = next_step(Rate(), POLICY, want=3, accepted=0, tried=0, round=1)
    assert (step.drafts, step.reason) == (3, Reason.PROBE)


def test_history_sizes_the_first_round() -> None:
    easy = next_step(known(0.95), POLICY, want=3, accepted=0, tried=0, round=1)
    hard = next_step(known(0.4), POLICY, want=3, accepted=0, tried=0, round=1)
    assert easy.reason is hard.reason is Reason.SIZED
    assert easy.drafts == 3 < hard.drafts


def test_a_round_that_others_can_follow_takes_less_risk_upon_itself() -> None:
    drafts = [
        next_step(known(0.5), POLICY, want=4, accepted=0, tried=0, round=round).drafts
        for round in (1, 2, 3)
    ]
    assert drafts == sorted(drafts)
    assert drafts[0] < drafts[2]
    # The last one carries the whole confidence.
    assert binom.sf(3, drafts[2], 0.5) >= 0.9 > binom.sf(3, drafts[2] - 1, 0.5)


def test_an_aim_beyond_the_cap_does_not_spend_the_cap_at_once() -> None:
    first = next_step(known(0.1), POLICY, want=1, accepted=0, tried=0, round=1)
    assert first.drafts < POLICY.cap(1)
    last = next_step(known(0.1), POLICY, want=1, accepted=0, tried=2, round=3)
    assert last.drafts == 2


@pytest.mark.parametrize(
    ("accepted", "tried", "round", "reason"),
    [
        (3, 3, 2, Reason.ENOUGH),
        (4, 5, 2, Reason.ENOUGH),
        (2, 12, 3, Reason.CAP),
        (2, 8, 4, Reason.ROUNDS),
        (0, 9, 3, Reason.HOPELESS),
    ],
)
def test_a_brief_stops_for_a_reason(accepted: int, tried: int, round: int, reason: Reason) -> None:
    step = next_step(Rate(), POLICY, want=3, accepted=accepted, tried=tried, round=round)
    assert (step.drafts, step.reason) == (0, reason)


def test_giving_up_shows_the_chance_that_was_left() -> None:
    step = next_step(Rate(), POLICY, want=3, accepted=0, tried=9, round=3)
    assert step.chance < HOPELESS
    # 3 of 3 more, when 0 of 9 passed: the integral of r^3 over Beta(1, 10).
    assert step.chance == pytest.approx((1 * 2 * 3) / (11 * 12 * 13))
    assert step.rate.mean == pytest.approx(1 / 11)


def test_no_brief_is_given_up_untried_whatever_others_did() -> None:
    step = next_step(known(0.001), POLICY, want=1, accepted=0, tried=0, round=1)
    assert step.drafts > 0


@settings(deadline=None)
@given(
    a=st.floats(0.5, 30),
    b=st.floats(0.5, 30),
    want=st.integers(1, 20),
    oversample=st.floats(1, 10),
    passed=st.lists(st.booleans(), max_size=60),
    round=st.integers(1, 4),
)
def test_no_step_passes_the_cap_or_asks_when_enough_are_there(
    a: float, b: float, want: int, oversample: float, passed: list[bool], round: int
) -> None:
    allowed = Policy(max_oversample=oversample, max_rounds=3, confidence=0.9, probe=2)
    accepted, tried = sum(passed), len(passed)
    step = next_step(
        Rate(a=a, b=b, sure=1), allowed, want=want, accepted=accepted, tried=tried, round=round
    )
    assert 0 <= step.drafts <= max(0, allowed.cap(want) - tried)
    if accepted >= want or round > 3:
        assert step.drafts == 0
    assert (step.drafts > 0) == (step.reason in (Reason.PROBE, Reason.SIZED))


def test_briefs_that_are_alike_are_trusted_more_than_briefs_that_differ() -> None:
    alike = History(Counter({(5, 10): 40}), "x").prior()
    differ = History(Counter({(0, 10): 20, (10, 10): 20}), "x").prior()
    assert alike.mean == pytest.approx(differ.mean) == pytest.approx(0.5)
    assert alike.a + alike.b > 4 * (differ.a + differ.b)
    # As many drafts tell less of a new brief where each brief is its own.
    assert differ.sure < alike.sure


def test_a_brief_is_no_evidence_for_itself() -> None:
    both = History(Counter({(0, 10): 1, (9, 10): 1}), "x")
    assert both.prior(own=(0, 10)).mean > 0.5 > both.prior(own=(9, 10)).mean
    alone = History(Counter({(0, 10): 1}), "x")
    assert alone.prior(own=(0, 10)) == Rate()


def test_a_prior_says_what_it_rests_on() -> None:
    rate = History(Counter({(3, 10): 2, (0, 0): 5}), "drafts for hero").prior()
    assert rate.source == "6 of 20 passed of 2 other briefs in drafts for hero"
    assert 0 < rate.sure <= 20
    assert Rate().source == "no history"


def test_one_brief_of_history_moves_a_new_one_only_a_little() -> None:
    rate = History(Counter({(0, 40): 1}), "x").prior()
    assert rate.after(3, 3).mean > 0.4


@pytest.mark.parametrize("history", [False, True])
def test_no_fixed_number_is_cheaper_at_equal_probability(history: bool) -> None:
    allowed = policy(Draft())
    for want, rate in itertools.product((1, 3), (0.05, 0.2, 0.5, 0.9)):
        mine = ours(allowed, measured(rate) if history else Rate(), rate, want)
        rival = fixed(cheapest_fixed(rate, want, mine.ok), rate, want)
        assert mine.per_accepted <= rival.per_accepted * 1.001
        # Waste beyond what each accepted image takes at the least, 1 / rate.
        assert mine.per_accepted >= 1 / rate - 1e-6


def test_drafts_that_nobody_could_judge_are_no_evidence_and_no_reason_for_more() -> None:
    down = next_step(Rate(), POLICY, want=2, accepted=0, tried=2, unjudged=2, round=2)
    assert (down.drafts, down.reason) == (0, Reason.UNJUDGED)
    assert down.rate.mean == Rate().mean
    # One unjudged is not enough for two: the other is asked for.
    one = next_step(Rate(), POLICY, want=2, accepted=0, tried=2, unjudged=1, round=2)
    assert one.drafts > 0


@pytest.mark.parametrize(
    ("drafts", "rate", "need", "expected"),
    [(10, 0.2, 1, 0.89), (10, 0.5, 1, 0.999), (1, 0.2, 1, 0.2), (4, 0.75, 3, 0.738)],
)
def test_the_chance_of_enough_at_a_known_rate(
    drafts: int, rate: float, need: int, expected: float
) -> None:
    found = chance(rate * SURE, (1 - rate) * SURE, need, drafts)
    assert round(found, 3 if expected > 0.9 else 2) == round(expected, 3 if expected > 0.9 else 2)
    assert found == pytest.approx(float(binom.sf(need - 1, drafts, rate)), abs=1e-6)
    # And the other way round: so many drafts are the fewest that bring it.
    assert smallest(rate * SURE, (1 - rate) * SURE, need, found - 1e-6, 100) == drafts
