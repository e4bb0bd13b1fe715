"""Writes a wave's report: one HTML file that holds all it shows and asks nobody for anything."""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from imagewave.storage.facts.analytics import Snapshot, UnknownWave
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.realms import NO_REAL_MONEY, Realm
from imagewave.storage.store import Store
from imagewave.tasks.reporting.cards import contact_sheet
from imagewave.words import legible, redacted

# Rows of the tables below the pictures.
_MAX_ROWS = 200

_STAGES = ("expand", "draft", "judge", "final")
_VERDICTS = (
    "delivered",
    "accepted",
    "reserve",
    "rejected",
    "refused",
    "failed",
    "missing",
    "undecided",
    "pending",
)

# The judge's scores as a reader takes them: of each, more is better.
_SCORES = {
    "score": "overall",
    "brief_fit": "fits the brief",
    "composition": "composition",
    "defects": "free of defects",
    "legibility": "legible words",
}

Row = dict[str, Any]


def write_report(store: Store, wave: str) -> str:
    """Writes `reports/<wave>.html` from the facts as they stand, over any older one.

    Returns its path in the store. Raises `UnknownWave`.
    """
    path = f"reports/{wave}.html"
    page = _page(_content(Snapshot(store), store, wave))
    store.write(path, page.encode())
    return path


def _content(facts: Snapshot, store: Store, wave: str) -> Row:
    """Everything that the template shows."""
    header = _rows(facts, "SELECT * FROM waves WHERE wave = ?", wave)
    if not header:
        known = [row["wave"] for row in _rows(facts, "SELECT wave FROM waves ORDER BY wave")]
        raise UnknownWave(wave, store, known)
    briefs = _briefs(facts, wave)
    bill = _bill(facts, wave)
    spent = sum((row["cost_usd"] for row in bill), Decimal(0))
    total = _total(briefs)
    sheet = contact_sheet(facts, store, wave)
    state = Ledger(store).state()
    return {
        "wave": header[0],
        "no_real_money": NO_REAL_MONEY if header[0]["realm"] == Realm.SANDBOX else "",
        "file": redacted(header[0]["file"]).rpartition("/")[2],
        "now": datetime.now(UTC),
        "store_url": store.url,
        "models": _models(facts, wave),
        "total": total,
        "funnel": _funnel(total),
        "bill": bill,
        "bill_total": spent,
        "per_accepted": spent / total["accepted"] if total["accepted"] else None,
        "ledger": {"captured": state.captured_for(wave), "held": state.held_for(wave)},
        "reused": _one(facts, "count(*) FROM requests WHERE reused AND wave = ?", wave),
        "briefs": briefs,
        # Jinja finds an attribute several times as fast as a key.
        "cards": [SimpleNamespace(**card) for card in sheet.cards],
        "scores": _SCORES,
        "left_out": sheet.left_out,
        "thumbless": sheet.thumbless,
        "stages": _counts(["draft", "final"], [s for c in sheet.cards for s in c["stages"]]),
        "verdicts": _counts(_VERDICTS, [card["verdict"] for card in sheet.cards]),
        "reasons": dict(Counter(r for card in sheet.cards for r in card["reasons"]).most_common()),
        **_capped(
            facts,
            "rates",
            """* FROM acceptance WHERE wave = ? AND per IN ('template', 'model', 'use_case')
            ORDER BY tier, per, rate DESC, key""",
            wave,
        ),
        **_capped(
            facts,
            "jobs",
            "* FROM jobs WHERE wave = ? ORDER BY claimed_at DESC, job_id",
            wave,
        ),
        **_capped(
            facts,
            "unanswered",
            """requests.kind, requests.brief, requests.model, status, reason, message
            FROM requests JOIN results USING (request_id)
            WHERE requests.wave = ? AND requests.kind IN ('expand', 'judge') AND status <> 'text'
            ORDER BY requests.kind, requests.brief, request_id""",
            wave,
        ),
        **_capped(
            facts,
            "findings",
            "* FROM findings WHERE wave = ? ORDER BY kind, key, detail",
            wave,
        ),
    }


def _briefs(facts: Snapshot, wave: str) -> list[Row]:
    rows = _rows(
        facts,
        """
        SELECT funnel.*, briefs.text, prices.cost_usd, prices.cost_per_accepted,
               coalesce(rounds.rounds, 0) AS rounds, coalesce(rounds.answered, 0) AS answered,
               stops.reason AS stopped, stops.detail AS advice, stops.rate_low, stops.rate_high,
               stops.chance
        FROM funnel
        JOIN briefs USING (wave, brief)
        LEFT JOIN cost_per_accepted AS prices
               ON prices.wave = funnel.wave AND prices.per = 'brief' AND prices.key = funnel.brief
        LEFT JOIN (
            SELECT requests.wave, brief, max(round) AS rounds, count(status) AS answered
            FROM requests LEFT JOIN results USING (request_id)
            WHERE requests.kind = 'draft' GROUP BY ALL
        ) AS rounds ON rounds.wave = funnel.wave AND rounds.brief = funnel.brief
        LEFT JOIN stops ON stops.wave = funnel.wave AND stops.brief = funnel.brief
        WHERE funnel.wave = ?
        ORDER BY funnel.brief
        """,
        wave,
    )
    for row in rows:
        row["acceptance"] = _share(row["accepted"], row["answered"])
        row["standing"] = _standing(row)
    return rows


def _standing(brief: Mapping[str, Any]) -> str:
    """Where a brief stands and, if it has stopped short, on what evidence."""
    rounds = f"{brief['rounds']} round" + ("" if brief["rounds"] == 1 else "s")
    if brief["final"] >= brief["want"]:
        return f"done after {rounds}"
    if brief["answered"] < brief["requested"]:
        return f"waiting for {brief['requested'] - brief['answered']} drafts"
    if not brief["requested"]:
        return "nothing asked for yet"
    if brief["accepted"] >= brief["want"]:
        return f"enough drafts after {rounds}; finals missing"
    short = (
        f"short: {brief['accepted']} of {brief['want']} accepted from {brief['requested']} drafts"
        f" in {rounds}"
    )
    if brief["stopped"] == "low acceptance":
        return (
            f"{short}, given up: between {brief['rate_low']:.0%} and {brief['rate_high']:.0%} are"
            f" accepted, a chance of {brief['chance']:.0%} of enough; {brief['advice']}"
        )
    return f"{short}; {brief['advice'] or 'change the prompt, or allow more drafts'}"


def _total(briefs: Sequence[Mapping[str, Any]]) -> Row:
    total: Row = {
        name: sum(brief[name] for brief in briefs)
        for name in (
            "want",
            "requested",
            "generated",
            "passed_screens",
            "accepted",
            "final",
        )
    }
    was_judged = any(brief["judged_ok"] is not None for brief in briefs)
    total["judged_ok"] = sum(brief["judged_ok"] or 0 for brief in briefs) if was_judged else None
    total["acceptance"] = _share(total["accepted"], sum(brief["answered"] for brief in briefs))
    return total


def _funnel(total: Mapping[str, Any]) -> list[Row]:
    """The steps from requested to final; `kept` is the share of the step before."""
    steps: list[Row] = []
    for name, column in (
        ("requested", "requested"),
        ("generated", "generated"),
        ("passed screens", "passed_screens"),
        ("judged good", "judged_ok"),
        ("accepted", "accepted"),
        ("final", "final"),
    ):
        count = total[column]
        if count is None:
            continue
        steps.append(
            {
                "name": name,
                "count": count,
                "share": _share(count, total["requested"]) or 0.0,
                "kept": _share(count, steps[-1]["count"]) if steps else None,
            }
        )
    return steps


def _bill(facts: Snapshot, wave: str) -> list[Row]:
    rows = _rows(
        facts,
        """
        SELECT kind, model, count(*) AS attempts,
               count(*) FILTER (status IN ('image', 'text')) AS answers,
               sum(cost_usd) AS cost_usd
        FROM costs WHERE wave = ? GROUP BY kind, model ORDER BY model
        """,
        wave,
    )
    return sorted(rows, key=lambda row: _STAGES.index(row["kind"]))


def _models(facts: Snapshot, wave: str) -> dict[str, list[str]]:
    rows = _rows(
        facts,
        "SELECT kind, list(DISTINCT model ORDER BY model) AS models FROM requests"
        " WHERE wave = ? GROUP BY kind",
        wave,
    )
    by_stage = {row["kind"]: row["models"] for row in rows}
    return {stage: by_stage[stage] for stage in _STAGES if stage in by_stage}


def _capped(facts: Snapshot, name: str, select: str, wave: str) -> dict[str, Any]:
    """A query's first rows as `name`, and as `<name>_left_out` how many more there are."""
    rows = _rows(facts, f"SELECT {select} LIMIT {_MAX_ROWS + 1}", wave)
    left_out = 0
    if len(rows) > _MAX_ROWS:
        rows.pop()
        left_out = _one(facts, f"count(*) AS rows FROM (SELECT {select})", wave) - len(rows)
    return {name: rows, f"{name}_left_out": left_out}


def _counts(order: Sequence[str], found: Sequence[str]) -> dict[str, int]:
    counter = Counter(found)
    return {name: counter[name] for name in order if counter[name]}


def _rows(facts: Snapshot, sql: str, *params: object) -> list[Row]:
    return facts.query(sql, params)


def _one(facts: Snapshot, select: str, *params: object) -> int:
    (row,) = facts.query(f"SELECT {select}", params)
    (count,) = row.values()
    return int(count)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _page(content: Mapping[str, Any]) -> str:
    """The template, filled in. Every value is escaped; the only script that may run is ours."""
    files = resources.files(__package__)
    script = files.joinpath("report.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Even if something slipped through the escaping, a browser would not run it, nor load it from
    # elsewhere. 'self' is for the originals that lie beside the report, which zooming shows.
    policy = (
        f"default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain,
    )
    environment.filters |= {
        "usd": _usd,
        "percent": _percent,
        "moment": _moment,
        "figure": _figure,
    }
    template = environment.from_string(files.joinpath("report_template.html").read_text("utf-8"))
    return template.render(
        content,
        policy=policy,
        style=Markup(files.joinpath("report.css").read_text("utf-8")),
        script=Markup(script),
    )


def _plain(value: object) -> object:
    """What the template writes: of words from outside, no character that a browser would obey."""
    if type(value) is not str:  # what is escaped already is ours
        return value
    # Tabs and Windows' ends of lines, which prompts have, do no harm here.
    return legible(value.replace("\r\n", "\n").replace("\t", " "), lines=True)


def _usd(value: Decimal) -> str:
    """Cents where they say enough, else as many digits as a single picture's price needs."""
    return f"${value:,.2f}" if value == 0 or value >= 10 else f"${value:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
