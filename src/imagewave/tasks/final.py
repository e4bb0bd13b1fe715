"""Plans the finals: each carries an accepted draft; one that fails falls back to the next best."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds import Ask
from imagewave.storage.wave import Wave
from imagewave.tasks.draft import Prompts, seed
from imagewave.tasks.select import Decision


def final_asks(
    wave: Wave,
    prompts: Prompts,
    drafts: Sequence[Decision],
    tried: set[tuple[str, str]],
    good: Mapping[str, int],
    *,
    lane: str,
) -> list[Ask]:
    """The next round of finals; [] when every brief has enough or its drafts are used up.

    `drafts` are the decisions on drafts; `tried` the (brief, draft request) that finals were made
    of already; `good` how many finals of each brief passed.
    """
    model = find_model(wave.final.model)
    texts = {prompt_id: text for found in prompts.values() for prompt_id, text in found}
    ranked: dict[str, list[Decision]] = defaultdict(list)
    for draft in sorted(drafts, key=lambda draft: draft.rank):
        if draft.decision != "rejected" and (draft.brief, draft.request_id) not in tried:
            ranked[draft.brief].append(draft)
    asks = []
    for brief in wave.briefs:
        for draft in ranked[brief.id][: max(0, brief.want - good.get(brief.id, 0))]:
            text = texts[draft.prompt_id]
            request = Request(
                kind=Kind.FINAL,
                model=model.id,
                prompt=text,
                references=(draft.image,) if wave.final.carry == "reference" else (),
                aspect_ratio=brief.aspect_ratio,
                size=wave.final.size,
                thinking=wave.final.thinking,
                seed=seed(wave, draft.prompt_id, 0),
            )
            cost = estimate(
                model,
                lane=lane,
                size=wave.final.size,
                prompt_chars=len(text),
                references=len(request.references),
                thinking=wave.final.thinking,
            )
            asks.append(
                Ask(
                    brief=brief.id,
                    prompt_id=draft.prompt_id,
                    request=request,
                    estimate_usd=cost,
                    reference=draft.image,
                    about=draft.request_id,
                )
            )
    return asks
