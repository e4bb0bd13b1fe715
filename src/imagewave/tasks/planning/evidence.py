"""What the store has measured that a plan rests on: acceptance, regeneration, refusals.

Other waves only: a wave's own past is no part of its plan.
"""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.drafting.draft import history, policy
from imagewave.tasks.drafting.oversample import Rate
from imagewave.tasks.planning.forecast import NEARLY, Case
from imagewave.tasks.planning.sample import Sample

# So many requests must have been seen before a share of them is believed.
_ENOUGH = 10


def cases_of(store: Store | None, sample: Sample, draft_model: str) -> dict[str, Case]:
    """The briefs that are simulated by use case, with what is known of each."""
    wave = sample.wave
    wants: dict[str, list[int]] = defaultdict(list)
    for brief in wave.briefs:
        wants[brief.use_case or wave.use_case].append(brief.want)
    drafts = history(store, draft_model, tier="draft", without=wave.name) if store else {}
    finals = history(store, wave.final.model, tier="final", without=wave.name) if store else {}
    nearly = _nearly(store, wave)
    return {
        use_case: Case(
            wants=np.array(numbers, np.int64),
            weights=sample.weights[use_case],
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


def billed_per_request(store: Store | None, wave: Wave, draft_model: str) -> dict[str, Decimal]:
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


def sources_of(rates: Mapping[str, Rate]) -> str:
    """Where the rates come from, each source once with its use cases' means."""
    by_source: dict[str, list[str]] = defaultdict(list)
    for name, rate in rates.items():
        low, high = rate.interval()
        by_source[rate.source].append(
            f"{name or 'no use case'} {rate.mean:.0%} ({low:.0%} to {high:.0%})"
        )
    return "; ".join(f"{', '.join(cases)}: {source}" for source, cases in by_source.items())
