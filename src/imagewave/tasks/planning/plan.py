"""What a wave will cost: the requests it may take, priced stage by stage. Spends nothing.

Rates come from the store's history where there is any, and each says where it comes from; the
requests are those of many simulations of the real policy (`forecast`), so that a plan is a range
and not a wish. What the store has answered already costs nothing, and is told apart.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from statistics import fmean

import numpy as np

from imagewave.errors import ImagewaveError
from imagewave.storage.catalog import find_model, require_alive
from imagewave.storage.catalog.prices import UnknownPrice
from imagewave.storage.realms import Realm
from imagewave.storage.rounds.reruns import is_delivered
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.drafting.imports import waiting
from imagewave.tasks.planning.answered import Answered, find_answered, refused_briefs
from imagewave.tasks.planning.call_costs import (
    Quote,
    cheapest_use,
    drafts_of,
    finals_of,
    input_tokens,
    lane_of,
    per_call,
)
from imagewave.tasks.planning.counts import Counts
from imagewave.tasks.planning.durations import Duration, duration, seconds_per_wait
from imagewave.tasks.planning.evidence import billed_per_request, cases_of, sources_of
from imagewave.tasks.planning.forecast import Case, Spread, simulate
from imagewave.tasks.planning.gpu_breakeven import OwnGpu, own_gpu
from imagewave.tasks.planning.rate_limits import Pressure, pressures
from imagewave.tasks.planning.remedies import keys_for_more
from imagewave.tasks.planning.sample import sample_of

RUNS = 400
"""Times that a wave is simulated; fewer for more than a thousand briefs, whose chances even out."""

_NANO = Decimal("1e-9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One stage. `rate` is the share of its pictures expected to pass, `source` why (or "").

    `free` of the `requests` are answered in the store already, and cost nothing. `usd_per_call` is
    per request: refusals, which cost nothing, and regeneration are in it. Requests and `usd` have
    the mean of all simulations in the middle, which add up to the plan's total, between percentiles
    of the stage by itself, which do not.
    """

    stage: str
    model: str
    lane: str
    size: str
    requests: Spread[float]
    free: Spread[float]
    usd_per_call: Decimal
    usd: Spread[Decimal]
    time: Duration
    rate: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a wave is expected to take and to bring.

    `delivered` counts the pictures, of `wanted`. Each of the `rounds` (of drafts and of finals)
    waits for the provider, and once more for a judge: `waits` in all, each of which took
    `seconds_per_wait` before (the median; None: no job of the lane was seen). `interactive_usd` is
    the mean of the same calls outside of batches; None where there is no such price. `imported`
    pictures wait to be looked at, each of which may save a draft. `delivered_already`: this very
    wave is, and asks for nothing when it is run again. `routing` says why these models, where that
    was asked. `refused` are the briefs that nothing is asked for, with the reason: the model of
    drafts has turned down their words before. `realm` is that of the history; None without any.
    `remedy` would bring more of what is wanted, where half of all simulations bring less.
    """

    wave: str
    lane: str
    briefs: int
    wanted: int
    lines: tuple[Line, ...]
    usd: Spread[Decimal]
    delivered: Spread[int]
    rounds: Spread[int]
    waits: Spread[int]
    seconds_per_wait: float | None
    usd_per_delivered: Decimal | None
    interactive_usd: Decimal | None
    quotas: tuple[Pressure, ...]
    own_gpu: OwnGpu | None
    imported: int
    delivered_already: bool
    warnings: tuple[str, ...]
    routing: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    realm: Realm | None = None
    remedy: "Remedy | None" = None

    @property
    def expected_s(self) -> float | None:
        """Seconds that the stages take one after the other; None where one is not known."""
        each = [line.time.expected_s for line in self.lines]
        return None if None in each else sum(s for s in each if s is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """Keys of `[draft]` with values that deliver more, and what the wave brings and costs then."""

    keys: Mapping[str, float]
    delivered: Spread[int]
    usd: Spread[Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """The plan with another model for the drafts, or the reason why there is none."""

    model: str
    plan: Plan | None
    problem: str = ""


def plan_wave(
    store: Store | None,
    wave: Wave,
    *,
    drafts: Quote | None = None,
    seed: int = 0,
    fresh: bool = False,
    advise: bool = False,
) -> Plan:
    """The wave's plan; the same wave, store and `seed` give the same.

    `drafts` stands in for the wave's model of drafts. `fresh`: as if nothing was answered yet.
    `advise` looks for a remedy where not all that is wanted would be delivered.
    None is a store without history.

    Raises:
        UnknownPrice: a stage's price is not known.
    """
    quote = drafts or drafts_of(wave)
    whole = _drawn_by(wave, quote) if drafts else wave
    refused = {} if fresh or store is None else refused_briefs(store, whole)
    left = _without(wave, refused)
    sample = sample_of(left)
    # What a call costs depends on the words that are sent; where none are, on those that might be.
    priced = left if left.briefs else wave
    asked = _drawn_by(sample.wave, quote) if drafts else sample.wave
    cases = cases_of(store, sample, quote.model.id)
    rng = np.random.default_rng(seed)
    with_finals = wave.final.carry != "accept"
    runs = RUNS if len(wave.briefs) <= 1000 else RUNS // 4
    simulations = [
        {name: simulate(case, rng, finals=with_finals) for name, case in cases.items()}
        for _ in range(runs)
    ]
    prices = per_call(priced, quote)
    billed = billed_per_request(store, wave, quote.model.id)
    each = {stage: price * billed.get(stage, Decimal(1)) for stage, price in prices.items()}
    answered = Answered() if fresh or store is None else find_answered(store, asked)
    counts = Counts(asked, cases, list(prices), simulations, answered)
    lines = tuple(_line(store, wave, stage, quote, cases, counts, each[stage]) for stage in prices)
    total = Spread.around(
        sum((line.usd.middle for line in lines), Decimal(0)),
        [counts.usd(each, run).quantize(_NANO) for run in range(runs)],
    )
    rounds = [
        max((simulated.rounds for simulated in simulation.values()), default=0)
        for simulation in simulations
    ]
    delivered = [
        sum(cases[name].total(simulated.delivered) for name, simulated in simulation.items())
        for simulation in simulations
    ]
    mean = Decimal(fmean(delivered))
    draft = next(line for line in lines if line.stage == "draft")
    spread = Spread.of(delivered)
    found = None
    if advise and (keys := keys_for_more(left, cases, spread, finals=with_finals, seed=seed)):
        richer = wave.model_copy(update={"draft": wave.draft.model_copy(update=keys)})
        then = plan_wave(store, richer, drafts=drafts, seed=seed, fresh=fresh)
        found = Remedy(keys=keys, delivered=then.delivered, usd=then.usd)
    return Plan(
        wave=wave.name,
        lane=quote.lane,
        briefs=len(wave.briefs),
        wanted=sum(brief.want for brief in wave.briefs),
        lines=lines,
        usd=total,
        delivered=spread,
        rounds=Spread.of(rounds),
        waits=Spread.of([n * (1 + wave.judge.asks_model) + ("expand" in prices) for n in rounds]),
        seconds_per_wait=seconds_per_wait(store, wave.name, quote.lane),
        usd_per_delivered=(total.middle / mean).quantize(_NANO) if mean else None,
        interactive_usd=_interactive(priced, quote, counts, billed),
        quotas=_quotas(wave, lines),
        own_gpu=own_gpu(
            wave, quote, each["draft"], round(draft.requests.middle - draft.free.middle)
        ),
        imported=sum(waiting(store, wave).values()) if store else 0,
        delivered_already=store is not None and is_delivered(store, wave.name, wave.revision),
        warnings=_warnings(wave, quote, total),
        refused=refused,
        realm=store.realm if store else None,
        remedy=found,
    )


def _without(wave: Wave, briefs: Collection[str]) -> Wave:
    left = tuple(brief for brief in wave.briefs if brief.id not in briefs)
    return Wave(**{**dict(wave), "briefs": left})


def compare(store: Store | None, wave: Wave, models: Sequence[str]) -> list[Alternative]:
    """The wave's plan with each of these models for its drafts, at its least size and quality."""
    found = []
    for name in models:
        try:
            quote = cheapest_use(name, wave)
            plan = plan_wave(store, wave, drafts=quote)
            found.append(Alternative(model=quote.model.id, plan=plan))
        except ImagewaveError as error:
            found.append(Alternative(model=name, plan=None, problem=str(error)))
    return found


def _drawn_by(wave: Wave, quote: Quote) -> Wave:
    """The wave with other drafts."""
    table = wave.draft.model_copy(
        update={
            "model": quote.model.id,
            "size": quote.size,
            "quality": quote.quality,
            "thinking": quote.thinking,
            "steps": quote.steps or quote.model.steps,
        }
    )
    return wave.model_copy(update={"draft": table})


def _line(
    store: Store | None,
    wave: Wave,
    stage: str,
    drafts: Quote,
    cases: Mapping[str, Case],
    counts: Counts,
    usd_per_call: Decimal,
) -> Line:
    quote, rate, source = None, None, ""
    if stage in ("draft", "final"):
        quote = drafts if stage == "draft" else finals_of(wave)
        rates = {
            name: case.draft_rate if stage == "draft" else case.final_rate
            for name, case in cases.items()
        }
        wants = {name: case.total(case.wants) for name, case in cases.items()}
        if cases:
            rate = sum(rates[name].mean * wants[name] for name in cases) / sum(wants.values())
        source = sources_of(rates)
    text = wave.judge.model if stage == "judge" else wave.expand.model
    model = quote.model if quote else find_model(text)
    lane = quote.lane if quote else lane_of(text, wave)
    runs = range(len(counts.rounds))
    requests = _around_mean(counts.asked[stage])
    free = _around_mean(counts.free[stage])
    paid = [(counts.paid(stage, run) * usd_per_call).quantize(_NANO) for run in runs]
    return Line(
        stage=stage,
        model=model.id,
        lane=lane,
        size=" ".join(filter(None, (quote.size, quote.quality))) if quote else "",
        requests=requests,
        free=free,
        usd_per_call=usd_per_call.quantize(_NANO),
        usd=Spread.around(counts.mean_usd(stage, usd_per_call), paid),
        time=duration(
            store,
            wave.name,
            lane,
            model,
            size=quote.size if quote else None,
            steps=quote.steps if quote else None,
            waits=_waits(stage, wave, counts),
            requests=requests.middle - free.middle,
        ),
        rate=rate,
        source=source,
    )


def _around_mean(numbers: Sequence[int]) -> Spread[float]:
    return Spread.around(round(fmean(numbers), 2), numbers)


def _waits(stage: str, wave: Wave, counts: Counts) -> int:
    """Rounds of the stage in the mean simulation, one at the least."""
    if stage == "expand":
        return 1
    drafts = max(1, round(fmean(drafts for drafts, _ in counts.rounds)))
    finals = max(1, round(fmean(finals for _, finals in counts.rounds)))
    return {"draft": drafts, "final": finals, "judge": drafts + finals * wave.final.judge}[stage]


def _quotas(wave: Wave, lines: Sequence[Line]) -> tuple[Pressure, ...]:
    tokens = input_tokens(wave)
    return tuple(
        pressure
        for line in lines
        for pressure in pressures(
            line.stage,
            find_model(line.model),
            line.lane,
            requests=math.ceil(line.requests.high - line.free.high),
            tokens_each=tokens.get(line.stage, 0),
            usd=line.usd.high,
        )
    )


def _interactive(
    wave: Wave,
    drafts: Quote,
    counts: Counts,
    billed: Mapping[str, Decimal],
) -> Decimal | None:
    try:
        prices = per_call(wave, drafts, lane="interactive")
    except UnknownPrice:
        return None
    each = {stage: price * billed.get(stage, Decimal(1)) for stage, price in prices.items()}
    return sum((counts.mean_usd(stage, price) for stage, price in each.items()), Decimal(0))


def _warnings(wave: Wave, drafts: Quote, usd: Spread[Decimal]) -> tuple[str, ...]:
    """What a user should know before spending: the wave's own, retirement, and the budget."""
    warnings = dict.fromkeys(wave.warnings)
    if retiring := require_alive(drafts.model):
        warnings[retiring] = None
    budget = wave.budget.wave_usd
    if budget is not None and usd.high > budget:
        when = "probably" if usd.middle > budget else "may"
        stops = "stops" if when == "probably" else "stop"
        enough = usd.high.quantize(Decimal("0.01"), ROUND_CEILING)
        warnings[
            f"The wave {when} {stops} at its budget of ${budget}: 1 in 10 simulations cost over"
            f" ${usd.high:.2f}. [budget] wave_usd = {enough} is enough for the others."
        ] = None
    return tuple(warnings)
