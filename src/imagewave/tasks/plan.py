"""What a wave will cost: the requests it may take, priced stage by stage. Spends nothing.

Rates come from the store's history where there is any, and each says where it comes from; the
requests are those of many plays of the real policy (`forecast`), so that a plan is a range and not
a wish. What other waves answered already is not subtracted: a plan is for fresh pictures.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean

import numpy as np

from imagewave.errors import ImagewaveError
from imagewave.storage.analytics import query
from imagewave.storage.catalog import require_alive
from imagewave.storage.catalog.prices import UnknownPrice
from imagewave.storage.store import Store
from imagewave.storage.wave import Wave
from imagewave.tasks.draft import history, policy
from imagewave.tasks.forecast import NEARLY, Case, Course, Spread, play
from imagewave.tasks.oversample import Rate
from imagewave.tasks.quotes import Quote, cheapest_use, drafts_of, finals_of, per_call

RUNS = 400
"""Times that a wave is played; one of more than a thousand briefs, whose chances even out, less."""

# So many requests must have been seen before a share of them is believed.
_ENOUGH = 10
_NANO = Decimal("1e-9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One stage. `rate` is the share of its pictures expected to pass, `source` why (or "").

    `usd_per_call` is per request: refusals, which cost nothing, and regeneration are in it.
    """

    stage: str
    model: str
    size: str
    requests: Spread[int]
    usd_per_call: Decimal
    usd: Spread[Decimal]
    rate: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a wave is expected to take and to bring.

    `delivered` counts the pictures, of `wanted`. Each of the `rounds` (of drafts and of finals)
    waits for the provider, and once more for a judge: `waits` in all, each of which took
    `seconds_per_wait` before (the median; None: no job of the lane was seen). `interactive_usd` is
    the median of the same calls outside of batches; None where there is no such price. `routing`
    says why these models, where that was asked.
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
    warnings: tuple[str, ...]
    routing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """The plan with another model for the drafts, or the reason why there is none."""

    model: str
    plan: Plan | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A stage's plan beside what it took. `reused` of the requests were answered before: free."""

    line: Line
    requests: int
    reused: int
    usd: Decimal

    @property
    def worth(self) -> Decimal:
        """What it would have cost without what was answered before."""
        return self.usd + self.reused * self.line.usd_per_call

    @property
    def within(self) -> bool:
        """Whether that lies in the planned range."""
        return self.line.usd.low <= self.worth <= self.line.usd.high


class NotRun(ImagewaveError):
    """The store has nothing of this wave."""


def plan_wave(
    store: Store | None, wave: Wave, *, drafts: Quote | None = None, seed: int = 0
) -> Plan:
    """The wave's plan; the same wave, history and `seed` give the same. Its own past is left out.

    `drafts` stands in for the wave's model of drafts. None is a store without history.

    Raises:
        UnknownPrice: a stage's price is not known.
    """
    quote = drafts or drafts_of(wave)
    cases = _cases(store, wave, quote.model.id)
    rng = np.random.default_rng(seed)
    with_finals = wave.final.carry != "accept"
    runs = RUNS if len(wave.briefs) <= 1000 else RUNS // 4
    plays = [[play(case, rng, finals=with_finals) for case in cases.values()] for _ in range(runs)]
    prices = per_call(wave, quote)
    billed = _billed(store, wave, quote.model.id)
    counts = {stage: [_requests(stage, wave, courses) for courses in plays] for stage in prices}
    totals = _totals(counts, prices, billed)
    delivered = [sum(int(course.delivered.sum()) for course in courses) for courses in plays]
    rounds = [max(course.rounds for course in courses) for courses in plays]
    mean = Decimal(fmean(delivered))
    return Plan(
        wave=wave.name,
        lane=quote.lane,
        briefs=len(wave.briefs),
        wanted=sum(brief.want for brief in wave.briefs),
        lines=tuple(
            _line(stage, wave, quote, cases, counts[stage], price * billed.get(stage, Decimal(1)))
            for stage, price in prices.items()
        ),
        usd=Spread.of(totals),
        delivered=Spread.of(delivered),
        rounds=Spread.of(rounds),
        waits=Spread.of([n * (1 + wave.judge.asks_model) + ("expand" in prices) for n in rounds]),
        seconds_per_wait=_seconds_per_wait(store, wave, quote.lane),
        usd_per_delivered=(
            (sum(totals, Decimal(0)) / runs / mean).quantize(_NANO) if mean else None
        ),
        interactive_usd=_interactive(wave, quote, counts, billed),
        warnings=_warnings(wave, quote, Spread.of(totals)),
    )


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


def check(store: Store, wave: Wave, plan: Plan) -> list[Check]:
    """The wave's plan beside what its current revision asked for and what the wave paid.

    Raises:
        NotRun: the store knows nothing of it.
    """
    asked = query(
        store,
        "SELECT kind, count(DISTINCT request_id) AS requests,"
        " count(DISTINCT request_id) FILTER (reused) AS reused"
        " FROM requests WHERE wave = ? GROUP BY kind",
        [wave.name],
    )
    if not asked:
        raise NotRun(
            f"{store.url} has nothing of the wave {wave.name!r} to compare its plan with.",
            "Run it first, or name another store with --store.",
        )
    paid = query(
        store, "SELECT kind, sum(cost_usd) AS usd FROM costs WHERE wave = ? GROUP BY 1", [wave.name]
    )
    requests = {row["kind"]: row for row in asked}
    usd = {row["kind"]: row["usd"] for row in paid}
    return [
        Check(
            line=line,
            requests=requests.get(line.stage, {}).get("requests", 0),
            reused=requests.get(line.stage, {}).get("reused", 0),
            usd=Decimal(usd.get(line.stage, 0)),
        )
        for line in plan.lines
    ]


def _cases(store: Store | None, wave: Wave, draft_model: str) -> dict[str, Case]:
    """The wave's briefs by use case, with what is known of each."""
    wants: dict[str, list[int]] = defaultdict(list)
    for brief in wave.briefs:
        wants[brief.use_case or wave.use_case].append(brief.want)
    drafts = history(store, draft_model, tier="draft", without=wave.name) if store else {}
    finals = history(store, wave.final.model, tier="final", without=wave.name) if store else {}
    nearly = _nearly(store, wave)
    return {
        use_case: Case(
            wants=np.array(numbers, np.int64),
            policy=policy(wave.draft),
            drafts=drafts.get(use_case),
            finals=finals.get(use_case),
            nearly=(
                nearly.get(("draft", use_case), NEARLY),
                nearly.get(("final", use_case), NEARLY),
            ),
        )
        for use_case, numbers in wants.items()
    }


def _nearly(store: Store | None, wave: Wave) -> dict[tuple[str, str], float]:
    """Of what was rejected, the share that the screens had let pass, by tier and use case."""
    if store is None:
        return {}
    rows = query(
        store,
        "SELECT tier, use_case, sum(passed_screens - passed) / sum(tried - passed) AS share"
        " FROM trials WHERE wave <> ? GROUP BY ALL HAVING sum(tried - passed) >= ?",
        [wave.name, _ENOUGH],
    )
    return {(row["tier"], row["use_case"]): min(1.0, max(0.0, row["share"])) for row in rows}


def _billed(store: Store | None, wave: Wave, draft_model: str) -> dict[str, Decimal]:
    """Calls billed per request: more where some are regenerated, fewer where some are refused."""
    models = {
        "expand": wave.expand.model,
        "draft": draft_model,
        "judge": wave.judge.model,
        "final": wave.final.model,
    }
    if store is None:
        return {}
    rows = query(
        store,
        "SELECT kind, model, count(*) FILTER (cost_usd > 0) AS billed,"
        " count(DISTINCT (wave, request_id)) AS requests"
        " FROM costs WHERE wave <> ? GROUP BY kind, model",
        [wave.name],
    )
    return {
        row["kind"]: Decimal(row["billed"]) / row["requests"]
        for row in rows
        if models[row["kind"]] == row["model"] and row["requests"] >= _ENOUGH
    }


def _seconds_per_wait(store: Store | None, wave: Wave, lane: str) -> float | None:
    """How long a job of the lane usually was with its provider."""
    if store is None:
        return None
    (row,) = query(
        store,
        "SELECT median(epoch(settled_at - accepted_at)) AS seconds FROM jobs"
        " WHERE event = 'settled' AND lane = ? AND wave <> ?",
        [lane, wave.name],
    )
    seconds: float | None = row["seconds"]
    return seconds


def _requests(stage: str, wave: Wave, courses: Sequence[Course]) -> int:
    """How many requests of a stage one play of the wave took."""
    if stage == "expand":
        return len(wave.briefs)
    if stage == "draft":
        return sum(int(course.drafts.sum()) for course in courses)
    if stage == "final":
        return sum(int(course.finals.sum()) for course in courses)
    finals = int(wave.final.judge)
    return sum(
        int(course.drafts_judged.sum() + finals * course.finals_judged.sum()) for course in courses
    )


def _totals(
    counts: Mapping[str, Sequence[int]],
    prices: Mapping[str, Decimal],
    billed: Mapping[str, Decimal],
) -> list[Decimal]:
    """What each play cost, all these stages together."""
    each = {stage: prices[stage] * billed.get(stage, Decimal(1)) for stage in counts}
    return [
        sum(
            (n * each[stage] for n, stage in zip(numbers, counts, strict=True)), Decimal(0)
        ).quantize(_NANO)
        for numbers in zip(*counts.values(), strict=True)
    ]


def _line(
    stage: str,
    wave: Wave,
    drafts: Quote,
    cases: Mapping[str, Case],
    requests: Sequence[int],
    usd_per_call: Decimal,
) -> Line:
    model, size, rate, source = "", "", None, ""
    if stage == "expand":
        model = wave.expand.model
    elif stage == "judge":
        model = wave.judge.model
    else:
        quote = drafts if stage == "draft" else finals_of(wave)
        model, size = quote.model.id, " ".join(filter(None, (quote.size, quote.quality)))
        rates = {
            name: case.draft_rate if stage == "draft" else case.final_rate
            for name, case in cases.items()
        }
        wants = {name: int(case.wants.sum()) for name, case in cases.items()}
        rate = sum(rates[name].mean * wants[name] for name in cases) / sum(wants.values())
        source = _sources(rates)
    return Line(
        stage=stage,
        model=model,
        size=size,
        requests=Spread.of(requests),
        usd_per_call=usd_per_call.quantize(_NANO),
        usd=Spread.of([(n * usd_per_call).quantize(_NANO) for n in requests]),
        rate=rate,
        source=source,
    )


def _sources(rates: Mapping[str, Rate]) -> str:
    """Where the rates come from, each source once with its use cases' means."""
    by_source: dict[str, list[str]] = defaultdict(list)
    for name, rate in rates.items():
        low, high = rate.interval()
        by_source[rate.source].append(
            f"{name or 'no use case'} {rate.mean:.0%} ({low:.0%} to {high:.0%})"
        )
    return "; ".join(f"{', '.join(cases)}: {source}" for source, cases in by_source.items())


def _interactive(
    wave: Wave,
    drafts: Quote,
    counts: Mapping[str, Sequence[int]],
    billed: Mapping[str, Decimal],
) -> Decimal | None:
    try:
        prices = per_call(wave, drafts, lane="interactive")
    except UnknownPrice:
        return None
    return Spread.of(_totals(counts, prices, billed)).middle


def _warnings(wave: Wave, drafts: Quote, usd: Spread[Decimal]) -> tuple[str, ...]:
    """What a user should know before spending: the wave's own, retirement, and the budget."""
    warnings = dict.fromkeys(wave.warnings)
    if retiring := require_alive(drafts.model):
        warnings[retiring] = None
    budget = wave.budget.wave_usd
    if budget is not None and usd.high > budget:
        when = "probably" if usd.middle > budget else "may"
        stops = "stops" if when == "probably" else "stop"
        warnings[
            f"The wave {when} {stops} at its budget of ${budget}: 1 in 10 plays cost over"
            f" ${usd.high:.2f}."
        ] = None
    return tuple(warnings)
