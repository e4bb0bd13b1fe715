"""A round of drafts: which prompts, how many of each, and the fact that says why."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.tasks.waves import (
    DRAFT,
    answer,
    brief,
    decide,
    drawn,
    prompts,
    refused,
    round_of,
    settle,
    tell_of,
    wave,
)

from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.requests import Kind
from imagewave.storage.rounds.rounds import Answer, Ask
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.drafting.draft import Prompts, draft_asks, seed

LANE = "gemini-batch"


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store.open(str(tmp_path / "store"))


def play(
    store: Store,
    wave: Wave,
    found: Prompts,
    number: int,
    fate: Callable[[Ask], Answer],
    bad: Callable[[Ask], bool] = lambda ask: False,
) -> list[Ask]:
    """One round, planned, answered and decided; `bad` drafts fail a check."""
    asks = draft_asks(store, wave, number, found, lane=LANE)
    if asks:
        answers = {ask.request.id: fate(ask) for ask in asks}
        settle(store, round_of(wave, Kind.DRAFT, number), asks, answers.values())
        failed = {ask.request.id: ("blur",) for ask in asks if bad(ask)}
        decide(store, wave, number, asks, answers, failed)
    return asks


def steps(store: Store, wave: Wave) -> list[dict[str, Any]]:
    return query(store, "FROM steps WHERE wave = ? ORDER BY round, brief", [wave.name])


def test_the_prompts_of_a_brief_take_turns(store: Store) -> None:
    wanted = wave(brief("tulips", 5))
    asks = draft_asks(store, wanted, 1, prompts(wanted, each=2), lane=LANE)
    assert Counter(ask.prompt_id for ask in asks).most_common() == [
        (id, n) for (id, _), n in zip(prompts(wanted, each=2)["tulips"], (3, 2), strict=True)
    ]
    assert [ask.request.sample for ask in asks] == [0, 0, 1, 1, 2]
    assert len({ask.request.id for ask in asks}) == 5
    assert len({ask.request.seed for ask in asks}) == 5


def test_a_draft_is_asked_as_the_wave_says(store: Store) -> None:
    wanted = wave(brief("tulips", 1, aspect_ratio="16:9"))
    [ask] = draft_asks(store, wanted, 1, prompts(wanted), lane=LANE)
    request = ask.request
    assert (request.kind, request.model, request.size) == (Kind.DRAFT, DRAFT.model, "1K")
    assert (request.aspect_ratio, request.thinking) == ("16:9", "minimal")
    assert request.prompt == "A picture of tulips, take 0"
    assert ask.estimate_usd > 0


def test_enough_good_drafts_end_it(store: Store) -> None:
    wanted = wave()
    assert len(play(store, wanted, prompts(wanted), 1, drawn)) == 2
    assert play(store, wanted, prompts(wanted), 2, drawn) == []
    tell_of(store, wanted)
    [stop] = query(store, "FROM stops")
    assert (stop["reason"], stop["accepted"], stop["tried"]) == ("enough", 2, 2)


def test_a_later_round_asks_for_new_samples(store: Store) -> None:
    wanted = wave()
    first = play(store, wanted, prompts(wanted), 1, drawn, bad=lambda ask: ask.request.sample == 0)
    second = play(store, wanted, prompts(wanted), 2, drawn)
    assert second
    assert [ask.request.sample for ask in first + second] == list(range(len(first + second)))


def test_a_hopeless_brief_stops_early_with_its_evidence(store: Store) -> None:
    wanted = wave(brief("tulips", 10))
    tell_of(store, wanted)
    assert len(play(store, wanted, prompts(wanted), 1, drawn, bad=lambda ask: True)) == 10
    assert play(store, wanted, prompts(wanted), 2, drawn) == []
    [stop] = query(store, "FROM stops")
    assert stop["reason"] == "low acceptance"
    assert (stop["accepted"], stop["tried"], stop["want"], stop["cap"]) == (0, 10, 10, 40)
    assert stop["chance"] < 0.05
    assert stop["rate_low"] < stop["rate"] < stop["rate_high"] < 0.3
    assert "change the prompt" in stop["detail"]


def test_a_prompt_that_was_turned_down_is_not_asked_again(store: Store) -> None:
    wanted = wave(brief("tulips", 4))
    found = prompts(wanted, each=2)
    (blocked, _), (allowed, _) = found["tulips"]
    play(
        store,
        wanted,
        found,
        1,
        lambda ask: refused(ask) if ask.prompt_id == blocked else drawn(ask),
    )
    second = play(store, wanted, found, 2, drawn)
    assert second
    assert {ask.prompt_id for ask in second} == {allowed}


def test_one_refused_picture_does_not_bar_a_prompt_that_draws(store: Store) -> None:
    wanted = wave(brief("tulips", 2))
    found = prompts(wanted)
    play(
        store,
        wanted,
        found,
        1,
        lambda ask: refused(ask, "IMAGE_SAFETY") if ask.request.sample else drawn(ask),
    )
    assert play(store, wanted, found, 2, drawn)


@pytest.mark.parametrize("failure", ["refused", "invalid"])
def test_a_brief_whose_every_prompt_is_turned_down_stops_with_the_reason(
    store: Store, failure: str
) -> None:
    wanted = wave(brief("tulips", 2), brief("harbour", 2))
    tell_of(store, wanted)

    def fate(ask: Ask) -> Answer:
        if ask.brief == "harbour":
            return answer(ask, status="refused", failure=failure, reason="BLOCKLIST")
        return answer(ask, status="failed", failure="transient", reason="INTERNAL")

    play(store, wanted, prompts(wanted), 1, fate)
    second = draft_asks(store, wanted, 2, prompts(wanted), lane=LANE)
    # Faults of the moment are no verdict on a prompt.
    assert {ask.brief for ask in second} == {"tulips"}
    [stop] = query(store, "FROM stops")
    assert (stop["brief"], stop["reason"]) == ("harbour", "refused")
    assert "BLOCKLIST ×2" in stop["detail"]


def test_whoever_plans_a_round_second_asks_for_what_the_first_one_did(store: Store) -> None:
    wanted = wave()
    row = {
        "wave": wanted.name,
        "revision": wanted.revision,
        "brief": "tulips",
        "round": 1,
        "drafts": 5,
        "reason": "sized",
        "want": 2,
        "accepted": 0,
        "tried": 0,
        "cap": 8,
        "rate": 0.5,
        "rate_low": 0.1,
        "rate_high": 0.9,
        "chance": 0.9,
        "prior": "from elsewhere",
        "detail": "",
    }
    facts.append(store, "steps", round_of(wanted, Kind.DRAFT).part, [row])
    assert len(draft_asks(store, wanted, 1, prompts(wanted), lane=LANE)) == 5


def test_other_waves_of_the_use_case_size_the_first_round(store: Store) -> None:
    past = wave(*(brief(f"b{n}", 4) for n in range(6)), name="past", use_case="hero")
    tell_of(store, past)
    play(store, past, prompts(past), 1, drawn, bad=lambda ask: ask.request.sample > 0)
    tried = query(store, "SELECT sum(tried) AS tried, sum(passed) AS passed FROM trials")
    assert tried == [{"tried": 24, "passed": 6}]

    same = wave(brief("new"), name="same", use_case="hero")
    other = wave(brief("new"), name="other", use_case="print")
    for new in (same, other):
        tell_of(store, new)
        draft_asks(store, new, 1, prompts(new), lane=LANE)
    [informed], [blind] = steps(store, same), steps(store, other)
    assert informed["prior"] == (
        f"6 of 24 passed of 6 other briefs in drafts by {DRAFT.model} for hero"
    )
    assert informed["rate"] == pytest.approx(0.27, abs=0.03)
    assert (blind["prior"], blind["reason"]) == ("no history", "probe")


def test_the_first_round_of_other_briefs_informs_the_second(store: Store) -> None:
    wanted = wave(*(brief(f"b{n}", 2) for n in range(8)))
    tell_of(store, wanted)
    play(store, wanted, prompts(wanted), 1, drawn, bad=lambda ask: ask.brief == "b0")
    play(store, wanted, prompts(wanted), 2, drawn)
    by_brief = {row["brief"]: row for row in steps(store, wanted) if row["round"] == 2}
    assert by_brief["b0"]["prior"].startswith("14 of 14 passed of 7 other briefs")
    # Two failures alone would leave Beta(1, 3).
    assert by_brief["b0"]["rate"] > 0.25
    assert by_brief["b0"]["drafts"] > 0


def test_seeds_are_the_same_in_every_wave_unless_it_wants_fresh_pictures() -> None:
    one, two = wave(name="one"), wave(name="two")
    assert seed(one, "p", 0) == seed(two, "p", 0) != seed(one, "p", 1)
    fresh = [wave(name=name, cache="refresh") for name in ("one", "two")]
    assert len({seed(w, "p", 0) for w in (one, *fresh)}) == 3
