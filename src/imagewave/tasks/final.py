"""Plans the finals: each carries an accepted draft; one that fails falls back to the next best.

Where no other draft is left, a draft whose final failed is rendered again as another sample:
that costs one final, where a further draft would cost itself and a final too.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds import Ask
from imagewave.storage.wave import Wave
from imagewave.tasks.draft import Prompts, seed
from imagewave.tasks.select import Candidate, Decision

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
) -> list[Ask]:
    """The next round of finals; [] when every brief has enough or its drafts are used up.

    `drafts` are the decisions on drafts; `candidates` the finals of earlier rounds, `decisions`
    those on them.
    """
    ranked: dict[str, list[Decision]] = defaultdict(list)
    for draft in sorted(drafts, key=lambda draft: draft.rank):
        if draft.decision != "rejected":
            ranked[draft.brief].append(draft)
    passed = {(d.brief, d.request_id) for d in decisions if d.decision != "rejected"}
    good: dict[str, set[str]] = defaultdict(set)
    renders: Counter[tuple[str, str]] = Counter()
    undrawn = set()
    for final in candidates:
        made_of = (final.ask.brief, final.ask.about)
        renders[made_of] += 1
        if (final.ask.brief, final.ask.request.id) in passed:
            good[final.ask.brief].add(final.ask.about)
        if final.answer is None or final.answer.status != "image":
            undrawn.add(made_of)  # refused, or failed again when regenerated
    asks = []
    for brief in wave.briefs:
        open = [
            draft
            for draft in ranked[brief.id]
            if draft.request_id not in good[brief.id]
            and (brief.id, draft.request_id) not in undrawn
            and renders[brief.id, draft.request_id] < RENDERS
        ]
        open.sort(key=lambda draft: renders[draft.brief, draft.request_id])
        asks += [
            _ask(wave, prompts, draft, renders[brief.id, draft.request_id], lane)
            for draft in open[: max(0, brief.want - len(good[brief.id]))]
        ]
    return asks


def _ask(wave: Wave, prompts: Prompts, draft: Decision, sample: int, lane: str) -> Ask:
    model = find_model(wave.final.model)
    text = dict(prompts[draft.brief])[draft.prompt_id]
    request = Request(
        kind=Kind.FINAL,
        model=model.id,
        prompt=text,
        references=(draft.image,) if wave.final.carry == "reference" else (),
        aspect_ratio=wave.brief(draft.brief).aspect_ratio,
        size=wave.final.size,
        quality=wave.final.quality,
        thinking=wave.final.thinking,
        sample=sample,
        seed=seed(wave, draft.prompt_id, sample),
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
    )
    return Ask(
        brief=draft.brief,
        prompt_id=draft.prompt_id,
        request=request,
        estimate_usd=cost,
        reference=draft.image,
        about=draft.request_id,
    )
