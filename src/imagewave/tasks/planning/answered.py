"""What of a wave the store has answered already, so that it costs nothing to ask for it."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from imagewave.storage.facts.analytics import answered, query
from imagewave.storage.requests import Request
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.rounds import Answer, Ask
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.drafting.draft import Prompts, first_drafts, turned_down
from imagewave.tasks.drafting.expand import expansion_asks, prompts_of
from imagewave.tasks.final import final_asks
from imagewave.tasks.judging.judge import judge_request
from imagewave.tasks.select import Decision

_FREE = Decimal(0)


@dataclass(frozen=True, slots=True)
class Answered:
    """How many requests of each stage and brief are answered: they are asked for again for nothing.

    `judge` are judgements of drafts, `judge_final` those of finals.
    """

    expand: Mapping[str, int] = field(default_factory=dict)
    draft: Mapping[str, int] = field(default_factory=dict)
    judge: Mapping[str, int] = field(default_factory=dict)
    final: Mapping[str, int] = field(default_factory=dict)
    judge_final: Mapping[str, int] = field(default_factory=dict)


def find_answered(store: Store, wave: Wave) -> Answered:
    """What the store has answered of the wave's first requests, whichever wave paid for them.

    Drafts count as far as they come in the order in which they would be asked for.
    """
    asks = expansion_asks(wave, lane="interactive")
    written = rounds.answers(store, [ask.request.id for ask in asks])
    expanded = {ask.brief: 1 for ask in asks if _said(written, ask.request)}
    if len(expanded) < len(asks):
        return Answered(expand=expanded)  # without its prompts nothing more can be told
    prompts = prompts_of(wave, asks, written)
    (seen,) = query(
        store, "SELECT count(*) AS rows FROM raw_results WHERE model = ?", [wave.draft.model]
    )
    if not seen["rows"]:
        return Answered(expand=expanded)
    drafts = first_drafts(store, wave, prompts)
    pictures = {
        (brief, prompt, request.id): request
        for brief, found in drafts.items()
        for prompt, request in found
    }
    images = _pictures(store, list(pictures.values()))
    finals = _finals(store, wave, prompts, pictures, images)
    return Answered(
        expand=expanded,
        draft=Counter(brief for brief, _, _ in pictures),
        judge=_judged(store, wave, [(b, images[id]) for b, _, id in pictures if id in images]),
        final=Counter(brief for brief, _ in finals),
        judge_final=_judged(store, wave, finals),
    )


def refused_briefs(store: Store, wave: Wave) -> dict[str, str]:
    """The briefs of which every prompt was refused before: why. None of them is asked for."""
    asks = expansion_asks(wave, lane="interactive")
    written = rounds.answers(store, [ask.request.id for ask in asks])
    open = {ask.brief for ask in asks if ask.request.id not in written}
    prompts = prompts_of(wave, asks, written)
    why = turned_down(store, wave, prompts)
    return {
        brief: why[each[0][0]]
        for brief, each in prompts.items()
        if brief not in open and all(id in why for id, _ in each)
    }


def _said(answers: Mapping[str, Answer], request: Request) -> bool:
    return request.id in answers and answers[request.id].status == "text"


def _pictures(store: Store, requests: list[Request]) -> dict[str, str]:
    found = rounds.answers(store, [request.id for request in requests])
    return {id: answer.image for id, answer in found.items() if answer.status == "image"}


def _finals(
    store: Store,
    wave: Wave,
    prompts: Prompts,
    drafts: Mapping[tuple[str, str, str], Request],
    images: Mapping[str, str],
) -> list[tuple[str, str]]:
    """(brief, picture) of the finals that are there, if these drafts should be accepted."""
    if wave.final.carry == "accept":
        return []
    ranks: dict[str, int] = defaultdict(int)
    decisions, drawn = [], {}
    for (brief, prompt, id), request in drafts.items():
        if id not in images:
            continue
        ranks[brief] += 1
        drawn[brief, id] = Ask(brief=brief, prompt_id=prompt, request=request, estimate_usd=_FREE)
        decisions.append(
            Decision(
                brief=brief,
                request_id=id,
                prompt_id=prompt,
                image=images[id],
                decision="accepted",
                rank=ranks[brief],
                score=None,
                reason="",
            )
        )
    # As many finals as there are drafts: which of them will be accepted, nobody knows yet.
    briefs = [b.model_copy(update={"want": max(1, ranks[b.id])}) for b in wave.briefs]
    all_wanted = Wave(**{**dict(wave), "briefs": tuple(briefs)})
    asks = final_asks(all_wanted, prompts, decisions, [], [], lane="interactive", drawn=drawn)
    rendered = _pictures(store, [ask.request for ask in asks])
    return [(ask.brief, rendered[ask.request.id]) for ask in asks if ask.request.id in rendered]


def _judged(store: Store, wave: Wave, pictures: list[tuple[str, str]]) -> Counter[str]:
    if not wave.judge.asks_model:
        return Counter()
    asked = [(brief, judge_request(wave, wave.brief(brief), image).id) for brief, image in pictures]
    there = answered(store, {id for _, id in asked})
    return Counter(brief for brief, id in asked if id in there)
