"""Brings in pictures that were made elsewhere, as drafts of a brief.

An imported picture is a request like any other that was answered before anybody asked: its id is
made of its source and its bytes, so that bringing it in again changes nothing. The wave looks at
what was imported before it asks a model for drafts, and asks for fewer. docs/importing.md has the
rules.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path

from imagewave.errors import ImagewaveError
from imagewave.storage.catalog import Model, find_model, models
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import answered, query
from imagewave.storage.images import ImageFormat, StoredImage, put_image, sniff
from imagewave.storage.requests import Kind, Request, Status, digest
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.rounds import Ask, Round
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.collecting.collect import metrics_row
from imagewave.tasks.drafting.draft import Prompts
from imagewave.tasks.screening.metrics import Metrics
from imagewave.tasks.screening.pool import Pool, Source

MAX_BYTES = 256 * 1024 * 1024
"""A larger file is taken for a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of a folder's files: pictures that are `new` to the brief, or `known` in it
    before, and the files that are no pictures, each with the reason."""

    new: int
    known: int
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """A file that is in the store now."""

    file: str
    stored: StoredImage
    request: Request


def find_source(name: str) -> Model:
    """The source of imported pictures that is called so: a model that no lane reaches.

    Raises:
        UnknownModel: the catalog has none of that name.
        ImagewaveError: it is reached by a lane, so that its pictures are asked for instead.
    """
    model = find_model(name)
    if model.lanes:
        known = [model.id for model in models() if model.kind == "image" and not model.lanes]
        raise ImagewaveError(
            f"Pictures of {model.id!r} are made by imagewave itself: name it in a wave file.",
            f"Sources of imports are {', '.join(known)}, and what you add to the catalog.",
        )
    return model


def bring_in(
    store: Store,
    wave: Wave,
    brief: str,
    files: Iterable[Path],
    *,
    source: Model,
    usd_each: Decimal,
) -> Imported:
    """Records the files that are pictures as drafts of the brief; each was said to cost so much.

    What is no picture is told, and nothing else: what a picture is like is for the wave's screens.

    Raises:
        ImagewaveError: the wave has asked for its last drafts, or could not carry a picture on.
    """
    _require_room(store, wave)
    refused: dict[str, str] = {}
    pictures, metrics = _take_in(store, wave, files, source, refused)
    unique = {picture.request.id: picture for picture in pictures}
    known = {
        row["request_id"]
        for row in query(
            store,
            "SELECT request_id FROM imports WHERE wave = ? AND brief = ?",
            [wave.name, brief],
        )
    }
    _record_pictures(store, unique.values(), metrics)
    _record_results(store, wave, unique, usd_each)
    new = [picture for id, picture in unique.items() if id not in known]
    _record_imports(store, wave, brief, new, usd_each)
    return Imported(new=len(new), known=len(unique) - len(new), refused=refused)


def import_asks(store: Store, wave: Wave, number: int, prompts: Prompts) -> list[Ask]:
    """The imported pictures that no earlier round of drafts has looked at; [] if there are none."""
    rows = query(
        store,
        "SELECT brief, request_id, image, model FROM imports"
        " JOIN (SELECT DISTINCT request_id, model FROM attempts) USING (request_id)"
        " WHERE wave = ? ORDER BY ALL",
        [wave.name],
    )
    if not rows:
        return []
    seen = {
        (ask.brief, ask.request.id)
        for earlier in range(1, number)
        for ask in rounds.load(store, _round(wave, earlier)) or ()
    }
    # A picture that was given up since has to be brought in again.
    there = answered(store, {row["request_id"] for row in rows})
    return [
        Ask(
            brief=row["brief"],
            prompt_id=prompts[row["brief"]][0][0],
            request=_request(row["model"], row["image"]),
            estimate_usd=Decimal(0),
        )
        for row in rows
        if row["brief"] in prompts
        and row["request_id"] in there
        and (row["brief"], row["request_id"]) not in seen
    ]


def waiting(store: Store, wave: Wave) -> dict[str, int]:
    """How many imported pictures the wave's current revision has yet to look at, by brief."""
    rows = query(
        store,
        "SELECT brief, count(*) AS pictures FROM imports"
        " ANTI JOIN (FROM every_requests WHERE revision = ?) USING (wave, brief, request_id)"
        " WHERE wave = ? GROUP BY brief",
        [wave.revision, wave.name],
    )
    return {row["brief"]: row["pictures"] for row in rows}


def _require_room(store: Store, wave: Wave) -> None:
    """Refuses an import that no round would ever look at, or that a final could not carry."""
    if wave.final.carry == "seed":
        raise ImagewaveError(
            'With [final] carry = "seed" a final is drawn again from a seed, which an imported '
            "picture has not got.",
            'Use carry = "reference" or carry = "accept".',
        )
    for number in count(1):
        asks = rounds.load(store, _round(wave, number))
        if asks is None:
            return
        if not asks:
            raise ImagewaveError(
                f"The wave {wave.name!r} has made its last drafts, and would not look at more.",
                "Change its file first, such as a brief's want: what was paid for stays paid for.",
            )


def _round(wave: Wave, number: int) -> Round:
    return Round(wave=wave.name, revision=wave.revision, kind=Kind.DRAFT, number=number)


def _request(source: str, image: str) -> Request:
    return Request(kind=Kind.DRAFT, model=source, prompt="", imported=image)


def _take_in(
    store: Store,
    wave: Wave,
    files: Iterable[Path],
    source: Model,
    refused: dict[str, str],
) -> tuple[list[_Picture], dict[str, Metrics]]:
    """Stores and measures the pictures among the files; the others get their reason."""
    pictures: list[_Picture] = []

    def stored() -> Iterator[tuple[str, Source]]:
        for file in files:
            if reason := _reason_against(file):
                refused[legible(file)] = reason
                continue
            data = file.read_bytes()
            kept = put_image(store, data)
            request = _request(source.id, kept.sha256)
            pictures.append(_Picture(file=legible(file), stored=kept, request=request))
            yield kept.sha256, store.local_path(kept.path) or data

    with Pool(max_pixels=wave.screen.max_pixels) as pool:
        metrics = dict(pool.measure(stored()))
    for picture in pictures:
        found = metrics[picture.stored.sha256]
        # What was decoded and could not be measured is a picture all the same.
        if found.error and not found.width:
            refused[picture.file] = found.error
    good = [picture for picture in pictures if picture.file not in refused]
    return good, metrics


def legible(file: Path) -> str:
    """The file's name, bytes of it that are no UTF-8 as `\\x…`: old archives are full of them."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def _reason_against(file: Path) -> str:
    """Why the file is no picture at first sight; "" if it may be one."""
    try:
        size = file.stat().st_size
        with open(file, "rb") as opened:
            head = opened.read(32)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if size > MAX_BYTES:
        return f"it has more than {MAX_BYTES // 2**20} MiB"
    if sniff(head) is None:
        return f"it is none of {', '.join(ImageFormat)}"
    return ""


def _record_pictures(
    store: Store, pictures: Iterable[_Picture], metrics: Mapping[str, Metrics]
) -> None:
    stored = {picture.stored.sha256: picture.stored for picture in pictures}
    if not stored:
        return
    rows = [
        {
            "image": sha256,
            "format": kept.format,
            "mime": ImageFormat(kept.format).mime,
            "bytes": kept.size,
            "path": kept.path,
        }
        for sha256, kept in stored.items()
    ]
    part = f"import-{digest(sorted(stored))}"
    facts.append(store, "images", part, rows)
    facts.append(store, "metrics", part, [metrics_row(id, metrics[id]) for id in stored])


def _record_results(
    store: Store, wave: Wave, pictures: Mapping[str, _Picture], usd_each: Decimal
) -> None:
    """The answers to the requests that the pictures are, unless another import has brought them."""
    there = answered(store, pictures)
    new = {id: picture for id, picture in pictures.items() if id not in there}
    if not new:
        return
    rows = [
        {
            "request_id": id,
            "job_id": f"import-{id}",
            "wave": wave.name,
            "kind": Kind.DRAFT,
            "model": picture.request.model,
            "attempt": 1,
            "status": Status.IMAGE,
            "failure": "",
            "reason": "",
            "message": "",
            "image": picture.stored.sha256,
            "format": picture.stored.format,
            "text": "",
            "prompt_tokens": None,
            "image_tokens": None,
            "text_tokens": None,
            "thought_tokens": None,
            "reference_tokens": None,
            "cost_usd": usd_each,
        }
        for id, picture in new.items()
    ]
    # A picture that upkeep gave up and that is brought in again is another answer.
    (before,) = query(
        store,
        "SELECT count(*) AS rows FROM raw_results WHERE request_id IN (SELECT unnest(?))",
        [sorted(new)],
    )
    facts.append(store, "results", f"import-{digest([sorted(new), before['rows']])}", rows)


def _record_imports(
    store: Store, wave: Wave, brief: str, new: Sequence[_Picture], usd_each: Decimal
) -> None:
    if not new:
        return
    rows = [
        {
            "wave": wave.name,
            "brief": brief,
            "request_id": picture.request.id,
            "image": picture.stored.sha256,
            "source": picture.request.model,
            "file": picture.file,
            "cost_usd": usd_each,
        }
        for picture in new
    ]
    ids = sorted(picture.request.id for picture in new)
    facts.append(store, "imports", f"{wave.name}-{wave.folder(brief)}-{digest(ids)}", rows)
