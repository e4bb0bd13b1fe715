"""The cards of a report's contact sheet: one per draft or final that a brief asked for."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from imagewave.storage.facts.analytics import Snapshot
from imagewave.storage.images import image_path
from imagewave.storage.store import Store
from imagewave.tasks.reporting.thumbnails import thumbnail
from imagewave.words import legible

# So that the page stays quick in a browser and light in the mail.
MAX_CARDS = 2_000
MAX_THUMBNAILS = 600
# Thumbnails of this many of the best pictures are large enough to be looked at alone.
LARGE_THUMBNAILS = 60

# Longest edges in pixels.
_LARGE = 720
_SMALL = 320
_QUALITY = 76

# Every draft and final of the wave with all that is known of it. `turn` goes round the briefs and
# reasons, so that a sample taken in its order shows each of them.
_CARDS = """
WITH asked AS (
    SELECT * FROM requests WHERE wave = $wave AND kind IN ('draft', 'final')
), prices AS (
    SELECT request_id, sum(cost_usd) FILTER (wave = $wave) AS cost_usd, sum(cost_usd) AS paid_usd,
           count(*) AS attempts
    FROM attempts SEMI JOIN asked USING (request_id)
    GROUP BY request_id
), screened AS (
    SELECT brief, request_id,
           list({check_name: check_name, value: value, threshold: threshold, detail: detail}
                ORDER BY check_name) FILTER (verdict = 'fail') AS failed
    FROM screens WHERE wave = $wave
    GROUP BY brief, request_id
), judged AS (
    SELECT brief, request_id,
           arg_max({verdict: verdict, score: score, brief_fit: brief_fit,
                    composition: composition, defects: defects, legibility: legibility,
                    reason: reason, model: model}, recorded_at) AS judged
    FROM judgements WHERE wave = $wave
    GROUP BY brief, request_id
), decided AS (
    SELECT brief, request_id,
           arg_max({decision: decision, rank: rank, score: score, reason: reason},
                   (tier = 'final', round)) AS decided,
           bool_or(tier = 'final') AS is_final
    FROM decisions WHERE wave = $wave
    GROUP BY brief, request_id
), delivered AS (
    SELECT brief, request_id, min(asset) AS asset FROM assets WHERE wave = $wave
    GROUP BY brief, request_id
), cards AS (
    SELECT asked.brief, asked.request_id, asked.kind, asked.round, asked.model, asked.sample,
           asked.seed, asked.aspect_ratio, asked.size, asked.reused,
           nullif(asked.reference, '') AS draft_image, coalesce(briefs.text, '') AS brief_text,
           coalesce(json_extract_string(asked.request, '$.prompt'), prompts.text, '') AS prompt,
           CASE WHEN results.status = 'image' THEN results.image END AS image, results.format,
           results.status, results.failure, nullif(results.reason, '') AS reason,
           nullif(results.message, '') AS message,
           coalesce(prices.cost_usd, 0) AS cost_usd, coalesce(prices.paid_usd, 0) AS paid_usd,
           coalesce(prices.attempts, 0) AS attempts,
           images.width, images.height, nullif(images.error, '') AS error,
           coalesce(failed, []) AS failed, judged, delivered.asset,
           decided.decision, decided.rank, decided.score AS decision_score,
           nullif(decided.reason, '') AS decision_reason,
           asked.kind = 'final' OR coalesce(is_final, false) OR asset IS NOT NULL AS is_final,
           CASE WHEN asset IS NOT NULL THEN 'delivered'
                WHEN results.status IS NULL THEN 'pending'
                WHEN results.status <> 'image' THEN results.status
                WHEN decided IS NOT NULL THEN decided.decision
                WHEN len(failed) > 0 OR judged.verdict = 'fail' THEN 'rejected'
                ELSE 'undecided' END AS verdict
    FROM asked
    LEFT JOIN briefs ON briefs.wave = asked.wave AND briefs.brief = asked.brief
    LEFT JOIN prompts ON prompts.wave = asked.wave AND prompts.brief = asked.brief
                     AND prompts.prompt_id = asked.prompt_id
    LEFT JOIN results ON results.request_id = asked.request_id
    LEFT JOIN images ON images.image = results.image
    LEFT JOIN prices ON prices.request_id = asked.request_id
    LEFT JOIN screened ON screened.brief = asked.brief
                      AND screened.request_id = asked.request_id
    LEFT JOIN judged ON judged.brief = asked.brief AND judged.request_id = asked.request_id
    LEFT JOIN decided ON decided.brief = asked.brief AND decided.request_id = asked.request_id
    LEFT JOIN delivered ON delivered.brief = asked.brief
                       AND delivered.request_id = asked.request_id
), turns AS (
    SELECT *, list_position(['delivered', 'accepted', 'reserve'], verdict) AS importance,
           row_number() OVER (
               PARTITION BY verdict, brief, coalesce(failed[1].check_name, reason, '')
               ORDER BY request_id
           ) AS turn
    FROM cards
)
SELECT * FROM turns
ORDER BY coalesce(importance, 9), CASE WHEN importance IS NULL THEN turn END, brief,
         is_final DESC, rank NULLS LAST, request_id
LIMIT $most
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The cards, best first, each a mapping that the template reads; and what is not shown."""

    cards: list[Mapping[str, Any]]
    left_out: int
    thumbless: int


def contact_sheet(facts: Snapshot, store: Store, wave: str) -> Sheet:
    """At most `MAX_CARDS` cards of a wave's current revision, `MAX_THUMBNAILS` with a picture.

    What was delivered, accepted or kept in reserve comes first; the rest is an even sample over
    briefs and reasons.
    """
    cards = facts.query(_CARDS, {"wave": wave, "most": MAX_CARDS})
    (all_cards,) = facts.query(
        "SELECT count(*) AS count FROM requests WHERE wave = ? AND kind IN ('draft', 'final')",
        [wave],
    )
    for card in cards:
        _complete(card)
    # Without a size it was no picture, or took its decoder down.
    pictured = [card for card in cards if card["image"] and card["width"]]
    for card, shown in zip(pictured, _thumbnails(store, pictured[:MAX_THUMBNAILS]), strict=False):
        card["thumbnail"] = shown
    return Sheet(
        cards=list(cards),
        left_out=all_cards["count"] - len(cards),
        thumbless=max(0, len(pictured) - MAX_THUMBNAILS),
    )


def _complete(card: dict[str, Any]) -> None:
    """Adds what is easier said here than in SQL."""
    stages = {"draft": card["kind"] == "draft", "final": card["is_final"]}
    card["stages"] = [stage for stage, holds in stages.items() if holds]
    card["reasons"] = [legible(reason) for reason in _reasons(card)]
    card["headline"] = _headline(card)
    judged = card["judged"]
    score = card["decision_score"]
    card["score"] = judged["score"] if score is None and judged else score
    card["ratio"] = _ratio(card)
    card["thumbnail"] = None
    card["links"] = _links(card)
    if card["reused"]:
        card["cost_usd"] = Decimal(0)


def _links(card: Mapping[str, Any]) -> dict[str, str]:
    """The card's files by what they are, the best first, relative to `reports/`."""
    paths = {
        "delivered file": card["asset"],
        "original": card["image"] and image_path(card["image"], card["format"]),
    }
    return {name: f"../{quote(path)}" for name, path in paths.items() if path}


def _reasons(card: Mapping[str, Any]) -> list[str]:
    """Short names of why this picture is not wanted, for the filter."""
    if card["status"] != "image":
        return [card["reason"] or card["failure"] or card["verdict"]]
    reasons = [f"screen: {check['check_name']}" for check in card["failed"]]
    if card["judged"] and card["judged"]["verdict"] != "pass":
        reasons.append("judge" if card["judged"]["verdict"] == "fail" else "judge: no answer")
    if card["verdict"] == "rejected" and not reasons:
        reasons.append("not chosen")
    return reasons


def _headline(card: Mapping[str, Any]) -> str:
    """Why, in one line; empty for a picture that is wanted."""
    if card["verdict"] in ("delivered", "accepted", "reserve", "undecided"):
        return ""
    return ", ".join(reason.removeprefix("screen: ") for reason in card["reasons"])


def _ratio(card: Mapping[str, Any]) -> float:
    """Width to height: of the picture, else as asked for; within what a page can show."""
    if card["width"] and card["height"]:
        return min(3.0, max(0.5, float(card["width"] / card["height"])))
    across, _, down = (card["aspect_ratio"] or "").partition(":")
    if across.isdecimal() and down.isdecimal() and int(down):
        # Where there is nothing to see, a small card says it as well.
        return min(1.25, max(0.5, int(across) / int(down)))
    return 1.0


def _thumbnails(store: Store, cards: Iterable[Mapping[str, Any]]) -> list[str | None]:
    """A data: URI per card; None where the picture cannot be shown. Memory: a few decodes."""

    def one(numbered: tuple[int, Mapping[str, Any]]) -> str | None:
        number, card = numbered
        edge = _LARGE if number < LARGE_THUMBNAILS else _SMALL
        return thumbnail(store, image_path(card["image"], card["format"]), edge, quality=_QUALITY)

    # Decoders release the GIL.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(one, enumerate(cards)))
