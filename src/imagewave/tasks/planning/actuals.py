"""A finished wave beside its plan: what was asked for and paid, stage by stage."""

from dataclasses import dataclass
from decimal import Decimal

from imagewave.errors import ImagewaveError
from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.planning.plan import Line, Plan


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


def check(store: Store, wave: Wave, plan: Plan) -> list[Check]:
    """The wave's plan beside what its current revision asked for and what the wave paid.

    The plan is one of fresh pictures (`fresh=True`). Imported pictures are none that it asks for.

    Raises:
        NotRun: the store knows nothing of it.
    """
    asked = query(
        store,
        "SELECT kind, count(DISTINCT request_id) AS requests,"
        " count(DISTINCT request_id) FILTER (reused) AS reused"
        " FROM requests ANTI JOIN imports USING (wave, brief, request_id)"
        " WHERE wave = ? GROUP BY kind",
        [wave.name],
    )
    if not asked:
        raise NotRun(
            f"{store.url} has nothing of the wave {wave.name!r} to compare its plan with.",
            "Run it first, or name another store with --store.",
        )
    paid = query(
        store,
        "SELECT kind, sum(cost_usd) AS usd FROM costs ANTI JOIN imports USING (request_id)"
        " WHERE wave = ? GROUP BY 1",
        [wave.name],
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
