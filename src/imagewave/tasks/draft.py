"""Plans a round of drafts: which prompts, how many of each, for which briefs."""

from collections import Counter
from collections.abc import Mapping, Sequence

from imagewave.storage import facts
from imagewave.storage.analytics import query
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.requests import Kind, Request, digest
from imagewave.storage.rounds import Ask, Round, load
from imagewave.storage.store import Store
from imagewave.storage.wave import Wave
from imagewave.tasks import oversample
from imagewave.tasks.select import decisions_part

Prompts = Mapping[str, Sequence[tuple[str, str]]]


def seed(wave: Wave, prompt_id: str, sample: int) -> int:
    """The seed of a prompt's n-th sample: the same in every wave, unless it asks to be fresh."""
    salt = wave.name if wave.cache == "refresh" else ""
    return int(digest([prompt_id, sample, salt])[:8], 16) & 0x7FFFFFFF


def draft_asks(store: Store, wave: Wave, number: int, prompts: Prompts, *, lane: str) -> list[Ask]:
    """What the `number`-th round asks for; [] when every brief has enough or is given up."""
    model = find_model(wave.draft.model)
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for earlier in range(1, number):
        round = Round(wave=wave.name, revision=wave.revision, kind=Kind.DRAFT, number=earlier)
        tried.update(ask.brief for ask in load(store, round) or ())
    if number > 1:
        for row in facts.read(store, "decisions", decisions_part(wave, "draft", number - 1)) or ():
            passed[row["brief"]] += row["decision"] != "rejected"
    priors = _priors(store, wave)
    asks = []
    for brief in wave.briefs:
        step = oversample.next_step(
            priors[brief.use_case or wave.use_case],
            want=brief.want,
            accepted=passed[brief.id],
            tried=tried[brief.id],
            cap=int(brief.want * wave.draft.max_oversample),
            probe=wave.draft.probe,
            rounds_left=wave.draft.max_rounds - number + 1,
            confidence=wave.draft.confidence,
        )
        texts = prompts[brief.id]
        for index in range(tried[brief.id], tried[brief.id] + step.drafts):
            prompt_id, text = texts[index % len(texts)]
            sample = index // len(texts)
            request = Request(
                kind=Kind.DRAFT,
                model=model.id,
                prompt=text,
                aspect_ratio=brief.aspect_ratio,
                size=wave.draft.size,
                thinking=wave.draft.thinking,
                sample=sample,
                seed=seed(wave, prompt_id, sample),
            )
            cost = estimate(
                model,
                lane=lane,
                size=wave.draft.size,
                prompt_chars=len(text),
                thinking=wave.draft.thinking,
            )
            asks.append(
                Ask(
                    brief=brief.id,
                    prompt_id=prompt_id,
                    request=request,
                    estimate_usd=cost,
                )
            )
    return asks


def _priors(store: Store, wave: Wave) -> dict[str, oversample.Rate]:
    """The belief to start from, per use case, from what other waves' drafts of the model did."""
    rows = query(
        store,
        "SELECT briefs.use_case, count(*) AS tried,"
        " count(*) FILTER (decision <> 'rejected') AS accepted"
        " FROM decisions JOIN requests USING (wave, brief, request_id)"
        " JOIN briefs USING (wave, brief)"
        " WHERE tier = 'draft' AND requests.model = ? AND wave <> ? GROUP BY briefs.use_case",
        [wave.draft.model, wave.name],
    )
    priors = {}
    for use_case in {brief.use_case or wave.use_case for brief in wave.briefs}:
        mine = [row for row in rows if row["use_case"] == use_case]
        priors[use_case] = oversample.from_history(
            sum(row["accepted"] for row in mine),
            sum(row["tried"] for row in mine),
            f"{wave.draft.model}, {use_case or 'no use case'}",
        )
    return priors
