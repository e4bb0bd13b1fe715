"""Decides which pictures of a brief are accepted: the best, no two of them alike.

Pictures that passed the screens and the judge are ranked by the judge's composite score (equal
scores: by address, so that every run ranks alike). The first `want` are accepted, the others kept
in reserve; near-duplicates fell at the screens already.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from imagewave.storage import facts
from imagewave.storage.rounds import Answer, Ask
from imagewave.storage.store import Store
from imagewave.storage.wave import Wave
from imagewave.tasks.judge import Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A request of the tier that is decided on, with all that is known of it.

    `answer` is None where nothing came back; `judgement` None where nothing was judged.
    """

    ask: Ask
    answer: Answer | None
    failed_checks: tuple[str, ...]
    judgement: Judgement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The fate of one picture; `rank` is 1 for the best, 0 for what was rejected."""

    brief: str
    request_id: str
    prompt_id: str
    image: str
    decision: str
    rank: int
    score: float | None
    reason: str


def select(
    store: Store,
    wave: Wave,
    *,
    tier: str,
    number: int,
    candidates: Sequence[Candidate],
    judged: bool,
) -> list[Decision]:
    """Records the decisions on all candidates of a tier after a round, and returns them."""
    by_brief: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_brief[candidate.ask.brief].append(candidate)
    decisions = [
        decision
        for brief in wave.briefs
        for decision in decide(by_brief[brief.id], want=brief.want, judged=judged)
    ]
    rows = [
        {
            "wave": wave.name,
            "revision": wave.revision,
            "brief": decision.brief,
            "request_id": decision.request_id,
            "image": decision.image,
            "tier": tier,
            "round": number,
            "decision": decision.decision,
            "rank": decision.rank,
            "score": decision.score,
            "reason": decision.reason,
        }
        for decision in decisions
    ]
    facts.append(store, "decisions", decisions_part(wave, tier, number), rows)
    return decisions


def decisions_part(wave: Wave, tier: str, number: int) -> str:
    """The part that holds the decisions on a tier after its `number`-th round."""
    return f"{wave.name}-{wave.revision}-{tier}-{number}"


def decide(candidates: Sequence[Candidate], *, want: int, judged: bool) -> list[Decision]:
    """The decisions on one brief's candidates, best first."""
    good: list[tuple[Candidate, str]] = []
    bad: list[tuple[Candidate, str]] = []
    for candidate in candidates:
        reason = _rejection(candidate, judged=judged)
        (bad if reason else good).append((candidate, reason))

    def order(item: tuple[Candidate, str]) -> tuple[float, str]:
        return -_score(item[0]), item[0].ask.request.id

    decisions = []
    for rank, (candidate, _) in enumerate(sorted(good, key=order), 1):
        decision = "accepted" if rank <= want else "reserve"
        decisions.append(_decision(candidate, decision, rank, ""))
    for candidate, reason in bad:
        decisions.append(_decision(candidate, "rejected", 0, reason))
    return decisions


def _rejection(candidate: Candidate, *, judged: bool) -> str:
    """Why the candidate cannot be accepted; "" if it can."""
    answer = candidate.answer
    if answer is None:
        return "no result"
    if answer.status != "image":
        return f"{answer.status}: {answer.reason}"
    if candidate.failed_checks:
        return f"screens: {', '.join(candidate.failed_checks)}"
    if not judged:
        return ""
    if candidate.judgement is None:
        return "not judged"
    if candidate.judgement.verdict != "pass":
        return f"judge {candidate.judgement.verdict}: {candidate.judgement.reason}"
    return ""


def _score(candidate: Candidate) -> float:
    judgement = candidate.judgement
    return judgement.score if judgement and judgement.score is not None else 0.0


def _decision(candidate: Candidate, decision: str, rank: int, reason: str) -> Decision:
    return Decision(
        brief=candidate.ask.brief,
        request_id=candidate.ask.request.id,
        prompt_id=candidate.ask.prompt_id,
        image=candidate.answer.image if candidate.answer else "",
        decision=decision,
        rank=rank,
        score=candidate.judgement.score if candidate.judgement else None,
        reason=reason,
    )
