"""A request: one paid generation, addressed by its content.

Two requests with the same model, words, parameters, reference images and sample index are the
same request, in whatever wave they are asked for: its id is the JSONL key, the cache key and the
join key of all facts. Attempt, time and run are never part of it.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from typing import Any

import orjson


class Kind(StrEnum):
    """What a request is for."""

    EXPAND = "expand"
    DRAFT = "draft"
    JUDGE = "judge"
    FINAL = "final"

    @property
    def wants_image(self) -> bool:
        """Whether the answer is an image; else it is text."""
        return self in (Kind.DRAFT, Kind.FINAL)


class Status(StrEnum):
    """What came back for a request: exactly one of these."""

    IMAGE = "image"
    TEXT = "text"
    REFUSED = "refused"
    FAILED = "failed"
    MISSING = "missing"


class FailureClass(StrEnum):
    """Whose fault a result without an answer is, which decides what happens next."""

    TRANSIENT = "transient"
    BROKEN = "broken"
    REFUSED = "refused"
    INVALID = "invalid"


def canonical_json(value: object) -> bytes:
    """The one spelling of a JSON value that digests are taken of: sorted keys, no spaces."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: object) -> str:
    """32 hex digits of the SHA-256 of a JSON value's canonical spelling."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One generation to be asked of a model.

    `references` are SHA-256 digests of stored images, in the order in which they are shown to the
    model; `reference_edge` is the longest edge in pixels that they are reduced to on sending
    (None: sent as stored). `response_schema` is a JSON schema as canonical JSON text; with it, the
    answer is JSON text. `seed` is a hint that providers may ignore; `sample` tells repeated asks
    of one prompt apart. `imported` is the SHA-256 of a picture that was made elsewhere, of which
    there is nothing to ask: with `model`, where it comes from, it is all that its id is made of.

    `steps`, `guidance`, `strength` and `loras` are for models on your GPUs: denoising steps, how
    closely to follow the prompt, how much of a reference is drawn anew (0 to 1), and adapters, each
    a file, folder or repository with "@" and its weight after it.
    """

    kind: Kind
    model: str
    prompt: str
    system: str = ""
    references: tuple[str, ...] = ()
    reference_edge: int | None = None
    aspect_ratio: str | None = None
    size: str | None = None
    quality: str | None = None
    thinking: str | None = None
    response_schema: str | None = None
    temperature: float | None = None
    sample: int = 0
    seed: int | None = None
    imported: str | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    loras: tuple[str, ...] | None = None

    @cached_property
    def id(self) -> str:
        """The content address: 32 hex digits over everything but `kind`."""
        content = self._fields()
        del content["kind"]
        return digest(content)

    def to_json(self) -> bytes:
        """One line of a job's `requests.jsonl`, without the newline."""
        return canonical_json(self._fields())

    @classmethod
    def from_json(cls, line: bytes) -> "Request":
        """Reads back what `to_json` wrote.

        Raises:
            ValueError: a newer imagewave wrote it, with a field that this one does not know; it
                is part of what is to be drawn, and of the id, so it cannot be passed over.
        """
        fields: dict[str, Any] = orjson.loads(line)
        if unknown := fields.keys() - _KNOWN:
            raise ValueError(f"a request has {', '.join(sorted(unknown))}, unknown here")
        fields["kind"] = Kind(fields["kind"])
        fields["references"] = tuple(fields.get("references", ()))
        if "loras" in fields:
            fields["loras"] = tuple(fields["loras"])
        if not fields.keys() >= _REQUIRED:
            raise ValueError(f"a request lacks {', '.join(sorted(_REQUIRED - fields.keys()))}")
        # A frozen dataclass sets its fields one by one, which takes as long as all the rest.
        request = cls.__new__(cls)
        request.__dict__.update(_DEFAULTS | fields)
        return request

    def _fields(self) -> dict[str, Any]:
        # Fields left at None are not spelled out, so that a field added later with a default of
        # None changes no existing id.
        values = zip(_FIELDS, _VALUES(self), strict=True)
        return {name: value for name, value in values if value is not None}


_FIELDS = tuple(field.name for field in dataclasses.fields(Request))
_KNOWN = frozenset(_FIELDS)
_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(Request)
    if field.default is not dataclasses.MISSING
}
_REQUIRED = _KNOWN - _DEFAULTS.keys()
_VALUES = attrgetter(*_FIELDS)


def lora_parts(text: str) -> tuple[str, float]:
    """An adapter's source and its weight, 1 unless it says "@0.8" at its end.

    Raises:
        ValueError: there is no source, or no number behind the "@".
    """
    source, at, weight = text.rpartition("@")
    if not at:
        source, weight = text, "1"
    if not source.strip():
        raise ValueError("it names no adapter")
    number = float(weight)
    if not math.isfinite(number):
        raise ValueError(f"{weight!r} is no weight")
    return source, number


def job_id(requests: Iterable[Request], round: str) -> str:
    """The id of the job that holds these requests: the same whoever computes it, and when.

    `round` names the wave, its round and the attempt: two waves that ask for the same have jobs of
    their own, since each has its own budget and patience. The requests must share one model.

    Raises:
        ValueError: no requests, or requests of several models.
    """
    ids, models = [], set()
    for request in requests:
        ids.append(request.id)
        models.add(request.model)
    if len(models) != 1:
        raise ValueError(f"a job holds requests of exactly one model, not {sorted(models)}")
    return digest({"requests": sorted(ids), "model": models.pop(), "round": round})
