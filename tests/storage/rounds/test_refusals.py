"""Words that a model has refused: found again in other requests, whatever else these are."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from tests.tasks.waves import drawn, refused, round_of, settle, wave

from imagewave.storage.facts.analytics import query
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.refusals import refused as refused_before
from imagewave.storage.rounds.rounds import Ask
from imagewave.storage.store import Store

PICTURE, OTHER = "a" * 64, "b" * 64
ASKED = Request(
    kind=Kind.FINAL,
    model="gemini-nano-banana-2.1",
    prompt="A crowd, with “quotes” and \n a line",
    references=(PICTURE,),
    aspect_ratio="1:1",
    size="1K",
    sample=0,
    seed=7,
)


def ask(request: Request) -> Ask:
    return Ask(brief="tulips", prompt_id="crowd", request=request, estimate_usd=Decimal("0.03"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One refusal, in a wave called "first"."""
    opened = Store.open(str(tmp_path))
    first = round_of(wave(name="first"), Kind.FINAL)
    settle(opened, first, [ask(ASKED)], [refused(ask(ASKED))])
    return opened


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"sample": 3, "seed": 8}, True),
        ({"size": "2K", "aspect_ratio": "16:9"}, True),
        ({"prompt": "A crowd"}, False),
        ({"system": "Be kind."}, False),
        ({"references": (OTHER,)}, False),
        ({"references": ()}, False),
        ({"model": "gpt-image-2"}, False),
    ],
)
def test_words_are_what_counts(store: Store, change: dict[str, object], same: bool) -> None:
    asked = replace(ASKED, **change)  # type: ignore[arg-type]

    found = refused_before(store, [asked])

    assert set(found) == ({asked.id} if same else set())
    if same:
        assert (found[asked.id].request_id, found[asked.id].reason) == (ASKED.id, "SAFETY")


def test_a_round_answers_it_without_sending_it(store: Store) -> None:
    again = round_of(wave(name="second"), Kind.FINAL)

    [standing] = rounds.record(store, again, [ask(replace(ASKED, sample=1))])

    assert standing.reused
    known = rounds.answers(store, [standing.request.id])[standing.request.id]
    assert (known.status, known.reason, known.cost_usd) == ("refused", "SAFETY", Decimal(0))
    assert len(query(store, "FROM attempts")) == 1, "only one was ever sent"
    [refusal] = query(store, "SELECT times, request_id FROM refusals")
    assert refusal == {"times": 1, "request_id": ASKED.id}


def test_a_person_may_ask_by_name(store: Store) -> None:
    [standing] = rounds.record(
        store, round_of(wave(name="second"), Kind.FINAL), [ask(ASKED)], by_name=True
    )

    assert not standing.reused


def test_words_that_were_answered_once_are_not_refused(store: Store) -> None:
    second = replace(ASKED, sample=1)
    third = round_of(wave(name="third"), Kind.FINAL)
    rounds.record(store, third, [ask(second)], by_name=True)
    settle(store, third, [ask(second)], [drawn(ask(second))])

    found = refused_before(store, [ASKED, replace(ASKED, sample=2)])

    assert set(found) == {ASKED.id}, "only the one that was itself refused"
