"""Which of a provider's limits a wave would meet, by the tier of the account."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from imagewave.storage.catalog import Model, Source
from imagewave.storage.catalog.limits import quotas_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """What a stage needs of a limit, if all of it is sent at once: rather too much than too little.

    `tiers` is what each tier holds ({}: not published), `too_small` those that hold less. Nothing
    is lost in them: jobs wait until there is room.
    """

    stage: str
    model: str
    what: str
    need: int
    tiers: Mapping[str, int]
    too_small: tuple[str, ...]
    source: Source


def pressures(
    stage: str, model: Model, lane: str, *, requests: int, tokens_each: int, usd: Decimal
) -> list[Pressure]:
    """What so many requests, of so many input tokens each and at that cost, need of the limits."""
    needs = {
        "tokens queued": requests * tokens_each,
        "requests queued": requests,
        "USD in 10 minutes": -int(-usd // 1),
    }
    return [
        Pressure(
            stage=stage,
            model=model.id,
            what=quota.what,
            need=needs[quota.what],
            tiers=quota.tiers,
            too_small=tuple(
                tier for tier, holds in quota.tiers.items() if holds < needs[quota.what]
            ),
            source=quota.source,
        )
        for quota in quotas_of(model, lane)
        if requests
    ]
