"""What would bring the pictures that a plan lacks: more drafts of a brief, or more rounds of them.

The wave is simulated with other limits, the least change first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from imagewave.storage.waves.wave import Draft, Wave
from imagewave.tasks.drafting.oversample import Policy
from imagewave.tasks.planning.forecast import Case, Spread, simulate

# Of few simulations, so that half of many simulations deliver as much.
_SURELY = 0.4
_SIMULATIONS = 100
_SIMULATIONS_OF_MANY = 10
# Factors of the drafts that a brief may take, and rounds that are added.
_STEPS = ((1.0, 1), (1.5, 0), (1.5, 1), (2.0, 0), (2.0, 2), (3.0, 2), (4.0, 3), (6.0, 4), (8.0, 6))
_MOST_DRAFTS, _MOST_ROUNDS = 100, 20


def keys_for_more(
    wave: Wave, cases: Mapping[str, Case], now: Spread[int], *, finals: bool, seed: int
) -> dict[str, float] | None:
    """Keys of `[draft]` with the values of the least change that delivers all that is wanted.

    That is, in most simulations. Where no change does, the one that delivers most; None where none
    delivers more than `now`.
    """
    wanted = sum(case.total(case.wants) for case in cases.values())
    if now.middle >= wanted:
        return None
    best, most = None, now.middle
    for keys in _changes(wave.draft):
        delivered = _delivered(cases, keys, finals=finals, seed=seed)
        if delivered > most:
            best, most = keys, delivered
        if delivered >= wanted:
            break
    return best


def _changes(draft: Draft) -> Iterator[dict[str, float]]:
    for factor, rounds in _STEPS:
        keys: dict[str, float] = {}
        drafts = min(_MOST_DRAFTS, draft.max_oversample * factor)
        if drafts > draft.max_oversample:
            keys["max_oversample"] = int(drafts) if drafts == int(drafts) else drafts
        if rounds and draft.max_rounds < _MOST_ROUNDS:
            keys["max_rounds"] = min(_MOST_ROUNDS, draft.max_rounds + rounds)
        if keys:
            yield keys


def _delivered(
    cases: Mapping[str, Case], keys: Mapping[str, float], *, finals: bool, seed: int
) -> int:
    """The pictures that a little more than half of all simulations deliver at the least."""
    briefs = sum(len(case.wants) for case in cases.values())
    rng = np.random.default_rng(seed)
    changed = [replace(case, policy=_with(case.policy, keys)) for case in cases.values()]
    simulations = sorted(
        sum(case.total(simulate(case, rng, finals=finals).delivered) for case in changed)
        for _ in range(_SIMULATIONS if briefs <= 1000 else _SIMULATIONS_OF_MANY)
    )
    return simulations[int(_SURELY * len(simulations))]


def _with(policy: Policy, keys: Mapping[str, float]) -> Policy:
    return replace(
        policy,
        max_oversample=keys.get("max_oversample", policy.max_oversample),
        max_rounds=int(keys.get("max_rounds", policy.max_rounds)),
    )
