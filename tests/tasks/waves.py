"""Waves for tests of single verbs: a wave with few words, and rounds with results as they come."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from imagewave.storage.facts import facts
from imagewave.storage.requests import Kind, digest
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.rounds import Answer, Ask, Round
from imagewave.storage.store import Store
from imagewave.storage.waves.briefs import Brief
from imagewave.storage.waves.wave import Draft, Wave
from imagewave.tasks.select import Candidate, Decision, select

DRAFT = Draft(model="gemini-3.1-flash-lite-image", size="1K", thinking="minimal")


def wave(*briefs: Brief, name: str = "spring", **tables: Any) -> Wave:
    """A wave with these briefs, or one that wants two pictures of tulips."""
    return Wave(
        **{"name": name, "briefs": briefs or (brief("tulips", 2),), "draft": DRAFT, **tables}
    )


def brief(id: str, want: int = 1, **values: Any) -> Brief:
    """A brief named for its only subject."""
    return Brief(**{"id": id, "text": f"A picture of {id}", "want": want, **values})


def prompts(wave: Wave, each: int = 1) -> dict[str, list[tuple[str, str]]]:
    """So many prompts of each brief: (prompt id, text)."""
    return {
        brief.id: [
            (digest({"prompt": text}), text)
            for text in (f"{brief.text}, take {number}" for number in range(each))
        ]
        for brief in wave.briefs
    }


def round_of(wave: Wave, kind: Kind, number: int = 1) -> Round:
    return Round(wave=wave.name, revision=wave.revision, kind=kind, number=number)


def tell_of(store: Store, wave: Wave) -> None:
    """Records the wave and its briefs, as a run does first."""
    facts.append(
        store,
        "waves",
        f"{wave.name}-{wave.revision}",
        [
            {
                "wave": wave.name,
                "revision": wave.revision,
                "file": "",
                "spec": "{}",
                "realm": "sandbox",
                "series": wave.series,
                "edition": wave.edition,
            }
        ],
    )
    facts.append(
        store,
        "briefs",
        f"{wave.name}-{wave.revision}",
        [
            {
                "wave": wave.name,
                "revision": wave.revision,
                "brief": brief.id,
                "text": brief.text,
                "want": brief.want,
                "aspect_ratio": brief.aspect_ratio,
                "use_case": brief.use_case or wave.use_case,
                "variables": "{}",
                "folder": wave.folder(brief.id),
            }
            for brief in wave.briefs
        ],
    )


def picture(ask: Ask) -> str:
    """The address of the picture that a request got."""
    return digest({"picture": ask.request.id}) * 2


def drawn(ask: Ask) -> Answer:
    """An answer with a picture."""
    return answer(ask, status="image", image=picture(ask), format="jpg")


def refused(ask: Ask, reason: str = "SAFETY") -> Answer:
    return answer(ask, status="refused", failure="refused", reason=reason)


def said(ask: Ask, text: str) -> Answer:
    """An answer in words."""
    return answer(ask, status="text", text=text)


def answer(ask: Ask, **values: Any) -> Answer:
    common = {
        "request_id": ask.request.id,
        "job_id": "a-job",
        "status": "",
        "failure": "",
        "reason": "",
        "image": "",
        "format": "",
        "text": "",
        "cost_usd": Decimal("0.0168"),
    }
    return Answer(**{**common, **values})


def settle(store: Store, round: Round, asks: Sequence[Ask], answers: Iterable[Answer]) -> None:
    """Records what a round asked for and what came back."""
    rounds.record(store, round, asks)
    rows = [
        {
            "request_id": answer.request_id,
            "job_id": f"job-{round.part}",
            "wave": round.wave,
            "kind": round.kind,
            "model": asks[0].request.model,
            "attempt": 1,
            "status": answer.status,
            "failure": answer.failure,
            "reason": answer.reason,
            "message": "",
            "image": answer.image,
            "format": answer.format,
            "text": answer.text,
            "prompt_tokens": 10,
            "image_tokens": 1120,
            "text_tokens": 0,
            "thought_tokens": 0,
            "reference_tokens": 0,
            "cost_usd": answer.cost_usd,
        }
        for answer in answers
    ]
    facts.append(store, "results", f"job-{round.part}", rows)


def decide(
    store: Store,
    wave: Wave,
    number: int,
    asks: Sequence[Ask],
    answers: Mapping[str, Answer],
    failed: Mapping[str, tuple[str, ...]] | None = None,
    tier: str = "draft",
) -> list[Decision]:
    """Records the decisions on pictures that nobody judged; `failed` names checks by request."""
    candidates = [
        Candidate(
            ask=ask,
            answer=answers.get(ask.request.id),
            failed_checks=(failed or {}).get(ask.request.id, ()),
            judgement=None,
        )
        for ask in asks
    ]
    return select(store, wave, tier=tier, number=number, candidates=candidates, judged=False)
