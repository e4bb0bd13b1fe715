"""Orders reruns: picks the failed requests of a wave that are to be made again, and prices them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import duckdb

from imagewave.errors import ImagewaveError
from imagewave.storage import reruns, rounds
from imagewave.storage.analytics import query
from imagewave.storage.requests import Kind
from imagewave.storage.reruns import Redo, Rerun
from imagewave.storage.rounds import Ask, Round
from imagewave.storage.store import Store
from imagewave.storage.wave import Wave

FAILED = "status IN ('failed', 'missing')"
"""What is picked where nothing else is asked for."""

# What a WHERE may name: one row per request of the wave that brought no answer.
_FAILED_REQUESTS = """
SELECT * FROM (
    SELECT requests.wave, requests.brief, requests.prompt_id, requests.request_id, requests.kind,
           requests.round, requests.model, requests.about, requests.estimate_usd,
           results.status, results.failure, results.reason, results.message, results.attempt,
           briefs.text, briefs.use_case
    FROM requests
    JOIN results ON results.request_id = requests.request_id
    LEFT JOIN briefs ON briefs.wave = requests.wave AND briefs.brief = requests.brief
    WHERE requests.wave = ? AND requests.revision = ?
      AND requests.kind <> 'expand' AND results.status NOT IN ('image', 'text')
)
WHERE ({where}) ORDER BY brief, kind, request_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed request, and what making it again is estimated to cost."""

    redo: Redo
    model: str
    status: str
    reason: str
    estimate_usd: Decimal


def failures(store: Store, wave: Wave, where: str = "") -> list[Failure]:
    """The wave's requests without an answer that the condition picks; by default, what failed.

    A refused request is never sent again as it is, unless the condition names `refused`. One that
    another model has taken over is not picked.

    Raises:
        ImagewaveError: the condition is no SQL, or names what is not there.
    """
    try:
        rows = query(
            store,
            _FAILED_REQUESTS.format(where=where or FAILED),
            [wave.name, wave.revision],
        )
    except duckdb.Error as error:
        raise ImagewaveError(
            f"The condition cannot be used: {str(error).splitlines()[0]}.",
            "It is SQL over wave, brief, text, use_case, kind, model, status, failure, reason,"
            " message, attempt, round, prompt_id and request_id.",
        ) from error
    if "refused" not in where.lower():
        rows = [row for row in rows if row["status"] != "refused"]
    taken_over = _taken_over(store, wave)
    return [
        Failure(
            redo=Redo(
                kind=Kind(row["kind"]),
                brief=row["brief"],
                request_id=row["about"] if row["kind"] == Kind.JUDGE else row["request_id"],
                round=row["round"],
            ),
            model=row["model"],
            status=row["status"],
            reason=row["reason"],
            estimate_usd=row["estimate_usd"],
        )
        for row in rows
        if row["request_id"] not in taken_over
    ]


def order(store: Store, wave: Wave, where: str = "") -> Rerun | None:
    """Writes down what is to be made again; None if nothing failed.

    A rerun that is under way is gone on with, if it was asked for by the same condition.
    """
    while True:
        standing = reruns.load(store, wave.name, wave.revision)
        # Since then the wave may have ordered that drafts be replaced: that is part of it.
        asked_for = [rerun for rerun in standing if rerun.requests]
        if (
            asked_for
            and asked_for[-1].where == where
            and not reruns.is_delivered(store, wave.name, wave.revision)
        ):
            return asked_for[-1]
        picked = failures(store, wave, where)
        if not picked:
            return None
        redo = list(dict.fromkeys(failure.redo for failure in picked))
        if rerun := reruns.record(store, wave.name, wave.revision, where, redo):
            return rerun


def replace_drafts(
    store: Store, wave: Wave, standing: Sequence[Rerun], used_up: Mapping[str, int]
) -> bool:
    """Orders that the drafts that are used up be replaced; False where there is nothing to order.

    `standing` are the reruns so far. If one of them was to replace the same drafts, it brought no
    others, and the next would not either.
    """
    if not used_up or any(rerun.used_up == used_up for rerun in standing):
        return False
    reruns.record(store, wave.name, wave.revision, used_up=used_up)
    return True


def again(store: Store, wave: Wave, rerun: Rerun, kind: Kind) -> list[Ask]:
    """The drafts or finals that a rerun makes again or has judged again."""
    wanted = {(redo.brief, redo.request_id) for redo in rerun.requests}
    found: dict[tuple[str, str], Ask] = {}
    for round in _rounds(store, wave, kind):
        for ask in rounds.load(store, round) or ():
            if (ask.brief, ask.request.id) in wanted:
                found[ask.brief, ask.request.id] = replace(ask, reused=False)
    return list(found.values())


def _taken_over(store: Store, wave: Wave) -> set[str]:
    """Requests whose jobs were given up, and which another model was asked for instead."""
    found: set[str] = set()
    for kind in (Kind.DRAFT, Kind.FINAL):
        for round in _rounds(store, wave, kind):
            outcome = None if round.fallback else rounds.outcome(store, round)
            if outcome and rounds.load(store, replace(round, fallback=True)):
                found |= outcome.given_up
    return found


def _rounds(store: Store, wave: Wave, kind: Kind) -> Sequence[Round]:
    """All rounds of the kind that were ever planned, fallbacks after their own."""
    planned: list[Round] = []
    number = 1
    while True:
        round = Round(wave=wave.name, revision=wave.revision, kind=kind, number=number)
        if rounds.load(store, round) is None:
            return planned
        planned += [round, replace(round, fallback=True)]
        number += 1
