"""Writes the accepted finals where their users look for them, each with a manifest."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson

from imagewave.killpoints import reached
from imagewave.pictures.view import MAX_PIXELS, WHITE, Undecodable, view
from imagewave.pictures.write import Unwritable, encode
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.images import ImageFormat, read_image
from imagewave.storage.rounds.reruns import assets_part
from imagewave.storage.rounds.rounds import Ask
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Deliver, Wave
from imagewave.tasks.delivery.variants import Source, make_variants
from imagewave.tasks.select import Decision

_AT_ONCE = 500
"""Assets written together, so that the disk is waited for once for all of them."""
_IN_MEMORY = 8
"""Assets that are in memory at once."""


def deliver(
    store: Store,
    wave: Wave,
    finals: Sequence[Decision],
    asks: Mapping[tuple[str, str], Ask],
    *,
    rerun: int = 0,
) -> list[dict[str, object]]:
    """Delivers the accepted finals to `assets/<wave>/<folder>/`; returns the asset rows.

    A final that cannot be brought into the format that is asked for is delivered as it came, and a
    finding says so. Its variants for the web, where the wave asks for any, are made from it as it
    came. `asks` are the requests behind the finals, by (brief, request id). With
    `carry = "accept"` a final is its own draft. `rerun` is the number of the last rerun that these
    finals include.
    """
    reached("deliver.before")
    accepted = [final for final in finals if final.decision == "accepted"]
    known = {
        row["image"]: row
        for row in query(
            store,
            "SELECT image, format, width, height FROM images WHERE image IN (SELECT unnest(?))",
            [[final.image for final in accepted]],
        )
    }

    def asset(final: Decision) -> _Asset:
        ask = asks[final.brief, final.request_id]
        return _asset(store, wave, final, ask, known[final.image])

    rows: list[dict[str, object]] = []
    findings: list[dict[str, object]] = []

    def files(group: Sequence[Decision]) -> Iterator[tuple[str, bytes]]:
        for start in range(0, len(group), _IN_MEMORY):
            for made in threads.map(asset, group[start : start + _IN_MEMORY]):
                if len(rows) == len(accepted) // 2:
                    reached("deliver.midway")
                rows.append(dict(made.row))
                if made.fault:
                    findings.append(_finding(wave, made))
                yield from made.files.items()

    # Reading waits for the disk or the network, and encoding for nothing but a core.
    with ThreadPoolExecutor(_IN_MEMORY // 2, thread_name_prefix="deliver") as threads:
        for start in range(0, len(accepted), _AT_ONCE):
            store.write_many(files(accepted[start : start + _AT_ONCE]))
    part = assets_part(wave.name, wave.revision, rerun)
    if wave.deliver.widths:
        sources = [
            Source(
                asset=row,
                rank=final.rank,
                format=known[final.image]["format"],
                model="" if request.imported else request.model,
            )
            for row, final in zip(rows, accepted, strict=True)
            for request in [asks[final.brief, final.request_id].request]
        ]
        make_variants(store, wave, sources, part)
    if findings:
        facts.append(store, "findings", part, findings)
    facts.append(store, "assets", part, rows)
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asset:
    """One asset's row and its files by path; `fault` says why it is not in the format asked for."""

    row: Mapping[str, object]
    files: Mapping[str, bytes]
    fault: str


def _asset(
    store: Store, wave: Wave, final: Decision, ask: Ask, picture: Mapping[str, Any]
) -> _Asset:
    data, format, fault = read_image(store, final.image, picture["format"]), picture["format"], ""
    try:
        data, format = _encode(data, format, wave.deliver, max_pixels=wave.screen.max_pixels)
    except (Undecodable, Unwritable) as reason:
        fault = str(reason)
    folder = wave.folder(final.brief)
    name = f"assets/{wave.name}/{folder}/{folder}-{final.rank}"
    asset = f"{name}.{ImageFormat(format).extension}"
    row: dict[str, object] = {
        "wave": wave.name,
        "revision": wave.revision,
        "brief": final.brief,
        "asset": asset,
        "image": final.image,
        "request_id": final.request_id,
        "draft_image": ask.reference or final.image,
        "format": format,
        "width": picture["width"],
        "height": picture["height"],
        "bytes": len(data),
    }
    manifest = {
        **row,
        "brief_text": wave.brief(final.brief).text,
        "prompt": ask.request.prompt,
        "model": ask.request.model,
        "seed": ask.request.seed,
        "score": final.score,
    }
    files = {asset: data, f"{name}.json": orjson.dumps(manifest, option=orjson.OPT_INDENT_2)}
    return _Asset(row=row, files=files, fault=fault)


def _finding(wave: Wave, made: _Asset) -> dict[str, object]:
    return {
        "wave": wave.name,
        "job_id": "",
        "kind": "delivered as it came",
        "key": made.row["asset"],
        "detail": made.fault,
    }


def _encode(
    data: bytes, format: str, wanted: Deliver, *, max_pixels: int = MAX_PIXELS
) -> tuple[bytes, str]:
    """The bytes and format to deliver; the provider's own where nothing else is asked for.

    Raises:
        Undecodable, Unwritable: it cannot be brought into the format that is asked for.
    """
    if wanted.format in ("keep", format):
        return data, format
    # JPEG has no transparency: it shows what a white page would. The others keep it.
    backdrop = WHITE if wanted.format == "jpeg" else None
    picture = view(data, max_pixels=max_pixels, backdrop=backdrop)
    encoded = encode(picture, ImageFormat(wanted.format), quality=wanted.quality)
    return encoded, wanted.format
