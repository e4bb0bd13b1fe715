"""What there is to show of a wave in little room: counts, costs, findings, some thumbnails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagewave.storage.facts.analytics import Snapshot
from imagewave.storage.images import image_path
from imagewave.storage.store import Store
from imagewave.tasks.reporting.thumbnails import thumbnail

MAX_PICTURES = 50
MAX_ROWS = 100
_EDGE = 128  # pixels; about 4 kB each
_QUALITY = 70

_FUNNEL = """
SELECT brief, want, requested, generated, passed_screens, judged_ok, accepted, final
FROM funnel WHERE wave = $wave ORDER BY final >= want, brief LIMIT $most
"""
_TOTAL = """
SELECT 'all ' || count(*) || ' briefs' AS brief, sum(want)::BIGINT AS want,
       sum(requested)::BIGINT AS requested, sum(generated)::BIGINT AS generated,
       sum(passed_screens)::BIGINT AS passed_screens, sum(judged_ok)::BIGINT AS judged_ok,
       sum(accepted)::BIGINT AS accepted, sum(final)::BIGINT AS final
FROM funnel WHERE wave = $wave
"""
_BILL = """
SELECT kind, model, count(*) AS requests, sum(cost_usd)::DECIMAL(18, 4)::VARCHAR AS usd
FROM costs WHERE wave = $wave GROUP BY kind, model ORDER BY min(recorded_at)
"""
_SPENT = """
SELECT 'total' AS kind, '' AS model, count(*) AS requests,
       coalesce(sum(cost_usd), 0)::DECIMAL(18, 4)::VARCHAR AS usd
FROM costs WHERE wave = $wave
"""
_PER_ACCEPTED = """
SELECT 'per accepted image' AS kind, '' AS model, accepted AS requests,
       coalesce(cost_per_accepted::DECIMAL(18, 4)::VARCHAR, '') AS usd
FROM cost_per_accepted WHERE wave = $wave AND per = 'wave'
"""
_FINDINGS = """
SELECT kind, count(*) AS times, min(left(key, 80)) AS example, min(left(detail, 200)) AS detail
FROM findings WHERE wave = $wave GROUP BY kind ORDER BY times DESC, kind LIMIT $most
"""
# The delivered, then the accepted, then the best of the rest.
_PICTURES = """
SELECT decisions.brief, decisions.tier, decisions.decision, decisions.image, results.format
FROM decisions JOIN results USING (request_id)
WHERE decisions.wave = $wave AND decisions.decision <> 'rejected' AND results.status = 'image'
QUALIFY row_number() OVER (PARTITION BY decisions.image ORDER BY decisions.tier = 'final' DESC) = 1
ORDER BY decisions.tier = 'final' DESC, decisions.decision = 'accepted' DESC, decisions.rank,
         decisions.brief
"""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A thumbnail and what it shows."""

    caption: str
    data_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Showcase:
    """All of it; `left_out` counts the pictures that are not shown."""

    funnel: Sequence[Row]
    bill: Sequence[Row]
    findings: Sequence[Row]
    pictures: Sequence[Picture]
    left_out: int


def showcase(store: Store, wave: str) -> Showcase:
    """What the facts now say of the wave; never more than a few hundred kilobytes."""
    facts = Snapshot(store)

    def rows(sql: str) -> Sequence[Row]:
        wanted = {"wave": wave, "most": MAX_ROWS}
        parameters = {name: value for name, value in wanted.items() if f"${name}" in sql}
        return facts.query(sql, parameters)

    chosen = rows(_PICTURES)
    return Showcase(
        funnel=[*rows(_TOTAL), *rows(_FUNNEL)],
        bill=[*rows(_BILL), *rows(_SPENT), *rows(_PER_ACCEPTED)],
        findings=rows(_FINDINGS),
        pictures=[
            Picture(caption=f"{row['brief']}, {row['tier']}, {row['decision']}", data_uri=shown)
            for row in chosen[:MAX_PICTURES]
            if (shown := _thumbnail(store, row))
        ],
        left_out=max(0, len(chosen) - MAX_PICTURES),
    )


def _thumbnail(store: Store, row: Row) -> str | None:
    return thumbnail(store, image_path(row["image"], row["format"]), _EDGE, quality=_QUALITY)
