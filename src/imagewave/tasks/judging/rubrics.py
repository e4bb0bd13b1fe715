"""Rubrics as data: what the judge looks for in a picture for each use, and what each score counts.

`rubrics.toml` holds the words. A use case that it does not know is judged by the general rubric.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """The instructions for one use: what each score means, and the weights of the composite."""

    text: str
    weights: Mapping[str, float]


@cache
def rubric(use_case: str, scores: tuple[str, ...]) -> Rubric:
    """The rubric of a use case, limited to the scores that are asked for."""
    table = _table()
    use = table["use"].get(use_case, {})
    lines = [f"{name}: {table['scores'][name]}" for name in scores]
    look = use.get("look", "")
    weights = table["weights"] | use.get("weights", {})
    return Rubric(
        text="\n".join([*([look] if look else []), *lines]),
        weights={name: float(weights[name]) for name in scores},
    )


def use_cases() -> tuple[str, ...]:
    """The use cases that have a rubric of their own."""
    return tuple(_table()["use"])


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath("rubrics.toml").read_text("utf-8"))
