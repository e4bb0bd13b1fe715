"""Which briefs got fewer pictures than they want, and why: for `run` and for `status`."""

from typing import Any

from imagewave.cli.commands import command
from imagewave.storage.analytics import query
from imagewave.storage.reruns import is_delivered
from imagewave.storage.store import Store

# What was rejected last, a final before any draft: it was nearer to being delivered.
_SHORT = """
WITH rejections AS (
    SELECT wave, brief,
           arg_max(tier || ' ' || reason, (tier = 'final', recorded_at, request_id)) AS rejection,
           list(DISTINCT split_part(reason, ':', 1)) AS causes
    FROM decisions
    WHERE decision = 'rejected'
    GROUP BY wave, brief
)
SELECT wave, waves.revision, brief, funnel.want, funnel.accepted, final, requested AS tried,
       stops.reason AS stopped, stops.detail, round(chance, 2) AS chance, rejection,
       coalesce(causes, []) AS causes
FROM funnel
JOIN waves USING (wave)
LEFT JOIN stops USING (wave, brief)
LEFT JOIN rejections USING (wave, brief)
WHERE final < funnel.want AND ? IN ('', wave)
ORDER BY wave, brief
"""


# Causes of rejections, as the facts spell them, that `rerun` picks without being told to.
_FAILURES = {"failed", "missing", "no result", "judge failed"}


def short_briefs(store: Store, wave: str = "") -> list[dict[str, Any]]:
    """The briefs that lack pictures and get no more of them; "" asks of every wave.

    That is, of a delivered wave those with fewer finals than wanted, and of any other those for
    which no more drafts are made. Keys: wave, brief, want, accepted, final, tried, stopped, detail,
    chance, reason, which is in words, and causes: all that pictures were rejected for.
    """
    rows = query(store, _SHORT, [wave])
    revisions = {row["wave"]: row["revision"] for row in rows}
    delivered = {name for name in revisions if is_delivered(store, name, revisions[name])}
    return [
        {**{key: row[key] for key in row if key not in ("revision", "rejection")}, **_reason(row)}
        for row in rows
        if row["wave"] in delivered or row["stopped"] not in (None, "enough")
    ]


def way_out(store: Store, wave: str, short: list[dict[str, Any]]) -> str:
    """What may help those briefs: failures and refusals can be made again, the rest can be changed.

    A stop is called `refused` where no prompt is left, and what turned the prompts down may have
    been failures as well; what can be made again follows from the pictures' own causes.
    """
    causes = {cause for row in short for cause in row["causes"]}
    stops = {row["stopped"] for row in short}
    ways = []
    if causes & _FAILURES:
        ways.append(f"try {command(store, f'rerun {wave}')}")
    elif "refused" in causes:
        again = f"rerun {wave} --where \"status = 'refused'\""
        ways.append(f"try {command(store, again)}")
    if stops & {"low acceptance", "refused"} or causes & {"screens", "judge"}:
        ways.append("change the prompts, or the thresholds that their pictures fail")
    # Where nothing passes, more of the same is no remedy.
    if any(row["accepted"] and row["stopped"] != "low acceptance" for row in short) or not ways:
        ways.append("ask for more drafts ([draft] max_oversample and max_rounds)")
    return f"To get them, {', or '.join(ways)}."


def _reason(row: dict[str, Any]) -> dict[str, str]:
    stopped = row["stopped"] if row["stopped"] != "enough" else None
    parts = (f"no more drafts: {stopped}" if stopped else "", row["rejection"] or "")
    # A final that was lost says more than why its drafts ended.
    if parts[1].startswith("final "):
        parts = (parts[1], parts[0])
    return {"reason": "; ".join(part for part in parts if part) or "too few drafts were good"}
