"""Simulated waves: they obey the policy's limits and agree with what is computed."""

import dataclasses
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from benchmarks.oversampling import measured, ours

from imagewave.tasks.drafting.oversample import History, Policy
from imagewave.tasks.final import RENDERS
from imagewave.tasks.planning.forecast import FINALS, Case, SimulatedCase, Spread, simulate

pytestmark = pytest.mark.heavy

POLICY = Policy(max_oversample=4, max_rounds=3, confidence=0.9, probe=1)


def history(rate: Fraction, briefs: int = 20) -> History:
    """So many briefs that were all alike, ten drafts each."""
    return History(Counter({(int(10 * rate), 10): briefs}), "drafts")


def case(*wants: int, rate: Fraction | None = None, finals: Fraction | None = None) -> Case:
    return Case(
        wants=np.array(wants, np.int64),
        policy=POLICY,
        drafts=None if rate is None else history(rate),
        finals=None if finals is None else history(finals),
    )


def simulations(
    of: Case, times: int = 200, *, finals: bool = True, seed: int = 0
) -> list[SimulatedCase]:
    rng = np.random.default_rng(seed)
    return [simulate(of, rng, finals=finals) for _ in range(times)]


@pytest.mark.parametrize("rate", [Fraction(5, 10), Fraction(8, 10)])
def test_the_mean_of_many_plays_is_what_is_computed_exactly(rate: Fraction) -> None:
    exact = ours(POLICY, measured(float(rate)), float(rate), want=3)
    played = simulations(case(3, rate=rate), 1500)
    assert np.mean([c.drafts.sum() for c in played]) == pytest.approx(exact.drafts, rel=0.06)
    assert np.mean([c.accepted.sum() for c in played]) == pytest.approx(exact.got, rel=0.06)


@pytest.mark.parametrize("rate", [None, Fraction(1, 10), Fraction(9, 10)])
def test_no_play_passes_a_limit(rate: Fraction | None) -> None:
    of = case(1, 1, 2, 5, 5, 10, rate=rate)
    for simulated in simulations(of, 100):
        assert (simulated.drafts <= 4 * of.wants).all()
        assert (simulated.accepted <= of.wants).all()
        assert (simulated.accepted <= simulated.drafts_judged).all()
        assert (simulated.drafts_judged <= simulated.drafts).all()
        assert (simulated.delivered <= simulated.accepted).all()
        assert (simulated.delivered <= simulated.finals_judged).all()
        assert (simulated.finals_judged <= simulated.finals).all()
        assert (simulated.finals <= RENDERS * simulated.drafts_judged).all()
        assert simulated.rounds >= 1


def test_every_draft_that_nothing_is_left_of_is_rendered_so_often_and_no_more() -> None:
    hopeless = case(2, rate=Fraction(1), finals=Fraction(0))
    for simulated in simulations(hopeless, 50):
        if (
            simulated.delivered.sum() == 0
            and simulated.accepted.sum() == simulated.drafts.sum() == 2
        ):
            assert simulated.finals.sum() == 2 * RENDERS
            break
    else:
        pytest.fail("no simulation showed what was to be shown")


def test_a_hard_use_case_takes_more_drafts_than_an_easy_one() -> None:
    hard, easy = (simulations(case(3, 3, 3, rate=Fraction(n, 10))) for n in (2, 9))
    drafts = [np.mean([c.drafts.sum() for c in played]) for played in (hard, easy)]
    assert drafts[0] > 2 * drafts[1]
    assert min(c.drafts.sum() for c in easy) >= 9


def test_accepted_drafts_are_the_finals_where_none_are_made() -> None:
    for simulated in simulations(case(2, 3), 20, finals=False):
        assert simulated.finals.sum() == simulated.finals_judged.sum() == 0
        assert (simulated.delivered == simulated.accepted).all()


def test_the_same_seed_gives_the_same_play() -> None:
    one, same, other = (simulations(case(2, 3, 4), 5, seed=seed) for seed in (1, 1, 2))
    assert [c.drafts.tolist() for c in one] == [c.drafts.tolist() for c in same]
    assert [c.drafts.tolist() for c in one] != [c.drafts.tolist() for c in other]


def test_what_is_unknown_of_all_briefs_makes_large_waves_uncertain_too() -> None:
    # Were each brief drawn by itself, 300 of them would even out to a range of a few per cent.
    spread = Spread.of([int(c.drafts.sum()) for c in simulations(case(*[2] * 300), 100)])
    assert spread.high > 1.3 * spread.low
    known = Spread.of(
        [int(c.drafts.sum()) for c in simulations(case(*[2] * 300, rate=Fraction(1, 2)), 100)]
    )
    assert known.high - known.low < (spread.high - spread.low) / 2


def test_a_wave_of_which_a_sample_is_played_goes_as_the_whole_of_it() -> None:
    whole = case(*[1, 3] * 2000, rate=Fraction(1, 2))
    part = dataclasses.replace(case(*[1, 3] * 200, rate=Fraction(1, 2)), weights=10.0)
    for name in ("drafts", "delivered", "finals_judged"):
        means = [
            np.mean([of.total(getattr(simulated, name)) for simulated in simulations(of, 60)])
            for of in (whole, part)
        ]
        assert means[1] == pytest.approx(means[0], rel=0.03)


def test_finals_are_believed_in_until_measured() -> None:
    assert case(1).final_rate == FINALS
    assert case(1, finals=Fraction(2, 10)).final_rate.mean == pytest.approx(0.2, abs=0.01)


def test_a_spread_is_of_values_that_occurred() -> None:
    assert Spread.of(list(range(101))) == Spread(low=10, middle=50, high=90)
    assert Spread.of([7]) == Spread(low=7, middle=7, high=7)
