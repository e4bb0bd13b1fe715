"""Samples of large waves: every kind of brief is in them, and they stand for the whole."""

import pytest

from imagewave.storage.waves.briefs import Brief
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.planning import sample
from imagewave.tasks.planning.plan import plan_wave
from imagewave.tasks.planning.sample import sample_of


def wave(*wants: int) -> Wave:
    briefs = tuple(
        Brief(id=f"b{number}", text="Red tulips", want=want, use_case="hero" if number % 4 else "")
        for number, want in enumerate(wants)
    )
    return Wave(name="large", briefs=briefs)


def test_a_small_wave_is_its_own_sample() -> None:
    small = wave(1, 2, 3, 1)
    taken = sample_of(small)
    assert {brief.id for brief in taken.wave.briefs} == {brief.id for brief in small.briefs}
    assert {case: set(weights) for case, weights in taken.weights.items()} == {
        "": {1.0},
        "hero": {1.0},
    }


def test_all_kinds_of_briefs_are_in_a_sample_and_each_stands_for_its_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sample, "SIMULATED", 500)
    large = wave(*[1000] * 10, *[1, 2, 1] * 2000)
    taken = sample_of(large)
    assert len(taken.wave.briefs) < 700
    assert sum(brief.want == 1000 for brief in taken.wave.briefs) == 10
    for use_case, weights in taken.weights.items():
        played = [brief.want for brief in taken.wave.briefs if brief.use_case == use_case]
        meant = [brief.want for brief in large.briefs if brief.use_case == use_case]
        assert weights.sum() == pytest.approx(len(meant))
        assert weights @ played == pytest.approx(sum(meant))


def test_a_plan_by_a_sample_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    large = wave(*[1, 3] * 1000)
    whole = plan_wave(None, large)
    monkeypatch.setattr(sample, "SIMULATED", 400)
    part = plan_wave(None, large)
    assert (part.briefs, part.wanted) == (2000, 4000)
    assert float(part.usd.middle) == pytest.approx(float(whole.usd.middle), rel=0.1)
    assert part.delivered.high <= part.wanted
