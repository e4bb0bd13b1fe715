"""The pictures of a store: what was drawn, and what was delivered with where it comes from."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from imagewave.api.sheets import EDGE, contact_sheet
from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store, StoreError
from imagewave.words import counted

_QUALITY = 75  # of thumbnails, as JPEG


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A picture file of a store, of `size` bytes.

    `width` and `height` are in pixels, None where it cannot be decoded.
    """

    wave: str
    brief: str
    path: str
    format: str
    width: int | None
    height: int | None
    size: int
    _store: Store = field(repr=False, compare=False)

    @property
    def url(self) -> str:
        """Its full path or URL."""
        return self._store.url_of(self.path)

    @property
    def file(self) -> Path | None:
        """Where it is on this machine's disk; None in a remote store."""
        return self._store.local_path(self.path)

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            StoreError: it is not there any more, or the store cannot be reached.
        """
        try:
            return self._store.read(self.path)
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.url} is not there any more.", "`imagewave upkeep` may have removed it."
            ) from error

    def thumbnail(self, edge: int = EDGE) -> str | None:
        """A data: URI of a JPEG whose longest edge is at most `edge` pixels.

        None for what is not kept any more, or cannot be decoded.
        """
        from imagewave.tasks.reporting.thumbnails import thumbnail

        return thumbnail(self._store, self.path, edge, quality=_QUALITY)


@dataclass(frozen=True, kw_only=True)
class Image(_Picture):
    """A picture that a brief asked for: a `draft` or a `final` (`kind`), as its model gave it.

    `image` is the SHA-256 of its bytes. `decision` is accepted, rejected or reserve, with the
    score that it rests on and, if it was rejected, the reason; None where it was not decided yet.
    """

    image: str
    kind: str
    model: str
    request_id: str
    decision: str | None
    score: float | None
    reason: str | None

    @property
    def caption(self) -> str:
        """Its brief, and what became of it."""
        score = "" if self.score is None else f" {self.score:.2f}"
        reason = f": {self.reason}" if self.decision == "rejected" else ""
        return f"{self.brief} · {self.kind} · {self.decision or 'undecided'}{score}{reason}"

    def _repr_html_(self) -> str:
        return contact_sheet([self])


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a delivered file comes from; costs in USD, ids as in the facts.

    A file that is its own draft has no final: those fields are None. `screens` says what it passed
    or failed.
    """

    brief_text: str
    prompt: str | None
    prompt_source: str | None
    template: str | None
    prompt_model: str | None
    draft_request_id: str
    draft_image: str | None
    draft_model: str | None
    sample: int | None
    seed: int | None
    draft_reused: bool | None
    draft_job_id: str | None
    draft_provider_job: str | None
    draft_cost_usd: Decimal | None
    screens: str | None
    judge_score: float | None
    judge_model: str | None
    judge_reason: str | None
    final_request_id: str | None
    final_image: str | None
    final_model: str | None
    final_size: str | None
    final_job_id: str | None
    final_provider_job: str | None
    final_cost_usd: Decimal | None
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class Asset(_Picture):
    """A delivered file, and its lineage.

    `image` is the SHA-256 of the picture that it was made of, whose `format` may have been another.
    """

    image: str
    lineage: Lineage

    @property
    def caption(self) -> str:
        """Its brief, and its models."""
        models = (self.lineage.draft_model, self.lineage.final_model)
        return f"{self.brief} · {' → '.join(model for model in models if model)}"

    def _repr_html_(self) -> str:
        return contact_sheet([self])


P = TypeVar("P", Image, Asset)


class Pictures(tuple[P, ...]):
    """Pictures in a tuple, which a notebook shows as a contact sheet."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'picture')}>"

    def _repr_html_(self) -> str:
        return contact_sheet(self, [f"{counted(len(self), 'picture')}"])


_IMAGES = """
SELECT requests.wave, requests.brief, requests.kind, requests.model, requests.request_id,
       images.image, images.format, images.width, images.height, images.bytes AS size, images.path,
       decisions.decision, decisions.score, nullif(decisions.reason, '') AS reason
FROM requests
JOIN results USING (request_id)
JOIN images ON images.image = results.image
LEFT JOIN decisions ON decisions.wave = requests.wave AND decisions.brief = requests.brief
                   AND decisions.request_id = requests.request_id
                   AND decisions.tier = requests.kind
WHERE requests.kind IN ('draft', 'final') AND results.status = 'image'
  AND $1 IN ('', requests.wave) AND $2 IN ('', requests.brief)
ORDER BY requests.wave, requests.brief, requests.kind DESC,
         decisions.decision IS NOT DISTINCT FROM 'accepted' DESC, decisions.rank NULLS LAST,
         requests.request_id
"""
_ASSETS = f"""
SELECT assets.wave, assets.brief, assets.asset AS path, assets.image, assets.format, assets.width,
       assets.height, assets.bytes AS size,
       {", ".join(f'lineage."{each.name}"' for each in fields(Lineage))}
FROM assets JOIN lineage ON lineage.wave = assets.wave AND lineage.asset = assets.asset
WHERE $1 IN ('', assets.wave) AND $2 IN ('', assets.brief)
ORDER BY assets.wave, assets.brief, assets.asset
"""


def images(store: Store, wave: str, brief: str) -> Pictures[Image]:
    """The drafts and finals of a wave or of all (""), best first within a brief."""
    return Pictures(Image(_store=store, **row) for row in query(store, _IMAGES, [wave, brief]))


def assets(store: Store, wave: str, brief: str) -> Pictures[Asset]:
    """The delivered files of a wave or of all ("")."""
    return Pictures(_asset(store, row) for row in query(store, _ASSETS, [wave, brief]))


def _asset(store: Store, row: dict[str, Any]) -> Asset:
    of_lineage = {each.name for each in fields(Lineage)}
    lineage = Lineage(**{name: row[name] for name in of_lineage})
    return Asset(
        _store=store,
        lineage=lineage,
        **{name: value for name, value in row.items() if name not in of_lineage},
    )
