"""The plan of a wave: its stages, their prices, where its rates come from, and what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.servers import environment
from tests.tasks.waves import brief, decide, drawn, prompts, round_of, said, settle, tell_of, wave

from imagewave import clock
from imagewave.providers.interactive import lane as interactive
from imagewave.storage.catalog import USER_FILE, find_model, models, prices
from imagewave.storage.catalog.lanes import is_batch, lane_kinds
from imagewave.storage.catalog.limits import quotas_of, time_of
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.facts import facts
from imagewave.storage.facts.tables import COLUMNS, RECORDED_AT
from imagewave.storage.requests import Kind
from imagewave.storage.rounds.reruns import assets_part
from imagewave.storage.rounds.rounds import load
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Budget, Draft, Expand, Final, Judge, Wave
from imagewave.tasks.drafting.draft import draft_asks
from imagewave.tasks.drafting.expand import prompts_of
from imagewave.tasks.final import final_asks
from imagewave.tasks.judging.judge import judge_asks
from imagewave.tasks.planning import durations, forecast
from imagewave.tasks.planning.actuals import NotRun, check
from imagewave.tasks.planning.answered import find_answered
from imagewave.tasks.planning.call_costs import cheapest_use
from imagewave.tasks.planning.plan import Plan, compare, plan_wave

pytestmark = pytest.mark.heavy

FINAL = Final(model="gemini-nano-banana-2.1", size="2K", thinking="minimal")
NO_JUDGE = Judge(enabled=False)
HOURLY = {prices.GPU_HOUR_VARIABLE: "3.60"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def simple(**tables: Any) -> Wave:
    briefs = [brief(f"b{n}", 2) for n in range(3)]
    return wave(*briefs, **{"name": "new", "use_case": "hero", "final": FINAL, **tables})


def drafts_alone(**tables: Any) -> Wave:
    return simple(final=Final(carry="accept"), judge=Judge(enabled=False), **tables)


def lines(plan: Plan) -> dict[str, Any]:
    return {line.stage: line for line in plan.lines}


def past(store: Store, name: str, good: int, of: int, **tables: Any) -> Wave:
    """A finished wave of six briefs, of each of which `good` of `of` drafts passed."""
    done = wave(*(brief(f"{name}{n}", of) for n in range(6)), name=name, use_case="hero", **tables)
    tell_of(store, done)
    asks = draft_asks(store, done, 1, prompts_of(done, [], {}), lane="gemini-batch")
    answers = {ask.request.id: drawn(ask) for ask in asks}
    settle(store, round_of(done, Kind.DRAFT), asks, answers.values())
    failed = {ask.request.id: ("blur",) for ask in asks if ask.request.sample >= good}
    decide(store, done, 1, asks, answers, failed)
    return done


def test_each_stage_that_a_wave_has_is_a_line_at_its_price() -> None:
    plan = plan_wave(None, simple(expand=Expand(mode="model", count=2)))
    found = lines(plan)
    assert list(found) == ["expand", "draft", "judge", "final"]
    assert found["expand"].requests.low == found["expand"].requests.high == 3
    lite = find_model("gemini-3.1-flash-lite-image")
    a_draft = estimate(lite, lane="gemini-batch", size="1K", prompt_chars=480, thinking="minimal")
    assert found["draft"].usd_per_call == a_draft
    # A reference image goes along, and 2K has more tokens: dearer than a draft by half and more.
    assert found["final"].usd_per_call > Decimal("1.5") * a_draft
    assert found["judge"].usd_per_call < a_draft / 20


def test_a_wave_without_judge_and_finals_has_drafts_only() -> None:
    plan = plan_wave(None, drafts_alone())
    assert list(lines(plan)) == ["draft"]
    assert plan.usd == lines(plan)["draft"].usd
    assert plan.wanted == 6


def test_the_stages_add_up_to_the_total_to_the_last_digit() -> None:
    plan = plan_wave(None, simple(expand=Expand(mode="model", count=2)))
    assert sum(line.usd.middle for line in plan.lines) == plan.usd.middle
    assert plan.usd.low < plan.usd.middle < plan.usd.high


@pytest.mark.parametrize("wants", [(1,), (1, 1), (2, 1, 3)])
def test_what_is_expected_lies_within_its_range_however_small_the_wave(
    wants: tuple[int, ...],
) -> None:
    small = wave(*(brief(f"b{n}", want) for n, want in enumerate(wants)), final=FINAL)
    plan = plan_wave(None, small)
    spreads: list[Any] = [plan.usd]
    for line in plan.lines:
        spreads += [line.usd, line.requests]
        price = float(line.usd_per_call)
        assert float(line.usd.middle) == pytest.approx(line.requests.middle * price, rel=0.01)
        assert line.time.expected_s
    assert all(spread.low <= spread.middle <= spread.high for spread in spreads)


def test_many_briefs_are_played_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    many = wave(*(brief(f"b{n}", 2) for n in range(forecast._MANY)), judge=NO_JUDGE, final=FINAL)
    quick = plan_wave(None, many)
    monkeypatch.setattr(forecast, "_MANY", len(many.briefs) + 1)
    exact = plan_wave(None, many)
    assert float(quick.usd.middle) == pytest.approx(float(exact.usd.middle), rel=0.01)


def test_what_is_answered_already_is_free(store: Store) -> None:
    done = past(store, "past", good=2, of=4, final=Final(carry="accept"), judge=NO_JUDGE)
    again = done.model_copy(update={"name": "again"})
    [draft] = plan_wave(store, again).lines
    assert draft.free.low == draft.free.high == 24
    paid = (draft.requests.middle - 24) * float(draft.usd_per_call)
    assert float(draft.usd.middle) == pytest.approx(paid, rel=0.01)
    [fresh] = plan_wave(store, again, fresh=True).lines
    assert fresh.free.high == 0
    assert fresh.usd.middle > draft.usd.middle
    assert fresh.requests == draft.requests
    # Another model's drafts are others, and so are those of a wave that wants none but its own.
    [dear] = compare(store, again, ["nano banana pro"])
    assert dear.plan is not None
    assert dear.plan.lines[0].free.high == 0
    afresh = again.model_copy(update={"cache": "refresh"})
    assert plan_wave(store, afresh).lines[0].free.high == 0


def test_a_delivered_wave_is_told_from_one_like_it(store: Store) -> None:
    done = past(store, "past", good=2, of=4, final=Final(carry="accept"), judge=NO_JUDGE)
    assert not plan_wave(store, done).delivered_already
    facts.append(store, "assets", assets_part(done.name, done.revision, 0), [])
    assert plan_wave(store, done).delivered_already
    assert not plan_wave(store, done.model_copy(update={"name": "again"})).delivered_already


def test_judgements_and_finals_of_known_drafts_are_free_too(store: Store) -> None:
    done = past(store, "past", good=4, of=4, final=FINAL)
    drafts = load(store, round_of(done, Kind.DRAFT)) or []
    answers = {ask.request.id: drawn(ask) for ask in drafts}
    decisions = decide(store, done, 1, drafts, answers)
    drawn_by = {(ask.brief, ask.request.id): ask for ask in drafts}
    finals = final_asks(
        done, prompts_of(done, [], {}), decisions, [], [], lane="gemini-batch", drawn=drawn_by
    )
    settle(store, round_of(done, Kind.FINAL), finals, [drawn(ask) for ask in finals])
    passed = {(ask.brief, ask.request.id) for ask in drafts}
    asked = judge_asks(done, drafts, answers, passed, lane="gemini-batch")
    settle(store, round_of(done, Kind.JUDGE), asked, [said(ask, "{}") for ask in asked])
    found = find_answered(store, done.model_copy(update={"name": "again"}))
    for numbers in (found.draft, found.judge, found.final):
        assert dict(numbers) == {f"past{n}": 4 for n in range(6)}
    assert not found.judge_final


def test_an_expansion_that_is_not_written_yet_hides_what_comes_after(store: Store) -> None:
    past(store, "past", good=2, of=4)
    unwritten = simple(expand=Expand(mode="model", count=2))
    assert not find_answered(store, unwritten).draft


def test_batches_halve_the_bill() -> None:
    plan = plan_wave(None, simple())
    assert plan.interactive_usd is not None
    assert plan.interactive_usd == pytest.approx(2 * plan.usd.middle, rel=Decimal("1e-6"))


def test_without_history_the_plan_says_so() -> None:
    found = lines(plan_wave(None, simple()))
    assert found["draft"].rate == pytest.approx(0.5)
    assert found["draft"].source.endswith("no history")
    assert "80 % assumed" in found["final"].source


def test_measured_rates_set_the_plan_and_are_told(store: Store) -> None:
    past(store, "past", good=1, of=5)
    found = lines(plan_wave(store, simple()))["draft"]
    assert found.rate == pytest.approx(0.22, abs=0.03)
    assert "6 of 30 passed of 6 other briefs" in found.source
    # Another use case's briefs are no history of this one's.
    assert "no history" in lines(plan_wave(store, simple(use_case="print")))["draft"].source


def test_what_passes_more_often_costs_less(tmp_path: Path) -> None:
    costs = []
    for good in (1, 4):
        store = Store.open(str(tmp_path / str(good)))
        past(store, "past", good=good, of=5)
        plan = plan_wave(store, drafts_alone())
        assert plan.usd_per_delivered is not None
        costs.append(plan.usd_per_delivered)
    assert costs[0] > 2 * costs[1]


def test_refusals_that_cost_nothing_lower_the_price_of_a_request(store: Store) -> None:
    done = wave(*(brief(f"r{n}", 4) for n in range(6)), name="past", use_case="hero")
    tell_of(store, done)
    asks = draft_asks(store, done, 1, prompts(done), lane="gemini-batch")
    answers = [drawn(ask) for ask in asks]
    free = [
        answer if n % 4 else type(answer)(**{**_fields(answer), "cost_usd": Decimal(0)})
        for n, answer in enumerate(answers)
    ]
    settle(store, round_of(done, Kind.DRAFT), asks, free)
    with_history = lines(plan_wave(store, simple()))["draft"].usd_per_call
    without = lines(plan_wave(None, simple()))["draft"].usd_per_call
    assert with_history == pytest.approx(without * Decimal("0.75"), rel=Decimal("1e-6"))


def _fields(answer: Any) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in type(answer).__dataclass_fields__}


def test_a_plan_is_the_same_whenever_it_is_made(store: Store) -> None:
    past(store, "past", good=2, of=5)
    assert plan_wave(store, simple()) == plan_wave(store, simple())
    assert plan_wave(store, simple(), seed=1) != plan_wave(store, simple(), seed=2)


def test_each_round_waits_for_pictures_and_for_the_judge(store: Store) -> None:
    judged, alone = plan_wave(None, simple()), plan_wave(None, drafts_alone())
    assert judged.waits.high == 2 * judged.rounds.high
    assert alone.waits == alone.rounds
    assert judged.seconds_per_wait is None
    for name, minutes in (("a", 10), ("b", 30), ("c", 200)):
        _job(store, name, minutes)
    assert plan_wave(store, simple()).seconds_per_wait == 30 * 60
    other = plan_wave(store, simple(), drafts=cheapest_use("gpt-image-2", simple()))
    assert other.seconds_per_wait is None  # another lane's jobs tell nothing of it


def _job(store: Store, id: str, minutes: int) -> None:
    """A job that was so long with the provider, as the facts of its events have it."""
    plan = {"wave": "past", "revision": "0" * 8, "kind": "draft", "round": 1, "attempt": 1}
    for event, at in (("accepted", 0), ("settled", minutes)):
        row: dict[str, object] = dict.fromkeys(set(COLUMNS["jobs"]) - {RECORDED_AT})
        row |= plan | {"job_id": id, "event": event, "token": "t", "lane": "gemini-batch"}
        with freeze(datetime(2026, 11, 20, 8, tzinfo=UTC) + timedelta(minutes=at)):
            facts.append(store, "jobs", f"{id}-{event}", [row])


@contextmanager
def freeze(moment: datetime) -> Iterator[None]:
    """Facts that are recorded within were recorded then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: moment)
        yield


def test_a_budget_that_may_not_do_is_a_warning() -> None:
    tight = simple(budget=Budget(wave_usd=Decimal("0.05")))
    [warning] = plan_wave(None, tight).warnings
    assert "probably stops at its budget of $0.05" in warning
    ample = simple(budget=Budget(wave_usd=Decimal(50)))
    assert plan_wave(None, ample).warnings == ()


def test_other_models_of_drafts_stand_side_by_side() -> None:
    lite, pro, dead, unknown = compare(
        None, simple(), ["nano banana 2 lite", "nano banana pro", "dall-e-3", "no-such-model"]
    )
    assert lite.plan is not None
    assert pro.plan is not None
    assert (lite.model, pro.model) == ("gemini-3.1-flash-lite-image", "gemini-3-pro-image")
    assert lines(pro.plan)["draft"].usd_per_call > 3 * lines(lite.plan)["draft"].usd_per_call
    assert lines(pro.plan)["final"].model == FINAL.model
    assert dead.plan is None
    assert "was shut down on 2026-05-12" in dead.problem
    assert "There is no model" in unknown.problem


def test_a_price_that_nobody_knows_is_a_problem_and_not_zero() -> None:
    unpriced, unreached = compare(None, simple(), ["gpt-image-2.5-flare", "midjourney"])
    assert unpriced.plan is unreached.plan is None
    assert "Nobody knows" in unpriced.problem
    assert "No lane reaches" in unreached.problem


def test_a_model_that_retires_soon_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC).date() + timedelta(days=10)
    file = tmp_path / "models.toml"
    file.write_text(f'[[model]]\nid = "gemini-3-pro-image"\nshutdown = {soon}\n', "utf-8")
    monkeypatch.setenv(USER_FILE, str(file))
    [found] = compare(None, simple(), ["nano banana pro"])
    assert found.plan is not None
    [warning] = found.plan.warnings
    assert f"'gemini-3-pro-image' is shut down on {soon}" in warning


def test_a_finished_wave_is_held_against_its_plan(store: Store) -> None:
    with pytest.raises(NotRun, match="nothing of the wave 'done'"):
        check(store, past_wave(), plan_wave(store, past_wave()))
    done = past(store, "done", good=3, of=4, final=Final(carry="accept"))
    [draft, judge] = check(store, done, plan_wave(store, done, fresh=True))
    assert (draft.line.stage, draft.requests, draft.reused) == ("draft", 24, 0)
    assert draft.usd == 24 * Decimal("0.0168")
    assert (judge.requests, judge.usd, judge.within) == (0, Decimal(0), False)
    # Its own past is no part of its plan.
    assert "no history" in draft.line.source


def past_wave() -> Wave:
    return wave(brief("b", 2), name="done", draft=Draft(size="1K", thinking="minimal"))


def test_a_stage_takes_as_long_as_its_lane(store: Store) -> None:
    plan = plan_wave(None, simple())
    draft = lines(plan)["draft"]
    assert draft.time.aim_s is not None
    assert draft.time.aim_s % (24 * 3600) == 0
    assert draft.time.limit_s == 2 * draft.time.aim_s > 0
    assert draft.time.expected_s == draft.time.aim_s / 24
    assert "third-party, 2026-12-01" in draft.time.basis
    assert plan.expected_s == sum(line.time.expected_s or 0 for line in plan.lines)
    _job(store, "a", 30)
    timed = lines(plan_wave(store, simple()))["draft"]
    assert timed.time.expected_s * 48 == timed.time.aim_s
    assert "median" in timed.time.basis


def test_calls_and_own_gpus_take_time_by_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert durations.CALLS_AT_ONCE == interactive.AT_ONCE
    monkeypatch.setenv(prices.GPU_HOUR_VARIABLE, "3.60")
    called, drawn_here = compare(None, simple(), ["lite@interactive", "sdxl@gpu"])
    assert called.plan is not None
    assert drawn_here.plan is not None
    draft = lines(called.plan)["draft"]
    assert draft.time.expected_s == draft.requests.middle * 15 / 16
    draft = lines(drawn_here.plan)["draft"]
    assert draft.time.expected_s == pytest.approx(1.1 * draft.requests.middle)
    assert draft.time.limit_s is None


def test_tiers_that_are_too_small_are_named() -> None:
    many = wave(*(brief(f"b{n}", 1, text="tulips " * 500) for n in range(2000)), final=FINAL)
    found = {(p.stage, p.what): p for p in plan_wave(None, many).quotas}
    drafts = found["draft", "tokens queued"]
    assert drafts.need > 2_000_000
    assert drafts.too_small == ("tier 1",)
    assert found["draft", "USD in 10 minutes"].too_small == ("tier 1", "tier 2")
    assert found["final", "tokens queued"].tiers == {}, "not published for this model"
    assert all(p.source.date.year >= 2026 for p in found.values())
    few = plan_wave(None, simple()).quotas
    assert few
    assert not any(p.too_small for p in few)


def test_every_limit_is_of_a_model_and_a_lane_that_there_are() -> None:
    for model in models():
        for lane in model.lanes:
            for quota in quotas_of(model, lane):
                assert quota.source.reference
                assert set(quota.models) <= {each.id for each in models()}
    assert all(time_of(lane) for lane in lane_kinds() if is_batch(lane))
    assert time_of("interactive")


def test_an_own_gpu_pays_from_a_volume_on() -> None:
    with environment(**HOURLY):
        plan = plan_wave(None, simple())
    gpu = plan.own_gpu
    assert gpu is not None
    assert (gpu.model, gpu.seconds) == ("flux-2-klein-4b", Decimal("0.39"))
    assert gpu.usd_per_picture == Decimal("0.000390000")
    draft = lines(plan)["draft"]
    assert gpu.usd == round(draft.requests.middle) * gpu.usd_per_picture
    # 3600 s / 0.39 s an hour, and 730 hours a month.
    assert (gpu.most_per_hour, gpu.most_per_month) == (9230, 9230 * 730)
    each = draft.usd_per_call
    assert gpu.pays_per_hour is not None
    assert gpu.pays_per_hour * each >= Decimal("3.60") > (gpu.pays_per_hour - 1) * each
    assert gpu.pays_per_month is not None
    month = 730 * Decimal("3.60")
    assert gpu.pays_per_month * each >= month > (gpu.pays_per_month - 1) * each


def test_a_gpu_that_is_too_dear_never_pays_and_an_unknown_price_is_none() -> None:
    with environment(**{prices.GPU_HOUR_VARIABLE: "500"}):
        gpu = plan_wave(None, simple()).own_gpu
    assert gpu is not None
    assert gpu.pays_per_hour is gpu.pays_per_month is None
    with environment(**{prices.GPU_HOUR_VARIABLE: ""}):
        gpu = plan_wave(None, simple()).own_gpu
        [unpriced] = compare(None, simple(), ["sdxl@gpu"])
    assert gpu is not None
    assert (gpu.usd, gpu.usd_per_picture, gpu.pays_per_hour) == (None, None, None)
    assert prices.GPU_HOUR_VARIABLE in gpu.problem
    assert unpriced.plan is None
    assert prices.GPU_HOUR_VARIABLE in unpriced.problem


def test_models_are_compared_by_lane() -> None:
    batch, short, called = compare(None, simple(), ["lite", "lite@batch", "lite@interactive"])
    assert batch.plan is not None
    assert short.plan is not None
    assert called.plan is not None
    assert (batch.plan.lane, called.plan.lane) == ("gemini-batch", "interactive")
    assert batch.plan == short.plan
    full, half = (lines(plan)["draft"].usd_per_call for plan in (called.plan, batch.plan))
    assert full == pytest.approx(2 * half, rel=Decimal("1e-6"))
    wrong, lane = compare(None, simple(), ["lite@gpu", "mj@"])
    assert "not reached by 'gpu'. Its lanes are gemini-batch" in wrong.problem
    assert lane.plan is None


def test_a_model_that_does_not_draw_the_ratio_is_no_alternative() -> None:
    wide = wave(brief("wide", 1, aspect_ratio="21:9"), final=FINAL)
    [found] = compare(None, wide, ["sdxl@gpu"])
    assert "does not draw the aspect ratio '21:9'" in found.problem
