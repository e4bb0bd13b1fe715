"""Holds a round's pictures against the wave's thresholds, and finds near-duplicates."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from imagewave.killpoints import reached
from imagewave.storage.catalog import find_model
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.images import phash_text, read_phash
from imagewave.storage.rounds.rounds import Answer, Ask, Round, load
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.screening.checks import Verdict, check
from imagewave.tasks.screening.duplicates import group_duplicates
from imagewave.tasks.screening.lookalikes import near_hashes
from imagewave.tasks.screening.metrics import Metrics
from imagewave.tasks.select import decisions_part

# What other waves have accepted of a tier.
_ELSEWHERE = (
    "FROM decisions JOIN images USING (image) LEFT JOIN requests USING (wave, brief, request_id)"
    " WHERE tier = ? AND decision = 'accepted' AND wave <> ? AND phash <> ''"
)


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
        # What was made elsewhere is to be as large as the wave's own drafts.
        like = wave.draft if ask.request.imported else ask.request
        model = find_model(like.model)
        size = like.size or model.default_size or ""
        ratio = wave.brief(ask.brief).aspect_ratio
        verdicts = check(
            metrics,
            thresholds,
            expected_ratio=ratio,
            expected_pixels=model.pixels.get((ratio, size)),
            declared_mime=mime or None,
        )
        if all(verdict.passed for verdict in verdicts):
            good.append((ask, answer, metrics))
        rows += [_row(round, ask, answer, verdict) for verdict in verdicts]
    radius = thresholds.duplicate_distance
    kept = group_duplicates(
        [
            (ask.request.id, metrics.phash, metrics.blur)
            for ask, _, metrics in good
            if metrics.phash is not None
        ],
        radius=radius,
        history=_history(store, wave, round, good, radius),
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


def _metrics(store: Store, images: AbstractSet[str]) -> dict[str, tuple[Metrics, str]]:
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
        metrics = Metrics(**row, cast=cast, phash=read_phash(phash) if phash else None)
        found[image] = (metrics, mime)
    return found


def _history(
    store: Store,
    wave: Wave,
    round: Round,
    good: Sequence[tuple[Ask, Answer, Metrics]],
    radius: int,
) -> list[tuple[str, int]]:
    """Hashes to keep away from: what this wave's earlier rounds and other waves have kept.

    A picture that was rejected is in nobody's way. Nor is the round's own picture that two waves
    share or that is looked at again; nor, for a final, another rendering of the same draft: those
    are alike on purpose.
    """
    own = {answer.image for _, answer, _ in good}
    drafts = {ask.reference for ask, _, _ in good if ask.reference}
    history = []
    if query(store, f"SELECT 1 {_ELSEWHERE} LIMIT 1", [str(round.kind), wave.name]):
        # Of a million pictures a few are near: only these are worth asking about.
        near = near_hashes(store, {metrics.phash or 0 for _, _, metrics in good}, radius)
        elsewhere = query(
            store,
            f"SELECT request_id AS id, phash {_ELSEWHERE}"
            " AND phash IN (SELECT unnest(?::VARCHAR[]))"
            " AND image NOT IN (SELECT unnest(?::VARCHAR[]))"
            " AND coalesce(reference, '') NOT IN (SELECT unnest(?::VARCHAR[]))",
            [
                str(round.kind),
                wave.name,
                [phash_text(hash) for hash in near],
                list(own),
                list(drafts),
            ],
        )
        history = [(row["id"], read_phash(row["phash"])) for row in elsewhere]
    kept = _kept_before(store, wave, round)
    asked = [
        ask
        for number in range(1, round.number)
        for fallback in (False, True)
        for ask in load(store, replace(round, number=number, fallback=fallback)) or ()
        if (ask.brief, ask.request.id) in kept and ask.reference not in drafts
    ]
    images = {kept[ask.brief, ask.request.id]: ask.request.id for ask in asked}
    measured = _metrics(store, images.keys() - own)
    return history + [
        (images[image], found.phash)
        for image, (found, _) in measured.items()
        if found.phash is not None
    ]


def _kept_before(store: Store, wave: Wave, round: Round) -> dict[tuple[str, str], str]:
    """The pictures of earlier rounds that were not rejected, by brief and request."""
    rows = facts.read(store, "decisions", decisions_part(wave, round.kind, round.number - 1)) or ()
    return {
        (row["brief"], row["request_id"]): row["image"]
        for row in rows
        if row["decision"] != "rejected"
    }
