"""What a plan advises where it would not deliver all that is wanted."""

import pytest
from tests.tasks.waves import brief, wave

from imagewave.storage.waves.wave import Draft, Final, Judge, Wave
from imagewave.tasks.planning.plan import Plan, plan_wave

pytestmark = pytest.mark.heavy


def lacking(**draft: float) -> Wave:
    """Eight pictures of which nothing is known, with few drafts to choose from."""
    return wave(
        brief("harbour", 4),
        brief("tulips", 4),
        draft=Draft.model_validate(draft),
        judge=Judge(enabled=False),
        final=Final(carry="accept"),
    )


def with_keys(of: Wave, plan: Plan) -> Wave:
    assert plan.remedy is not None
    return of.model_copy(update={"draft": of.draft.model_copy(update=dict(plan.remedy.keys))})


def test_it_names_the_keys_that_deliver_all_that_is_wanted() -> None:
    few = lacking(max_oversample=1, max_rounds=1)
    plan = plan_wave(None, few, advise=True)
    assert plan.delivered.middle < plan.wanted == 8
    assert plan.remedy is not None
    assert plan.remedy.keys.keys() == {"max_oversample", "max_rounds"}

    mended = plan_wave(None, with_keys(few, plan))
    assert mended.delivered.middle == 8
    assert plan.remedy.delivered == mended.delivered
    assert plan.remedy.usd == mended.usd
    assert mended.usd.middle > plan.usd.middle


@pytest.mark.parametrize("advise", [True, False])
def test_where_all_is_delivered_or_nobody_asks_there_is_none(advise: bool) -> None:
    enough = lacking(max_oversample=50, max_rounds=10, confidence=0.99)
    plan = plan_wave(None, enough, advise=advise)
    assert plan.remedy is None
    assert plan_wave(None, lacking(max_rounds=1)).remedy is None


def test_limits_of_the_wave_file_are_kept() -> None:
    most = lacking(max_oversample=100, max_rounds=20, confidence=0.01)
    plan = plan_wave(None, most, advise=True)
    assert plan.remedy is None


def test_the_advice_is_the_same_whenever_it_is_asked_for() -> None:
    few = lacking(max_oversample=1.5, max_rounds=1)
    plans = [plan_wave(None, few, advise=True) for _ in range(2)]
    assert plans[0].remedy == plans[1].remedy is not None
