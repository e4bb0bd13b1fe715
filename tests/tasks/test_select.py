"""Which pictures are accepted: the best, no two alike, and the same ones whoever decides."""

from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.waves import answer, brief, drawn, picture, tell_of, wave

from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import Ask
from imagewave.storage.store import Store
from imagewave.tasks.judging.judge import Judgement
from imagewave.tasks.select import Candidate, Decision, Look, decide, select

RADIUS = 6


def ask(name: str, of: str = "tulips") -> Ask:
    request = Request(kind=Kind.DRAFT, model="gemini-3.1-flash-lite-image", prompt=name)
    return Ask(brief=of, prompt_id="p", request=request, estimate_usd=Decimal("0.0168"))


def candidate(
    name: str,
    score: float | None = 0.8,
    *,
    verdict: str = "pass",
    failed: tuple[str, ...] = (),
    of: str = "tulips",
    **values: Any,
) -> Candidate:
    """A picture with the judge's score, or None: not judged."""
    asked = ask(name, of)
    judgement = None
    if score is not None:
        judgement = Judgement(
            scores={},
            score=None if verdict == "failed" else score,
            verdict=verdict,
            reason="because",
        )
    return Candidate(
        ask=asked,
        answer=answer(asked, **values) if values else drawn(asked),
        failed_checks=failed,
        judgement=judgement,
    )


def chosen(
    candidates: list[Candidate],
    want: int = 1,
    *,
    judged: bool = True,
    looks: dict[str, Look] | None = None,
) -> list[Decision]:
    by_picture = {picture(ask(name)): look for name, look in (looks or {}).items()}
    return decide(candidates, want=want, judged=judged, looks=by_picture, radius=RADIUS)


def fates(decisions: list[Decision]) -> dict[str, str]:
    """What became of each, by the id of its request."""
    return {d.request_id: d.decision for d in decisions}


def id_of(name: str) -> str:
    return ask(name).request.id


def test_the_best_are_accepted_and_the_next_kept_in_reserve() -> None:
    found = chosen([candidate("a", 0.7), candidate("b", 0.9), candidate("c", 0.8)], want=2)
    assert [(d.request_id, d.decision, d.rank) for d in found] == [
        (id_of("b"), "accepted", 1),
        (id_of("c"), "accepted", 2),
        (id_of("a"), "reserve", 3),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (candidate("x", failed=("blur", "dark")), "screens: blur, dark"),
        (candidate("x", 0.3, verdict="fail"), "judge: because"),
        (candidate("x", verdict="failed"), "judge failed: because"),
        (candidate("x", None), "not judged"),
        (candidate("x", status="refused", reason="SAFETY"), "refused: SAFETY"),
        (candidate("x", status="failed", reason="UNDECODABLE"), "failed: UNDECODABLE"),
    ],
)
def test_what_is_not_good_is_rejected_with_its_reason(bad: Candidate, reason: str) -> None:
    [decision] = chosen([bad])
    assert (decision.decision, decision.rank, decision.reason) == ("rejected", 0, reason)


def test_a_picture_that_never_came_is_rejected() -> None:
    missing = Candidate(ask=ask("x"), answer=None, failed_checks=(), judgement=None)
    [decision] = chosen([missing])
    assert (decision.decision, decision.reason, decision.image) == ("rejected", "no result", "")


def test_of_two_alike_the_judges_favourite_stays_and_the_other_is_told_why() -> None:
    looks = {
        "sharp": Look(phash=0b111111, sharpness=900.0),
        "liked": Look(phash=0, sharpness=50.0),
        "other": Look(phash=0b1111111 << 20, sharpness=50.0),
    }
    found = chosen(
        [candidate("sharp", 0.7), candidate("liked", 0.9), candidate("other", 0.6)],
        want=2,
        looks=looks,
    )
    assert fates(found) == {
        id_of("liked"): "accepted",
        id_of("other"): "accepted",
        id_of("sharp"): "rejected",
    }
    assert found[-1].reason == f"like {id_of('liked')}, which ranks higher"
    assert found[-1].score == 0.7


def test_seven_bits_apart_is_another_picture() -> None:
    looks = {"a": Look(phash=0), "b": Look(phash=0b1111111)}
    assert len(set(fates(chosen([candidate("a"), candidate("b")], 2, looks=looks)).values())) == 1
    alike = {"a": Look(phash=0), "b": Look(phash=0b111111)}
    assert "rejected" in fates(chosen([candidate("a"), candidate("b")], 2, looks=alike)).values()


def test_what_was_rejected_itself_pushes_nothing_out() -> None:
    looks = {"blurred": Look(phash=0), "good": Look(phash=0)}
    found = chosen(
        [candidate("blurred", 0.9, failed=("blur",)), candidate("good", 0.8)], looks=looks
    )
    assert fates(found)[id_of("good")] == "accepted"


def test_without_a_judge_the_sharper_ranks_first() -> None:
    looks = {"soft": Look(phash=0, sharpness=20.0), "sharp": Look(phash=2**40 - 1, sharpness=80.0)}
    found = chosen([candidate("soft", None), candidate("sharp", None)], judged=False, looks=looks)
    assert fates(found) == {id_of("sharp"): "accepted", id_of("soft"): "reserve"}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.7, 0.8, 0.9]), st.integers(0, 2**9 - 1)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_decides_nothing_and_no_two_kept_are_alike(
    pictures: list[tuple[float, int]], want: int, random: Random
) -> None:
    names = [f"p{n}" for n in range(len(pictures))]
    looks = {n: Look(phash=phash) for n, (_, phash) in zip(names, pictures, strict=True)}
    candidates = [candidate(n, score) for n, (score, _) in zip(names, pictures, strict=True)]
    found = chosen(candidates, want, looks=looks)
    shuffled = candidates.copy()
    random.shuffle(shuffled)
    assert chosen(shuffled, want, looks=looks) == found

    by_id = {id_of(n): looks[n].phash or 0 for n in names}
    kept = [by_id[d.request_id] for d in found if d.decision != "rejected"]
    assert all((a ^ b).bit_count() > RADIUS for i, a in enumerate(kept) for b in kept[:i])
    assert sum(d.decision == "accepted" for d in found) == min(want, len(kept))
    scores = [d.score for d in found if d.decision != "rejected" and d.score is not None]
    assert scores == sorted(scores, reverse=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_decisions_are_facts_brief_by_brief_from_what_was_measured(store: Store) -> None:
    wanted = wave(brief("tulips", 2), brief("harbour"))
    tell_of(store, wanted)
    found = [candidate("a", 0.9), candidate("b", 0.8), candidate("h", 0.7, of="harbour")]
    hashes = {"a": "00000000000000ff", "b": "00000000000000fe", "h": "00000000000000ff"}
    measure(store, {picture(ask(name)): phash for name, phash in hashes.items()})
    select(store, wanted, tier="draft", number=1, candidates=found, judged=True)
    rows = query(store, "SELECT brief, request_id, decision, rank, score FROM decisions")
    assert {(r["brief"], r["request_id"], r["decision"], r["rank"], r["score"]) for r in rows} == {
        ("tulips", id_of("a"), "accepted", 1, 0.9),
        ("tulips", id_of("b"), "rejected", 0, 0.8),
        # Another brief's picture is none of this brief's business; the screens see to the wave.
        ("harbour", id_of("h"), "accepted", 1, 0.7),
    }


def measure(store: Store, hashes: dict[str, str]) -> None:
    """Records pictures with these perceptual hashes."""
    images = [
        {
            "image": image,
            "format": "jpg",
            "mime": "image/jpeg",
            "bytes": 1,
            "path": f"images/{image}",
        }
        for image in hashes
    ]
    numbers = ("brightness", "p05", "p95", "contrast", "blur", "entropy", "border", "cast")
    metrics = [
        {"image": image, "width": 64, "height": 64, "error": "", "phash": phash}
        | dict.fromkeys(numbers, 0.5)
        for image, phash in hashes.items()
    ]
    facts.append(store, "images", "measured", images)
    facts.append(store, "metrics", "measured", metrics)
