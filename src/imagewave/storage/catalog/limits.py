"""What providers let through per tier, and how long their lanes take: data, with its sources."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from imagewave.storage.catalog import Model, Source


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
    rows = tomllib.loads(text)
    quotas = []
    for row in rows["quota"]:
        source = _source(row, "quota")
        quotas.append(Quota(**{**row, "models": tuple(row.get("models", ()))}, source=source))
    times = {}
    for row in rows["time"]:
        typical = row.pop("typical", None)
        if typical:
            row |= {"typical_s": typical.pop("seconds"), "typical": _source(typical, "typical")}
        times[row["lane"]] = LaneTime(source=_source(row, "time"), **row)
    return _Limits(tuple(quotas), times)


def _source(row: dict[str, object], facts: str) -> Source:
    """Takes the row's source out of it."""
    return Source(facts=facts, **{key: row.pop(key) for key in ("reference", "grade", "date")})  # type: ignore[arg-type]
