"""Plans a round of drafts: which prompts, how many of each, for which briefs."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import answered, query
from imagewave.storage.requests import FailureClass, Kind, Request, digest
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.refusals import refused
from imagewave.storage.rounds.rounds import Ask, Round
from imagewave.storage.store import Store
from imagewave.storage.waves.briefs import Brief
from imagewave.storage.waves.wave import Draft, Wave
from imagewave.tasks.drafting.oversample import History, Policy, Rate, Reason, Step, next_step
from imagewave.tasks.select import NOT_JUDGED, decisions_part

Prompts = Mapping[str, Sequence[tuple[str, str]]]


def seed(wave: Wave, prompt_id: str, sample: int) -> int:
    """The seed of a prompt's n-th sample: the same in every wave that shares its requests."""
    return int(digest([prompt_id, sample, wave.salt])[:8], 16) & 0x7FFFFFFF


def policy(draft: Draft) -> Policy:
    """What the wave file says of the number of drafts."""
    return Policy(
        max_oversample=draft.max_oversample,
        max_rounds=draft.max_rounds,
        confidence=draft.confidence,
        probe=draft.probe,
    )


def draft_asks(
    store: Store,
    wave: Wave,
    number: int,
    prompts: Prompts,
    *,
    lane: str,
    used_up: Mapping[str, int] | None = None,
) -> list[Ask]:
    """What the `number`-th round asks for; [] when every brief has enough or is given up.

    `used_up` counts the drafts of each brief that passed and are to be replaced all the same. How
    many are asked for and why is a fact before anything is asked for (the `steps` table); a second
    process asks for what the first one put down there.
    """
    before = _look_back(store, wave, number, prompts)
    model = find_model(wave.draft.model)
    asks = []
    costs: dict[tuple[int, str], Decimal] = {}
    for row in _steps(store, wave, number, prompts, before, used_up or {}):
        brief = wave.brief(row["brief"])
        usable = before.usable(brief.id, prompts) or prompts[brief.id]
        for prompt_id, request in _draws(wave, brief, usable, before.samples, row["drafts"]):
            # Asked for once per length: thousands of prompts, and a price takes its time.
            shape = (len(request.prompt), brief.aspect_ratio)
            if shape not in costs:
                costs[shape] = estimate(
                    model,
                    lane=lane,
                    size=request.size,
                    quality=request.quality,
                    aspect_ratio=request.aspect_ratio,
                    prompt_chars=len(request.prompt),
                    thinking=request.thinking,
                    steps=request.steps,
                )
            asks.append(
                Ask(
                    brief=brief.id,
                    prompt_id=prompt_id,
                    request=request,
                    estimate_usd=costs[shape],
                )
            )
    return asks


def _draws(
    wave: Wave,
    brief: Brief,
    usable: Sequence[tuple[str, str]],
    samples: Counter[tuple[str, str]],
    drafts: int,
) -> Iterator[tuple[str, Request]]:
    """The brief's next drafts, as (prompt id, request); counts them in `samples`."""
    model = find_model(wave.draft.model).id
    for _ in range(drafts):
        # The prompt that was asked least often, the first of them: round and round.
        prompt_id, text = min(usable, key=lambda prompt: samples[brief.id, prompt[0]])
        sample = samples[brief.id, prompt_id]
        samples[brief.id, prompt_id] += 1
        yield (
            prompt_id,
            Request(
                kind=Kind.DRAFT,
                model=model,
                prompt=text,
                aspect_ratio=brief.aspect_ratio,
                size=wave.draft.size,
                quality=wave.draft.quality,
                thinking=wave.draft.thinking,
                sample=sample,
                seed=seed(wave, prompt_id, sample),
                steps=wave.draft.steps,
                guidance=wave.draft.guidance,
                loras=wave.draft.loras or None,
            ),
        )


def first_drafts(
    store: Store, wave: Wave, prompts: Prompts
) -> dict[str, list[tuple[str, Request]]]:
    """The first drafts of each brief, as far as they are answered already: they cost nothing.

    Each is (prompt id, request).
    """
    cap = policy(wave.draft).cap

    def draws(brief: Brief) -> Iterator[tuple[str, Request]]:
        return _draws(wave, brief, prompts[brief.id], Counter(), cap(brief.want))

    # Of a large wave the ids alone are kept, and requests only where there are answers.
    first = {brief.id: [request.id for _, request in draws(brief)] for brief in wave.briefs}
    known = answered(store, {id for ids in first.values() for id in ids})
    return {
        brief.id: list(itertools.takewhile(lambda draft: draft[1].id in known, draws(brief)))
        for brief in wave.briefs
        if known.intersection(first[brief.id])
    }


def history(store: Store, model: str, *, tier: str, without: str = "") -> dict[str, History]:
    """What the store has measured of a model's drafts or finals, by use case.

    `without` names a wave that does not count.
    """
    rows = query(
        store,
        "SELECT use_case, passed, tried, count(*) AS briefs FROM ("
        " SELECT use_case, wave, brief, sum(passed)::INTEGER AS passed,"
        " sum(tried)::INTEGER AS tried FROM trials"
        " WHERE tier = ? AND model = ? AND wave <> ? GROUP BY ALL) GROUP BY ALL",
        [tier, model, without],
    )
    counts: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for row in rows:
        counts[row["use_case"]][row["passed"], row["tried"]] = row["briefs"]
    return {case: History(found, _what(tier, model, case)) for case, found in counts.items()}


def _what(tier: str, model: str, use_case: str) -> str:
    return f"{tier}s by {model} for {use_case or 'no use case'}"


@dataclass(slots=True)
class _Past:
    """What earlier rounds of the wave asked for and got, by brief.

    Imported pictures say nothing of the model's rate: of them, only those that passed are counted,
    as `imported`; `rounds` are those that asked the model. `samples` counts what was asked of each
    (brief, prompt id). `barred` are the prompts that were turned down, here or in any other wave,
    and never drew a picture; `refusals` the reasons for that, by brief.
    """

    rounds: int = 0
    imported: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)
    samples: Counter[tuple[str, str]] = field(default_factory=Counter)
    barred: set[str] = field(default_factory=set)
    refusals: dict[str, Counter[str]] = field(default_factory=dict)

    def usable(self, brief: str, prompts: Prompts) -> list[tuple[str, str]]:
        """The brief's prompts that may be asked again, if there is any such."""
        return [prompt for prompt in prompts[brief] if prompt[0] not in self.barred]

    def counts(self, brief: str) -> tuple[int, int]:
        """How many of the brief's drafts passed, and how many were tried."""
        return self.passed[brief], self.tried[brief]


def turned_down(store: Store, wave: Wave, prompts: Prompts) -> dict[str, str]:
    """The prompts that the model of drafts has refused to draw, in whatever wave: why, by id."""
    model = find_model(wave.draft.model).id
    requests = {
        prompt_id: Request(kind=Kind.DRAFT, model=model, prompt=text)
        for each in prompts.values()
        for prompt_id, text in each
    }
    found = refused(store, requests.values())
    return {id: found[request.id].reason for id, request in requests.items() if request.id in found}


def _look_back(store: Store, wave: Wave, number: int, prompts: Prompts) -> _Past:
    past = _Past()
    elsewhere = turned_down(store, wave, prompts)
    past.barred = set(elsewhere)
    for brief, each in prompts.items():
        if reasons := [elsewhere[id] for id, _ in each if id in elsewhere]:
            past.refusals[brief] = Counter(reasons)
    if number == 1:
        return past
    asked = [rounds.load(store, _round(wave, earlier)) or [] for earlier in range(1, number)]
    past.rounds = sum(any(not ask.request.imported for ask in asks) for asks in asked)
    everything = [ask for asks in asked for ask in asks]
    asks = [ask for ask in everything if not ask.request.imported]
    brought = {(ask.brief, ask.request.id) for ask in everything if ask.request.imported}
    found = rounds.answers(store, {ask.request.id for ask in asks})
    here: dict[str, Counter[str]] = {}
    drawn, barred = set(), set()
    for ask in asks:
        past.tried[ask.brief] += 1
        past.samples[ask.brief, ask.prompt_id] += 1
        answer = found.get(ask.request.id)
        if answer is None:
            continue
        if answer.status == "image":
            drawn.add(ask.prompt_id)
        elif answer.failure in (FailureClass.REFUSED, FailureClass.INVALID):
            barred.add(ask.prompt_id)
            here.setdefault(ask.brief, Counter())[answer.reason] += 1
    past.barred |= barred - drawn
    past.refusals |= here
    # Not of the round before: one that asked for nothing decided nothing.
    latest = max((n for n, asks in enumerate(asked, start=1) if asks), default=0)
    for row in facts.read(store, "decisions", decisions_part(wave, "draft", latest)) or ():
        if (row["brief"], row["request_id"]) in brought:
            past.imported[row["brief"]] += row["decision"] != "rejected"
            continue
        past.passed[row["brief"]] += row["decision"] != "rejected"
        past.unjudged[row["brief"]] += row["reason"].startswith(NOT_JUDGED)
    return past


def _round(wave: Wave, number: int) -> Round:
    return Round(wave=wave.name, revision=wave.revision, kind=Kind.DRAFT, number=number)


def _steps(
    store: Store,
    wave: Wave,
    number: int,
    prompts: Prompts,
    past: _Past,
    used_up: Mapping[str, int],
) -> Sequence[Mapping[str, Any]]:
    """The round's rows of the `steps` table, written unless they stand already."""
    part = _round(wave, number).part
    if (standing := facts.read(store, "steps", part)) is None:
        allowed = policy(wave.draft)
        priors = _priors(store, wave, past)
        first = first_drafts(store, wave, prompts) if past.rounds == 0 else {}
        rows = []
        for brief in wave.briefs:
            passed, tried = past.counts(brief.id)
            prior = priors[brief.id]
            want = max(0, brief.want - past.imported[brief.id])
            step = next_step(
                prior,
                allowed,
                want=want,
                accepted=passed,
                tried=tried,
                round=past.rounds + 1,
                unjudged=past.unjudged[brief.id],
                used_up=used_up.get(brief.id, 0),
            )
            if step.drafts and not past.usable(brief.id, prompts):
                # What other waves know is asked for once all the same, and not sent: so the facts
                # of this one say what became of the brief, and a rerun can name it.
                asked = 0 if tried else len(prompts[brief.id])
                step = Step(drafts=asked, reason=Reason.REFUSED, rate=step.rate, chance=0.0)
            free = len(first.get(brief.id, ()))
            if free >= want > 0:
                # These may be enough, and then nothing need be paid at all.
                step = replace(step, drafts=free, reason=Reason.REUSED)
            low, high = step.rate.interval()
            rows.append(
                {
                    "wave": wave.name,
                    "revision": wave.revision,
                    "brief": brief.id,
                    "round": number,
                    "drafts": step.drafts,
                    "reason": step.reason,
                    "want": brief.want,
                    "accepted": passed + past.imported[brief.id] - used_up.get(brief.id, 0),
                    "tried": tried,
                    "cap": allowed.cap(want),
                    "rate": step.rate.mean,
                    "rate_low": low,
                    "rate_high": high,
                    "chance": step.chance,
                    "prior": prior.source,
                    "detail": _detail(step, past.refusals.get(brief.id, Counter())),
                }
            )
        facts.append(store, "steps", part, rows)
        standing = facts.read(store, "steps", part)
        assert standing is not None
    return standing


def _detail(step: Step, refusals: Mapping[str, int]) -> str:
    """What a user should make of a stop; "" where there is nothing to do."""
    turned_down = ", ".join(f"{reason} ×{count}" for reason, count in sorted(refusals.items()))
    if step.reason is Reason.REFUSED:
        return f"every prompt was turned down ({turned_down}): change the brief"
    if step.reason is Reason.UNJUDGED:
        return "the judge gave no valid answer on drafts that could be enough: see judgements"
    if step.reason is Reason.HOPELESS:
        detail = "change the prompt, or the thresholds that its drafts fail"
    elif step.reason in (Reason.CAP, Reason.ROUNDS):
        detail = "change the prompt, or allow more drafts (max_oversample, max_rounds)"
    else:
        return ""
    return f"{detail}; turned down: {turned_down}" if turned_down else detail


def _priors(store: Store, wave: Wave, past: _Past) -> dict[str, Rate]:
    """The belief to start from for each brief: what the model's drafts for its use case did.

    Other waves count, and in later rounds this wave's other briefs too.
    """
    cases = {brief.id: brief.use_case or wave.use_case for brief in wave.briefs}
    counts: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for id, case in cases.items():
        counts[case][past.counts(id)] += 1
    before = history(store, wave.draft.model, tier="draft", without=wave.name)
    known = {
        case: History(here, _what("draft", wave.draft.model, case)).joined(before.get(case))
        for case, here in counts.items()
    }
    rates: dict[tuple[str, tuple[int, int]], Rate] = {}
    for id, case in cases.items():
        key = (case, past.counts(id))
        if key not in rates:
            rates[key] = known[case].prior(own=past.counts(id))
    return {id: rates[case, past.counts(id)] for id, case in cases.items()}
