"""Reruns: what more is to be made of a wave that came to its end, written down before it happens.

A person wants failed requests made again, or the wave itself has drafts to replace.
`reruns/<wave>-<revision>-<n>.json`, put-if-absent: like what a round asks for, it is decided once,
so that a rerun may be interrupted and repeated like everything else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from imagewave.storage.facts import facts
from imagewave.storage.jobs.folder import now
from imagewave.storage.records import read_record
from imagewave.storage.requests import Kind
from imagewave.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Redo:
    """A request to be made again for a brief, or (`judge`) the picture to be judged again.

    `request_id` is a draft's or a final's, of which `round` is the latest round that has it.
    `anew`: it brought a picture that was rejected, so its prompt is drawn as a further sample.
    """

    kind: Kind
    brief: str
    request_id: str
    round: int
    anew: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """The n-th rerun (from 1) of a revision of a wave; `where` is how it was picked.

    One that the wave ordered itself has no requests, but drafts to replace: `used_up` says how many
    good drafts of each brief no final can be made of.
    """

    number: int
    where: str
    requests: tuple[Redo, ...]
    used_up: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A rerun as its file has it: each request as kind, brief, id, round and, since, anew."""

    where: str
    at: str
    requests: list[tuple[Kind, str, str, int] | tuple[Kind, str, str, int, bool]]
    used_up: Mapping[str, int] = field(default_factory=dict)


def load(store: Store, wave: str, revision: str) -> list[Rerun]:
    """All reruns of the revision, oldest first.

    Raises:
        BadRecord: one cannot be read.
    """
    found: list[Rerun] = []
    while (rerun := _read(store, wave, revision, len(found) + 1)) is not None:
        found.append(rerun)
    return found


def record(
    store: Store,
    wave: str,
    revision: str,
    where: str = "",
    requests: Sequence[Redo] = (),
    used_up: Mapping[str, int] | None = None,
) -> Rerun | None:
    """Writes down a new rerun; None where somebody else just wrote one down."""
    rerun = Rerun(
        number=len(load(store, wave, revision)) + 1,
        where=where,
        requests=tuple(requests),
        used_up=used_up or {},
    )
    content = _Written(
        where=where,
        at=now(),
        requests=[
            (redo.kind, redo.brief, redo.request_id, redo.round, redo.anew) for redo in requests
        ],
        used_up=rerun.used_up,
    )
    path = _path(wave, revision, rerun.number)
    written = store.put_if_absent(path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return rerun if written else None


def assets_part(wave: str, revision: str, rerun: int) -> str:
    """The part whose presence says that the revision is delivered, its n-th rerun included."""
    return f"{wave}-{revision}" + (f"-rerun-{rerun}" if rerun else "")


def is_delivered(store: Store, wave: str, revision: str) -> bool:
    """Whether there is nothing left to do for the revision."""
    part = assets_part(wave, revision, len(load(store, wave, revision)))
    return facts.has(store, "assets", part)


def _read(store: Store, wave: str, revision: str, number: int) -> Rerun | None:
    try:
        written = read_record(store, _path(wave, revision, number), _Written)
    except FileNotFoundError:
        return None
    return Rerun(
        number=number,
        where=written.where,
        requests=tuple(
            # Older files do not say `anew`.
            Redo(kind=kind, brief=brief, request_id=id, round=round, anew=any(anew))
            for kind, brief, id, round, *anew in written.requests
        ),
        used_up=written.used_up,
    )


def _path(wave: str, revision: str, number: int) -> str:
    return f"reruns/{wave}-{revision}-{number}.json"
