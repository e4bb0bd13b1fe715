"""Holds a round's pictures against the wave's thresholds, and finds near-duplicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagewave.killpoints import reached
from imagewave.storage import facts
from imagewave.storage.analytics import query
from imagewave.storage.catalog import find_model
from imagewave.storage.rounds import Answer, Ask, Round
from imagewave.storage.store import Store
from imagewave.storage.wave import Wave
from imagewave.tasks.screening.checks import Verdict, check
from imagewave.tasks.screening.duplicates import group_duplicates
from imagewave.tasks.screening.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """What the checks of a round said, by (brief, request id); `failed` names the checks."""

    passed: set[tuple[str, str]]
    failed: Mapping[tuple[str, str], tuple[str, ...]]


def screen(
    store: Store,
    wave: Wave,
    round: Round,
    asks: Sequence[Ask],
    answers: Mapping[str, Answer],
) -> Screened:
    """Records every check of every picture of the round, once."""
    standing = facts.read(store, "screens", round.part)
    if standing is None:
        rows = _verdicts(store, wave, round, asks, answers)
        reached("screen.before_facts")
        facts.append(store, "screens", round.part, rows)
        standing = facts.read(store, "screens", round.part)
        assert standing is not None
    failed: dict[tuple[str, str], tuple[str, ...]] = {}
    passed = set()
    for row in standing:
        key = (row["brief"], row["request_id"])
        passed.add(key)
        if row["verdict"] == "fail":
            failed[key] = (*failed.get(key, ()), row["check_name"])
    return Screened(passed=passed - failed.keys(), failed=failed)


def _verdicts(
    store: Store,
    wave: Wave,
    round: Round,
    asks: Sequence[Ask],
    answers: Mapping[str, Answer],
) -> list[dict[str, object]]:
    thresholds = wave.screen
    pictures = [
        (ask, answers[ask.request.id])
        for ask in asks
        if ask.request.id in answers and answers[ask.request.id].status == "image"
    ]
    measured = _metrics(store, {answer.image for _, answer in pictures})
    rows: list[dict[str, object]] = []
    good: list[tuple[Ask, Answer, Metrics]] = []
    for ask, answer in pictures:
        metrics, mime = measured[answer.image]
        model = find_model(ask.request.model)
        size = ask.request.size or model.default_size or ""
        verdicts = check(
            metrics,
            thresholds,
            expected_ratio=ask.request.aspect_ratio,
            expected_pixels=model.pixels.get((ask.request.aspect_ratio or "", size)),
            declared_mime=mime or None,
        )
        if all(verdict.passed for verdict in verdicts):
            good.append((ask, answer, metrics))
        rows += [_row(round, ask, answer, verdict) for verdict in verdicts]
    radius = thresholds.duplicate_distance
    kept = group_duplicates(
        [(ask.request.id, metrics.phash or 0, metrics.blur) for ask, _, metrics in good],
        radius=radius,
        history=_history(store, wave, round, {answer.image for _, answer, _ in good}),
    )
    for ask, answer, _ in good:
        original = kept.get(ask.request.id, ask.request.id)
        unique = original == ask.request.id
        verdict = Verdict(
            check="duplicate",
            value=float(not unique),
            threshold=float(radius),
            passed=unique,
            detail="" if unique else f"like {original}",
        )
        rows.append(_row(round, ask, answer, verdict))
    return rows


def _row(round: Round, ask: Ask, answer: Answer, verdict: Verdict) -> dict[str, object]:
    return {
        "wave": round.wave,
        "revision": round.revision,
        "brief": ask.brief,
        "request_id": ask.request.id,
        "image": answer.image,
        "check_name": verdict.check,
        "value": verdict.value,
        "threshold": verdict.threshold,
        "verdict": "pass" if verdict.passed else "fail",
        "detail": verdict.detail,
    }


def _metrics(store: Store, images: set[str]) -> dict[str, tuple[Metrics, str]]:
    """Metrics and declared MIME type of each image, by its address."""
    rows = query(
        store,
        "SELECT image, mime, format, width, height, error, brightness, p05, p95, contrast, blur,"
        " entropy, border, color_cast, phash FROM images"
        " WHERE image IN (SELECT unnest(?::VARCHAR[]))",
        [list(images)],
    )
    found = {}
    for row in rows:
        image, mime, phash = row.pop("image"), row.pop("mime"), row.pop("phash")
        cast = row.pop("color_cast")
        metrics = Metrics(**row, cast=cast, phash=int(phash, 16) if phash else None)
        found[image] = (metrics, mime)
    return found


def _history(store: Store, wave: Wave, round: Round, own: set[str]) -> list[tuple[str, int]]:
    """Hashes to keep away from: this wave's earlier rounds, and what other waves accepted.

    The round's `own` pictures do not count: a picture that two waves share is no duplicate, nor is
    one that is looked at again.
    """
    rows = query(
        store,
        "SELECT request_id AS id, phash FROM decisions JOIN images USING (image)"
        " WHERE tier = ? AND decision = 'accepted' AND wave <> ? AND phash <> ''"
        " AND image NOT IN (SELECT unnest(?::VARCHAR[]))",
        [str(round.kind), wave.name, list(own)],
    )
    history = [(row["id"], int(row["phash"], 16)) for row in rows]
    for number in range(1, round.number):
        earlier = Round(wave=round.wave, revision=round.revision, kind=round.kind, number=number)
        history += _passed_hashes(store, earlier, own)
    return history


def _passed_hashes(store: Store, round: Round, but: set[str]) -> list[tuple[str, int]]:
    """Request and hash of what passed the screens of an earlier round, `but` these pictures."""
    rows = facts.read(store, "screens", round.part) or []
    failed = {row["request_id"] for row in rows if row["verdict"] == "fail"}
    images = {
        row["image"]: row["request_id"]
        for row in rows
        if row["request_id"] not in failed and row["image"] not in but
    }
    measured = _metrics(store, set(images))
    return [(request_id, measured[image][0].phash or 0) for image, request_id in images.items()]
