"""The finals: the accepted drafts' first, others where one fails, and an end to it."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from tests.tasks.waves import brief, drawn, prompts, refused, wave

from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import GPU_HOUR_VARIABLE, estimate
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import Answer, Ask
from imagewave.storage.waves.wave import Draft, Final, Wave
from imagewave.tasks.final import RENDERS, final_asks
from imagewave.tasks.planning.call_costs import finals_of
from imagewave.tasks.select import Candidate, Decision, decide

LANE = "gemini-batch"
FINAL = Final(model="gemini-nano-banana-2.1", size="2K")


class Course:
    """The rounds of finals of one wave, as the flow goes through them."""

    def __init__(self, wave: Wave, drafts: Sequence[Decision]) -> None:
        self.wave = wave
        self.drafts = drafts
        self.candidates: list[Candidate] = []
        self.decisions: list[Decision] = []

    def plan(self) -> list[Ask]:
        return final_asks(
            self.wave,
            prompts(self.wave),
            self.drafts,
            self.candidates,
            self.decisions,
            lane=LANE,
            drawn={},
        )

    def play(self, *good: str, refusing: Sequence[str] = ()) -> list[str]:
        """One round: finals of the `good` drafts pass; returns the drafts that were rendered."""
        asks = self.plan()
        for ask in asks:
            answer: Answer = refused(ask) if ask.about in refusing else drawn(ask)
            failed = () if ask.about in good else ("blur",)
            self.candidates.append(
                Candidate(ask=ask, answer=answer, failed_checks=failed, judgement=None)
            )
        self.decisions = [
            decision
            for each in self.wave.briefs
            for decision in decide(
                [c for c in self.candidates if c.ask.brief == each.id],
                want=each.want,
                judged=False,
                looks={},
                radius=6,
            )
        ]
        return [ask.about for ask in asks]


def draft(id: str, rank: int, of: Wave, decision: str = "accepted") -> Decision:
    [(prompt_id, _)] = prompts(of)["tulips"]
    return Decision(
        brief="tulips",
        request_id=id,
        prompt_id=prompt_id,
        image=(id * 64)[:64],
        decision=decision,
        rank=rank,
        score=0.9 - rank / 10,
        reason="",
    )


def course(want: int = 2, spare: int = 1, carry: str = "reference") -> Course:
    """A brief with `want` accepted drafts, named a, b, …, and some in reserve."""
    of = wave(brief("tulips", want), final=FINAL.model_copy(update={"carry": carry}))
    drafts = [
        draft(chr(97 + n), n + 1, of, "accepted" if n < want else "reserve")
        for n in range(want + spare)
    ]
    return Course(of, [*drafts, draft("z", 0, of, "rejected")])


def test_each_accepted_draft_is_rendered_once() -> None:
    finals = course()
    assert finals.play("a", "b") == ["a", "b"]
    assert finals.play() == []


def test_a_final_carries_its_draft_as_the_wave_says() -> None:
    by_reference, by_seed = course(carry="reference").plan()[0], course(carry="seed").plan()[0]
    assert by_reference.request.references == (by_reference.reference,) == ("a" * 64,)
    assert by_seed.request.references == ()
    assert by_seed.request.seed is not None
    assert (by_reference.request.model, by_reference.request.size) == (FINAL.model, "2K")
    # The draft goes along at a price.
    assert by_reference.estimate_usd > by_seed.estimate_usd


class TestOwnGpus:
    """Seeds reproduce a picture there, at its own size; at another, the draft is drawn over."""

    @pytest.fixture(autouse=True)
    def an_hour_costs_360(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(GPU_HOUR_VARIABLE, "3.60")

    def plan(self, final: Final, renders: int = 0) -> Ask:
        drafts = Draft(model="sdxl", size="1K", steps=30, guidance=5.0)
        of = wave(brief("tulips", 1), draft=drafts, final=final, lane="gpu")
        [(prompt_id, text)] = prompts(of)["tulips"]
        request = Request(
            kind=Kind.DRAFT,
            model="sdxl",
            prompt=text,
            aspect_ratio="1:1",
            size="1K",
            sample=3,
            seed=77,
            steps=30,
            guidance=5.0,
        )
        asks = {
            ("tulips", "a"): Ask(
                brief="tulips", prompt_id=prompt_id, request=request, estimate_usd=Decimal(0)
            )
        }
        tried: list[Candidate] = []
        for _ in range(renders + 1):
            [ask] = final_asks(
                of, prompts(of), [draft("a", 1, of)], tried, [], lane="gpu", drawn=asks
            )
            failed = Candidate(ask=ask, answer=drawn(ask), failed_checks=("blur",), judgement=None)
            tried.append(failed)
        return ask

    def test_at_its_size_the_seed_alone_carries_a_draft(self) -> None:
        final = Final(model="sdxl", size="1K", carry="seed", steps=50, guidance=5.0)
        request = self.plan(final).request
        assert (request.seed, request.references, request.strength) == (77, (), None)
        assert (request.steps, request.guidance) == (50, 5.0)
        assert self.plan(final, renders=1).request.seed != 77, "another sample is another picture"

    def test_at_another_size_the_draft_is_drawn_over(self) -> None:
        final = Final(model="sdxl", size="2K", carry="seed", steps=30, guidance=5.0, strength=0.5)
        ask = self.plan(final)
        assert (ask.request.references, ask.request.strength) == (("a" * 64,), 0.5)
        assert ask.request.seed == 77, "noise of its own, where several finals share a prompt"
        assert ask.request.steps == 30
        # Of its steps only those from the middle on are done, and paid.
        sdxl = find_model("sdxl")
        assert ask.estimate_usd == estimate(sdxl, lane="gpu", size="2K", prompt_chars=0, steps=15)

    def test_so_it_is_by_another_model(self) -> None:
        request = self.plan(Final(model="schnell", size="1K", carry="seed", steps=4)).request
        assert (request.references, request.strength) == (("a" * 64,), 0.35)

    def test_a_wave_s_estimate_knows_that_too(self) -> None:
        final = Final(model="sdxl", size="2K", carry="seed", steps=30, strength=0.5)
        of = wave(brief("tulips", 1), draft=Draft(model="sdxl", size="1K"), final=final, lane="gpu")
        assert finals_of(of).usd(99) == self.plan(final).estimate_usd


def test_one_that_fails_falls_back_to_the_next_best_draft() -> None:
    finals = course()
    finals.play("a")
    assert finals.play("c") == ["c"]
    assert finals.play() == []


def test_with_no_draft_left_another_sample_is_rendered_of_the_one_that_failed() -> None:
    finals = course(want=2, spare=0)
    first = finals.plan()[1].request
    finals.play("a")
    [again] = finals.plan()
    assert again.about == "b"
    assert (again.request.sample, first.sample) == (1, 0)
    assert again.request.seed != first.seed
    finals.play("b")
    assert finals.plan() == []


def test_a_draft_is_not_rendered_for_ever() -> None:
    finals = course(want=1, spare=0)
    rounds = [finals.play() for _ in range(RENDERS + 2)]
    assert rounds == [["a"]] * RENDERS + [[], []]


def test_a_draft_whose_final_was_refused_is_left_alone() -> None:
    finals = course(want=1, spare=0)
    finals.play(refusing=["a"])
    assert finals.plan() == []


def test_a_draft_that_has_a_good_final_gets_no_second_one() -> None:
    finals = course(want=2, spare=0)
    finals.play("a")
    assert [finals.play() for _ in range(2)] == [["b"], ["b"]]
