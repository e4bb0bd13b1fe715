"""What there is to show of a wave in little room: counts, costs, findings, some thumbnails."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from imagewave.storage.analytics import asking
from imagewave.storage.images import image_path
from imagewave.storage.store import Store
from imagewave.tasks.screening.decode import Undecodable, decode

MAX_PICTURES = 50
MAX_ROWS = 100
_EDGE = 128  # pixels; about 4 kB each
_MAX_PIXELS = 64_000_000

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
    with asking(store) as connection:

        def rows(sql: str) -> list[Row]:
            wanted = {"wave": wave, "most": MAX_ROWS}
            parameters = {name: value for name, value in wanted.items() if f"${name}" in sql}
            cursor = connection.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        chosen = rows(_PICTURES)
        return Showcase(
            funnel=[*rows(_TOTAL), *rows(_FUNNEL)],
            bill=[*rows(_BILL), *rows(_SPENT), *rows(_PER_ACCEPTED)],
            findings=rows(_FINDINGS),
            pictures=[
                Picture(
                    caption=f"{row['brief']}, {row['tier']}, {row['decision']}", data_uri=thumbnail
                )
                for row in chosen[:MAX_PICTURES]
                if (thumbnail := _thumbnail(store, image_path(row["image"], row["format"])))
            ],
            left_out=max(0, len(chosen) - MAX_PICTURES),
        )


def _thumbnail(store: Store, path: str) -> str:
    """A data: URI; "" for what was swept or is damaged."""
    try:
        preview = decode(store.read(path), max_pixels=_MAX_PIXELS)
    except (Undecodable, FileNotFoundError):
        return ""
    picture = Image.fromarray(preview.pixels)
    picture.thumbnail((_EDGE, _EDGE), Image.Resampling.HAMMING)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getbuffer()).decode()
