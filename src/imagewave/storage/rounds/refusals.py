"""What models have turned down for its content: nobody sends it again before its words change.

A request's words are its prompt, its instructions and the pictures that it shows; its size, its
seed and its number among the samples are not. Words that some sample was answered for are no longer
turned down, but a sample that was refused by itself is not sent again either.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from imagewave.storage.facts import analytics, facts
from imagewave.storage.requests import FailureClass, Request, Status, canonical_json
from imagewave.storage.store import Store

# Most models have refused nothing, and words are long.
REFUSING_MODELS = (
    "SELECT DISTINCT model FROM raw_results"
    " WHERE status = 'refused' AND model IN (SELECT unnest(?::VARCHAR[]))"
)

# The view `refusals` has the words; a request's own refusals need no words to be found.
REFUSED = """
WITH asked AS (
    SELECT unnest(?::VARCHAR[]) AS id, unnest(?::VARCHAR[]) AS model,
           unnest(?::VARCHAR[]) AS prompt, unnest(?::VARCHAR[]) AS system,
           unnest(?::VARCHAR[]) AS shown
), itself AS (
    SELECT request_id, arg_max(reason, recorded_at) FILTER (status = 'refused') AS reason
    FROM raw_results
    WHERE request_id IN (SELECT id FROM asked)
    GROUP BY request_id
    HAVING bool_or(status = 'refused') AND NOT bool_or(status IN ('image', 'text'))
)
SELECT id, coalesce(itself.request_id, refusals.request_id) AS first,
       coalesce(itself.reason, refusals.reason) AS reason
FROM asked
LEFT JOIN itself ON itself.request_id = asked.id
LEFT JOIN refusals ON refusals.model = asked.model AND refusals.prompt = asked.prompt
                  AND refusals.system = asked.system AND refusals.shown = asked.shown
WHERE itself.request_id IS NOT NULL OR refusals.request_id IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is not worth sending: `request_id` was turned down with the same words."""

    request_id: str
    reason: str


def refused(store: Store, requests: Iterable[Request]) -> dict[str, Refusal]:
    """Those of the requests that were turned down before, by id, in whatever wave that was."""
    asked = {request.id: request for request in requests}
    strict = analytics.query(
        store, REFUSING_MODELS, [sorted({request.model for request in asked.values()})]
    )
    models = {row["model"] for row in strict}
    asked = {id: request for id, request in asked.items() if request.model in models}
    if not asked:
        return {}
    rows = analytics.query(
        store,
        REFUSED,
        [
            list(asked),
            [request.model for request in asked.values()],
            [request.prompt for request in asked.values()],
            [request.system for request in asked.values()],
            [canonical_json(request.references).decode() for request in asked.values()],
        ],
    )
    return {row["id"]: Refusal(request_id=row["first"], reason=row["reason"]) for row in rows}


def record(store: Store, wave: str, part: str, requests: Iterable[tuple[Request, Refusal]]) -> None:
    """Answers the requests with what was said of the same words before, at no cost.

    A request that was itself refused has that answer already.
    """
    rows = [
        {
            "request_id": request.id,
            "job_id": f"refused-{part}",
            "wave": wave,
            "kind": request.kind,
            "model": request.model,
            "attempt": 0,
            "status": Status.REFUSED,
            "failure": FailureClass.REFUSED,
            "reason": refusal.reason,
            "message": f"not sent: turned down in the same words as request {refusal.request_id}",
            "image": "",
            "format": "",
            "text": "",
            "prompt_tokens": None,
            "image_tokens": None,
            "text_tokens": None,
            "thought_tokens": None,
            "reference_tokens": None,
            "cost_usd": Decimal(0),
        }
        for request, refusal in requests
        if request.id != refusal.request_id
    ]
    if rows:
        facts.append(store, "results", f"refused-{part}", rows)
