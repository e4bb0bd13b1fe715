"""Decides which pictures of a brief are accepted: the best, no two of them alike.

Pictures that passed the screens and the judge are ranked by the judge's composite score; equal
scores, as where nobody judges, by sharpness, then by address, so that every run ranks alike. From
the best on, each is kept unless it resembles one that was: of pictures that are near-duplicates the
judge's favourite stays, which the screens, that know no scores, could not see to. The first `want`
are accepted, the others kept in reserve. docs/judging.md documents it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.images import read_phash
from imagewave.storage.rounds.rounds import Answer, Ask
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.judging.judge import Judgement

NOT_JUDGED = "judge failed"
"""How the reason begins where a picture was rejected for want of a valid judgement."""


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
class Look:
    """What pictures are compared by: a 64-bit perceptual hash (None: unknown), and sharpness."""

    phash: int | None = None
    sharpness: float = 0.0


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
    looks = _looks(store, [c.answer.image for c in candidates if c.answer and c.answer.image])
    decisions = [
        decision
        for brief in wave.briefs
        for decision in decide(
            by_brief[brief.id],
            want=brief.want,
            judged=judged,
            looks=looks,
            radius=wave.screen.duplicate_distance,
        )
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


def decide(
    candidates: Sequence[Candidate],
    *,
    want: int,
    judged: bool,
    looks: Mapping[str, Look],
    radius: int,
) -> list[Decision]:
    """The decisions on one brief's candidates, best first.

    `looks` knows pictures by their address; hashes within `radius` bits are near-duplicates.
    """

    def look(candidate: Candidate) -> Look:
        return looks.get(candidate.answer.image, Look()) if candidate.answer else Look()

    def order(candidate: Candidate) -> tuple[float, float, str]:
        return -_score(candidate), -look(candidate).sharpness, candidate.ask.request.id

    kept: list[Candidate] = []
    rejected: list[tuple[Candidate, str]] = []
    for candidate in sorted(candidates, key=order):
        reason = _rejection(candidate, judged=judged)
        if not reason:
            twin = next((k for k in kept if _alike(look(k), look(candidate), radius)), None)
            reason = f"like {twin.ask.request.id}, which ranks higher" if twin else ""
        if reason:
            rejected.append((candidate, reason))
        else:
            kept.append(candidate)
    return [
        *(
            _decision(candidate, "accepted" if rank <= want else "reserve", rank, "")
            for rank, candidate in enumerate(kept, 1)
        ),
        *(_decision(candidate, "rejected", 0, reason) for candidate, reason in rejected),
    ]


def _looks(store: Store, images: Sequence[str]) -> dict[str, Look]:
    rows = query(
        store,
        "SELECT image, phash, blur FROM images WHERE image IN (SELECT unnest(?::VARCHAR[]))",
        [sorted(set(images))],
    )
    return {
        row["image"]: Look(
            phash=read_phash(row["phash"]) if row["phash"] else None,
            sharpness=row["blur"] or 0.0,
        )
        for row in rows
    }


def _alike(one: Look, other: Look, radius: int) -> bool:
    if one.phash is None or other.phash is None:
        return False
    return (one.phash ^ other.phash).bit_count() <= radius


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
    if candidate.judgement.verdict == "failed":
        return f"{NOT_JUDGED}: {candidate.judgement.reason}"
    if candidate.judgement.verdict == "fail":
        return f"judge: {candidate.judgement.reason}"
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
