"""Which briefs got fewer pictures than they want, and why: for `run` and for `status`."""

from typing import Any

from imagewave.storage.analytics import query
from imagewave.storage.reruns import is_delivered
from imagewave.storage.store import Store

# What was rejected last, a final before any draft: it was nearer to being delivered.
_SHORT = """
WITH rejections AS (
    SELECT wave, brief,
           arg_max(tier || ' ' || reason, (tier = 'final', recorded_at, request_id)) AS rejection
    FROM decisions
    WHERE decision = 'rejected'
    GROUP BY wave, brief
)
SELECT wave, waves.revision, brief, funnel.want, funnel.accepted, final, requested AS tried,
       stops.reason AS stopped, stops.detail, round(chance, 2) AS chance, rejection
FROM funnel
JOIN waves USING (wave)
LEFT JOIN stops USING (wave, brief)
LEFT JOIN rejections USING (wave, brief)
WHERE final < funnel.want AND ? IN ('', wave)
ORDER BY wave, brief
"""


def short_briefs(store: Store, wave: str = "") -> list[dict[str, Any]]:
    """The briefs that lack pictures and get no more of them; "" asks of every wave.

    That is, of a delivered wave those with fewer finals than wanted, and of any other those for
    which no more drafts are made. Keys: wave, brief, want, accepted, final, tried, stopped, detail,
    chance, and reason, which is in words.
    """
    rows = query(store, _SHORT, [wave])
    revisions = {row["wave"]: row["revision"] for row in rows}
    delivered = {name for name in revisions if is_delivered(store, name, revisions[name])}
    return [
        {**{key: row[key] for key in row if key not in ("revision", "rejection")}, **_reason(row)}
        for row in rows
        if row["wave"] in delivered or row["stopped"] not in (None, "enough")
    ]


def way_out(wave: str, short: list[dict[str, Any]]) -> str:
    """What may help those briefs: only refusals and failures can be made again."""
    more = "ask for more drafts ([draft] max_oversample and max_rounds)"
    reasons = " ".join(row["reason"] for row in short)
    if "refused" in reasons:
        return f"Try `imagewave rerun {wave} --where \"status = 'refused'\"`, or {more}."
    if "failed" in reasons or "no result" in reasons:
        return f"Try `imagewave rerun {wave}`, or {more}."
    return f"To get them, {more}."


def _reason(row: dict[str, Any]) -> dict[str, str]:
    stopped = row["stopped"] if row["stopped"] != "enough" else None
    parts = (f"no more drafts: {stopped}" if stopped else "", row["rejection"] or "")
    # A final that was lost says more than why its drafts ended.
    if parts[1].startswith("final "):
        parts = (parts[1], parts[0])
    return {"reason": "; ".join(part for part in parts if part) or "too few drafts were good"}
