"""Which briefs got fewer pictures than they want, and why: for `run` and for `status`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imagewave.cli.terminal.advice import command
from imagewave.storage.facts.analytics import query
from imagewave.storage.realms import NO_REAL_MONEY, Realm
from imagewave.storage.rounds.reruns import is_delivered
from imagewave.storage.store import Store
from imagewave.words import counted

if TYPE_CHECKING:
    from imagewave.tasks.rerun import Failure, Price

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
    """What may help those briefs, with the price of each command: it picks for them alone."""
    again = _again(store, wave)
    causes = {cause for row in short for cause in row["causes"]}
    stops = {row["stopped"] for row in short}
    ways = []
    if failed := again.get("failed"):
        ways.append(f"try {failed}")
    if stops & {"low acceptance", "refused"} or causes & {"screens", "judge", "refused"}:
        ways.append("change the prompts, or the thresholds that their pictures fail")
    if refused := again.get("refused"):
        ways.append(f"send what was refused again as it is by {refused}")
    if rejected := again.get("rejected"):
        ways.append(f"draw what was rejected once more by {rejected}")
    # Where nothing passes, more of the same is no remedy.
    if any(row["accepted"] and row["stopped"] != "low acceptance" for row in short) or not ways:
        ways.append("ask for more drafts ([draft] max_oversample and max_rounds)")
    return f"To get them, {', or '.join(ways)}."


def _again(store: Store, wave: str) -> dict[str, str]:
    """The commands that make requests of short briefs again, by what became of these."""
    from imagewave.tasks.rerun import failures, price, remembered

    (row,) = query(store, "SELECT revision FROM waves WHERE wave = ?", [wave])
    known = remembered(store, wave)
    by_fate: dict[str, list[Failure]] = {}
    for failure in failures(store, wave, row["revision"], _OF_SHORT):
        fate = failure.status if failure.status in _FLAGS else "failed"
        by_fate.setdefault(fate, []).append(failure)
    return {
        fate: f"{command(store, f'rerun {wave}{_FLAGS[fate]}')}"
        f" ({in_words(picked, price(picked, known), store.realm)})"
        for fate, picked in by_fate.items()
    }


_OF_SHORT = "short AND status IN ('failed', 'missing', 'refused', 'rejected')"
_FLAGS = {"failed": "", "refused": " --refused", "rejected": " --rejected"}


def in_words(picked: Sequence["Failure"], price: "Price", realm: Realm | None) -> str:
    """How many requests a rerun in that realm makes, and what it is estimated to cost."""
    words = f"{counted(len(picked), 'request')}, about ${price.requests:.4f}"
    note = f"; {NO_REAL_MONEY}" if realm is Realm.SANDBOX else ""
    if price.all is not None:
        return f"{words}, at most ${price.all:.4f} with judging and finals{note}"
    return f"{words}, judging and finals extra{note}"


def _reason(row: dict[str, Any]) -> dict[str, str]:
    stopped = row["stopped"] if row["stopped"] != "enough" else None
    parts = (f"no more drafts: {stopped}" if stopped else "", row["rejection"] or "")
    # A final that was lost says more than why its drafts ended.
    if parts[1].startswith("final "):
        parts = (parts[1], parts[0])
    return {"reason": "; ".join(part for part in parts if part) or "too few drafts were good"}
