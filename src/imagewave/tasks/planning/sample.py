"""The briefs of a large wave that its plan simulates: of those that want as many, a sample."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imagewave.storage.waves.briefs import Brief
from imagewave.storage.waves.wave import Wave

SIMULATED = 4000
"""Briefs of a wave that are simulated, about; of a smaller one all are."""

# Of those that want as many, fewer tell little of the rest.
_LEAST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The wave with the briefs that are simulated, and how many each stands for, by use case."""

    wave: Wave
    weights: Mapping[str, NDArray[np.float64]]


def sample_of(wave: Wave) -> Sample:
    """About `SIMULATED` of the wave's briefs: evenly spaced ones of each use case and count."""
    share = min(1.0, SIMULATED / max(1, len(wave.briefs)))
    alike: dict[tuple[str, int], list[Brief]] = defaultdict(list)
    for brief in wave.briefs:
        alike[brief.use_case or wave.use_case, brief.want if share < 1 else 0].append(brief)
    briefs: list[Brief] = []
    weights: dict[str, list[float]] = defaultdict(list)
    for (use_case, _), group in alike.items():
        number = min(len(group), max(_LEAST, math.ceil(len(group) * share)))
        briefs += [group[place * len(group) // number] for place in range(number)]
        weights[use_case] += [len(group) / number] * number
    return Sample(
        wave=Wave(**{**dict(wave), "briefs": tuple(briefs)}),
        weights={use_case: np.array(each) for use_case, each in weights.items()},
    )
