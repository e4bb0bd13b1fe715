"""Plans the finals: each carries an accepted draft; one that fails falls back to the next best.

Where no other draft is left, a draft whose final failed is rendered again as another sample:
that costs one final, where a further draft would cost itself and a final too. Where that does not
help either, the draft is used up, and another is to be made.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.lanes import draws_on_your_gpus
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import Ask
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.drafting.draft import Prompts, seed
from imagewave.tasks.select import NOT_JUDGED, Candidate, Decision

RENDERS = 3
"""How often one draft is rendered as a final at most."""


def final_asks(
    wave: Wave,
    prompts: Prompts,
    drafts: Sequence[Decision],
    candidates: Sequence[Candidate],
    decisions: Sequence[Decision],
    *,
    lane: str,
    drawn: Mapping[tuple[str, str], Ask],
) -> list[Ask]:
    """The next round of finals; [] when every brief has enough or its drafts are used up.

    `drafts` are the decisions on drafts, and `drawn` the asks that they came of, by brief and
    request; `candidates` the finals of earlier rounds, `decisions` those on them.
    """
    past = _look_back(candidates, decisions)
    ranked = _good_drafts(drafts)
    asks = []
    for brief in wave.briefs:
        good = past.good[brief.id]
        open = [
            draft
            for draft in ranked[brief.id]
            if draft.request_id not in good
            and (brief.id, draft.request_id) not in past.undrawn
            and past.renders[brief.id, draft.request_id] < RENDERS
        ]
        open.sort(key=lambda draft: past.renders[draft.brief, draft.request_id])
        asks += [
            _ask(
                wave,
                prompts,
                draft,
                past.renders[brief.id, draft.request_id],
                lane,
                drawn,
            )
            for draft in open[: max(0, brief.want - len(good))]
        ]
    return asks


def drafts_used_up(
    wave: Wave,
    drafts: Sequence[Decision],
    candidates: Sequence[Candidate],
    decisions: Sequence[Decision],
) -> dict[str, int]:
    """How many good drafts no final can be made of, by brief, of the briefs that lack some for it.

    Their finals were refused, or made as often as is allowed and no good. A draft whose final
    failed, or got no valid judgement, is not used up: another draft is no remedy for that.
    """
    past = _look_back(candidates, decisions)
    unjudged = {(d.brief, d.request_id) for d in decisions if d.reason.startswith(NOT_JUDGED)}
    hopeful = {
        (final.ask.brief, final.ask.about)
        for final in candidates
        if final.answer is None
        or final.answer.status not in ("image", "refused")
        or (final.ask.brief, final.ask.request.id) in unjudged
    }
    ranked = _good_drafts(drafts)
    found = {}
    for brief in wave.briefs:
        lost = [
            draft
            for draft in ranked[brief.id]
            if draft.request_id not in past.good[brief.id]
            and (brief.id, draft.request_id) not in hopeful
        ]
        if lost and len(ranked[brief.id]) - len(lost) < brief.want:
            found[brief.id] = len(lost)
    return found


@dataclass(frozen=True, slots=True)
class _Past:
    """What became of earlier finals: the drafts that have a `good` one, by brief; how often each
    (brief, draft) was rendered; those of which a rendering brought no picture.
    """

    good: dict[str, set[str]]
    renders: Counter[tuple[str, str]]
    undrawn: set[tuple[str, str]]


def _look_back(candidates: Sequence[Candidate], decisions: Sequence[Decision]) -> _Past:
    passed = {(d.brief, d.request_id) for d in decisions if d.decision != "rejected"}
    past = _Past(good=defaultdict(set), renders=Counter(), undrawn=set())
    for final in candidates:
        made_of = (final.ask.brief, final.ask.about)
        past.renders[made_of] += 1
        if (final.ask.brief, final.ask.request.id) in passed:
            past.good[final.ask.brief].add(final.ask.about)
        if final.answer is None or final.answer.status != "image":
            past.undrawn.add(made_of)  # refused, or failed again when regenerated
    return past


def _good_drafts(drafts: Sequence[Decision]) -> dict[str, list[Decision]]:
    """The accepted drafts of each brief and those in reserve, best first."""
    ranked: dict[str, list[Decision]] = defaultdict(list)
    for draft in sorted(drafts, key=lambda draft: draft.rank):
        if draft.decision != "rejected":
            ranked[draft.brief].append(draft)
    return ranked


def drawn_over(wave: Wave, model: str, size: str | None) -> bool:
    """Whether a final is made of the picture itself that this model drew at this size.

    On your GPUs the same noise gives the same picture again; at another size, or by another model,
    it is unrelated, and what carries the draft's intent is the draft.
    """
    final = wave.final
    again = final.carry == "seed" and draws_on_your_gpus(find_model(final.model))
    return again and (final.model, final.size) != (model, size)


def _ask(
    wave: Wave,
    prompts: Prompts,
    draft: Decision,
    sample: int,
    lane: str,
    drawn: Mapping[tuple[str, str], Ask],
) -> Ask:
    model = find_model(wave.final.model)
    text = dict(prompts[draft.brief])[draft.prompt_id]
    references = (draft.image,) if wave.final.carry == "reference" else ()
    number, strength, steps = seed(wave, draft.prompt_id, sample), None, wave.final.steps
    if wave.final.carry == "seed" and draws_on_your_gpus(model):
        first = drawn[draft.brief, draft.request_id].request
        if sample == 0 and first.seed is not None:
            number = first.seed
        if drawn_over(wave, first.model, first.size):
            references, strength = (draft.image,), wave.final.strength
            steps = steps and math.ceil(steps * strength)
    request = Request(
        kind=Kind.FINAL,
        model=model.id,
        prompt=text,
        references=references,
        aspect_ratio=wave.brief(draft.brief).aspect_ratio,
        size=wave.final.size,
        quality=wave.final.quality,
        thinking=wave.final.thinking,
        sample=sample,
        seed=number,
        steps=wave.final.steps,
        guidance=wave.final.guidance,
        strength=strength,
        loras=wave.final.loras or None,
    )
    cost = estimate(
        model,
        lane=lane,
        size=wave.final.size,
        quality=wave.final.quality,
        aspect_ratio=request.aspect_ratio,
        prompt_chars=len(text),
        references=len(request.references),
        thinking=wave.final.thinking,
        steps=steps,
    )
    return Ask(
        brief=draft.brief,
        prompt_id=draft.prompt_id,
        request=request,
        estimate_usd=cost,
        reference=draft.image,
        about=draft.request_id,
    )
