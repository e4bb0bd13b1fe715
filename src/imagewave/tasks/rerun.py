"""Orders reruns: picks the requests of a wave that are to be made again, and prices them.

What failed is picked by itself, of briefs that lack pictures. What was refused, and drafts that
were rejected, are picked only by a condition that names them: the former brings the same answer
again, the latter asks for further samples beyond what the wave file allows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import duckdb
import orjson
from pydantic import ValidationError

from imagewave.errors import ImagewaveError
from imagewave.storage.catalog.prices import UnknownPrice
from imagewave.storage.facts.analytics import query
from imagewave.storage.facts.questions import ask_where
from imagewave.storage.requests import Kind
from imagewave.storage.rounds import reruns, rounds
from imagewave.storage.rounds.reruns import Redo, Rerun
from imagewave.storage.rounds.rounds import Ask, Round
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.drafting.draft import seed
from imagewave.tasks.planning.call_costs import drafts_of, per_call

# What a WHERE may name: one row per request of the wave that brought no answer, and per draft whose
# picture was rejected. A verdict that the judge did not give is made again by asking the judge.
_FAILED_REQUESTS = """
SELECT * FROM (
    SELECT requests.wave, requests.brief, requests.prompt_id, requests.request_id, requests.kind,
           requests.round, requests.model, requests.about, requests.estimate_usd,
           CASE WHEN results.status = 'image' THEN 'rejected' ELSE results.status END AS status,
           results.failure,
           CASE WHEN results.status = 'image' THEN decisions.reason ELSE results.reason END
               AS reason,
           results.message, results.attempt, briefs.text, briefs.use_case,
           greatest(funnel.want - funnel.final, 0) AS lacks, lacks > 0 AS short
    FROM requests
    JOIN results ON results.request_id = requests.request_id
    JOIN funnel ON funnel.wave = requests.wave AND funnel.brief = requests.brief
    JOIN briefs ON briefs.wave = requests.wave AND briefs.brief = requests.brief
    LEFT JOIN decisions ON decisions.wave = requests.wave AND decisions.brief = requests.brief
                       AND decisions.request_id = requests.request_id
                       AND decisions.tier = requests.kind
    WHERE requests.wave = ? AND requests.revision = ? AND requests.kind <> 'expand'
      AND (results.status NOT IN ('image', 'text')
           OR (requests.kind = 'draft' AND results.status = 'image'
               AND decisions.decision = 'rejected'
               AND NOT regexp_matches(decisions.reason, '^(not judged|judge failed)')
               AND requests.request_id NOT IN (SELECT request_id FROM imports)))
)
WHERE ({where}) ORDER BY brief, kind, request_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that is to be made again, and what that is estimated to cost.

    `lacks` is how many pictures its brief is short of.
    """

    redo: Redo
    model: str
    status: str
    reason: str
    estimate_usd: Decimal
    lacks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a rerun is estimated to cost, in USD: its `requests`, and at most so much in `all`.

    That is with the judging and the finals of what comes of them; None where nobody can tell.
    """

    requests: Decimal
    all: Decimal | None


def condition(*, briefs: Sequence[str] = (), refused: bool = False, rejected: bool = False) -> str:
    """What picks what failed, or was refused or rejected instead; "" is the default.

    Of these briefs; where none are named, of all that lack pictures.
    """
    if not (briefs or refused or rejected):
        return ""
    statuses = ["refused"] * refused + ["rejected"] * rejected or ["failed", "missing"]
    of = f"brief IN ({_literals(briefs)})" if briefs else "short"
    return f"{of} AND status IN ({_literals(statuses)})"


def _literals(texts: Sequence[str]) -> str:
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts)


_DEFAULT = f"short AND status IN ({_literals(['failed', 'missing'])})"


def failures(store: Store, wave: str, revision: str, where: str = "") -> list[Failure]:
    """The requests of a wave's revision that the condition picks to be made again.

    By default, what failed of briefs that lack pictures. A refused request is never sent again as
    it is, unless the condition names `refused`, and a rejected draft is no reason for another one,
    unless it names `rejected`: then those of the last round that had any are drawn anew. A request
    that another model has taken over is not picked.

    Raises:
        ImagewaveError: the condition is no SQL, or names what is not there.
    """
    try:
        rows = ask_where(store, _FAILED_REQUESTS, where or _DEFAULT, [wave, revision])
    except duckdb.Error as error:
        raise ImagewaveError(
            f"The condition cannot be used: {str(error).splitlines()[0]}.",
            "It is SQL over wave, brief, text, use_case, short, lacks, kind, model, status,"
            " failure, reason, message, attempt, round, prompt_id and request_id.",
        ) from error
    for status in ("refused", "rejected"):
        if status not in where.lower():
            rows = [row for row in rows if row["status"] != status]
    # As many further drafts as the last round asked for: else each rerun would double their number.
    last: Counter[str] = Counter()
    for row in rows:
        if row["status"] == "rejected":
            last[row["brief"]] = max(last[row["brief"]], row["round"])
    rows = [r for r in rows if r["status"] != "rejected" or r["round"] == last[r["brief"]]]
    taken_over = _taken_over(store, wave, revision) if rows else set()
    return [
        Failure(
            redo=Redo(
                kind=Kind(row["kind"]),
                brief=row["brief"],
                request_id=row["about"] if row["kind"] == Kind.JUDGE else row["request_id"],
                round=row["round"],
                anew=row["status"] == "rejected",
            ),
            model=row["model"],
            status=row["status"],
            reason=row["reason"],
            estimate_usd=row["estimate_usd"],
            lacks=row["lacks"],
        )
        for row in rows
        if row["request_id"] not in taken_over
    ]


def price(picked: Sequence[Failure], wave: Wave | None) -> Price:
    """What making these again is estimated to cost; `wave` prices what follows.

    Each picture is judged, and each that its brief lacks is rendered as a final, and judged again.
    """
    requests = sum((failure.estimate_usd for failure in picked), Decimal(0))
    if wave is None:
        return Price(requests=requests, all=None)
    try:
        each = per_call(wave, drafts_of(wave))
    except UnknownPrice:
        return Price(requests=requests, all=None)
    judge, final = each.get("judge", Decimal(0)), each.get("final", Decimal(0))
    judged = Counter(failure.redo.kind for failure in picked)
    all = requests + judge * (judged[Kind.DRAFT] + judged[Kind.FINAL] * wave.final.judge)
    hopeful = Counter(f.redo.brief for f in picked if f.redo.kind is not Kind.FINAL)
    lacks = {failure.redo.brief: failure.lacks for failure in picked}
    finals = sum(min(count, lacks[brief]) for brief, count in hopeful.items())
    return Price(requests=requests, all=all + finals * (final + judge * wave.final.judge))


def remembered(store: Store, wave: str) -> Wave | None:
    """The wave as far as its price goes, from the facts; None if they are of another version."""
    (row,) = query(store, "SELECT spec FROM waves WHERE wave = ?", [wave])
    briefs = query(
        store,
        "SELECT brief AS id, text, want, aspect_ratio, use_case FROM briefs WHERE wave = ?",
        [wave],
    )
    try:
        return Wave.model_validate({**orjson.loads(row["spec"]), "briefs": briefs})
    except ValidationError:
        return None


def order(store: Store, wave: Wave, where: str = "") -> Rerun | None:
    """Writes down what is to be made again; None if nothing failed.

    A rerun that is under way is gone on with, if it was asked for by the same condition.
    """
    while True:
        if rerun := under_way(store, wave, where):
            return rerun
        picked = failures(store, wave.name, wave.revision, where)
        if not picked:
            return None
        redo = list(dict.fromkeys(failure.redo for failure in picked))
        if rerun := reruns.record(store, wave.name, wave.revision, where, redo):
            return rerun


def under_way(store: Store, wave: Wave, where: str) -> Rerun | None:
    """The latest rerun, if it was asked for by this condition and has not come to its end."""
    # Since then the wave may have ordered that drafts be replaced: that is part of it.
    asked_for = [r for r in reruns.load(store, wave.name, wave.revision) if r.requests]
    if not asked_for or asked_for[-1].where != where:
        return None
    return None if reruns.is_delivered(store, wave.name, wave.revision) else asked_for[-1]


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
    """The drafts or finals that a rerun makes again or has judged again.

    One that is to be drawn anew is the next sample of its prompt.
    """
    wanted = {(redo.brief, redo.request_id): redo.anew for redo in rerun.requests}
    found: dict[tuple[str, str], Ask] = {}
    samples: Counter[tuple[str, str]] = Counter()
    for round in _rounds(store, wave.name, wave.revision, kind):
        for ask in rounds.load(store, round) or ():
            prompt = (ask.brief, ask.prompt_id)
            samples[prompt] = max(samples[prompt], ask.request.sample + 1)
            if (ask.brief, ask.request.id) in wanted:
                found[ask.brief, ask.request.id] = replace(ask, reused=False)
    for (brief, id), ask in found.items():
        if wanted[brief, id]:
            sample = samples[brief, ask.prompt_id]
            samples[brief, ask.prompt_id] += 1
            further = replace(ask.request, sample=sample, seed=seed(wave, ask.prompt_id, sample))
            found[brief, id] = replace(ask, request=further)
    return list(found.values())


def _taken_over(store: Store, wave: str, revision: str) -> set[str]:
    """Requests whose jobs were given up, and which another model was asked for instead."""
    found: set[str] = set()
    for kind in (Kind.DRAFT, Kind.FINAL):
        for round in _rounds(store, wave, revision, kind):
            outcome = None if round.fallback else rounds.outcome(store, round)
            if outcome and rounds.load(store, replace(round, fallback=True)):
                found |= outcome.given_up
    return found


def _rounds(store: Store, wave: str, revision: str, kind: Kind) -> Sequence[Round]:
    """All rounds of the kind that were ever planned, fallbacks after their own."""
    planned: list[Round] = []
    number = 1
    while True:
        round = Round(wave=wave, revision=revision, kind=kind, number=number)
        if rounds.load(store, round) is None:
            return planned
        planned += [round, replace(round, fallback=True)]
        number += 1
