"""What providers let through per tier, and how long their lanes take: data, with its sources."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from imagewave.storage.catalog import CatalogError, Model, Source
from imagewave.storage.catalog.plugins import catalogs


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A limit by lane or provider ("": whichever), for some models ((): all).

    `tiers` maps a tier to what it holds, of `what`; empty where that is not published.
    """

    what: str
    tiers: Mapping[str, int]
    source: Source
    lane: str = ""
    provider: str = ""
    models: tuple[str, ...] = ()

    def holds_for(self, model: Model, lane: str) -> bool:
        """Whether requests of this model by this lane count."""
        return (
            self.lane in ("", lane)
            and self.provider in ("", model.provider)
            and (not self.models or model.id in self.models)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneTime:
    """Seconds that a lane's provider aims at for a job, and after which it ends; or of one call.

    `typical_s` is what nearly all jobs take, by the source `typical`.
    """

    lane: str
    source: Source
    aim_s: int | None = None
    limit_s: int | None = None
    call_s: int | None = None
    typical_s: int | None = None
    typical: Source | None = None


@dataclass(frozen=True, slots=True)
class _Limits:
    quotas: tuple[Quota, ...]
    times: Mapping[str, LaneTime] = field(default_factory=dict)


def quotas_of(model: Model, lane: str) -> list[Quota]:
    """The limits that requests of this model by this lane meet."""
    return [quota for quota in _limits().quotas if quota.holds_for(model, lane)]


def time_of(lane: str) -> LaneTime | None:
    """How long the lane takes; None where nobody says."""
    return _limits().times.get(lane)


@cache
def _limits() -> _Limits:
    text = resources.files(__package__).joinpath("limits.toml").read_text("utf-8")
    quotas: list[Quota] = []
    times: dict[str, LaneTime] = {}
    for place, document in ({"limits.toml": tomllib.loads(text)} | catalogs()).items():
        try:
            quotas += map(_quota, document.get("quota", ()))
            times |= {row["lane"]: _time(row) for row in document.get("time", ())}
        except (TypeError, KeyError) as error:
            raise CatalogError(f"{place}: a limit is wrong: {error}.") from error
    return _Limits(tuple(quotas), times)


def _quota(row: Mapping[str, Any]) -> Quota:
    source, facts = _source(row, "quota")
    return Quota(**{**facts, "models": tuple(facts.get("models", ()))}, source=source)


def _time(row: Mapping[str, Any]) -> LaneTime:
    source, facts = _source(row, "time")
    if told := facts.pop("typical", None):
        facts["typical"], typical = _source(told, "typical")
        facts["typical_s"] = typical["seconds"]
    return LaneTime(source=source, **facts)


def _source(row: Mapping[str, Any], facts: str) -> tuple[Source, dict[str, Any]]:
    """The row's source, and the rest of the row."""
    rest = dict(row)
    named = {key: rest.pop(key) for key in ("reference", "grade", "date")}
    return Source(facts=facts, **named), rest
