"""Writes the accepted finals where their users look for them, each with a manifest."""

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from PIL import Image

from imagewave.killpoints import reached
from imagewave.storage import facts
from imagewave.storage.analytics import query
from imagewave.storage.images import read_image
from imagewave.storage.reruns import assets_part
from imagewave.storage.rounds import Ask
from imagewave.storage.store import Store
from imagewave.storage.wave import Deliver, Wave
from imagewave.tasks.select import Decision

_AT_ONCE = 500
"""Assets written together, so that the disk is waited for once for all of them."""
_IN_MEMORY = 8
"""Assets that are in memory at once."""
_SUFFIXES = {"jpeg": "jpg", "png": "png", "webp": "webp"}


def deliver(
    store: Store,
    wave: Wave,
    finals: Sequence[Decision],
    asks: Mapping[tuple[str, str], Ask],
    *,
    rerun: int = 0,
) -> list[dict[str, object]]:
    """Delivers the accepted finals to `assets/<wave>/<brief>/`; returns the asset rows.

    `asks` are the requests behind the finals, by (brief, request id). With `carry = "accept"` a
    final is its own draft. `rerun` is the number of the last rerun that these finals include.
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

    def asset(final: Decision) -> tuple[dict[str, object], dict[str, bytes]]:
        ask = asks[final.brief, final.request_id]
        return _asset(store, wave, final, ask, known[final.image])

    rows: list[dict[str, object]] = []

    def files(group: Sequence[Decision]) -> Iterator[tuple[str, bytes]]:
        for start in range(0, len(group), _IN_MEMORY):
            for row, written in threads.map(asset, group[start : start + _IN_MEMORY]):
                if len(rows) == len(accepted) // 2:
                    reached("deliver.midway")
                rows.append(row)
                yield from written.items()

    # Reading waits for the disk or the network, and encoding for nothing but a core.
    with ThreadPoolExecutor(_IN_MEMORY // 2, thread_name_prefix="deliver") as threads:
        for start in range(0, len(accepted), _AT_ONCE):
            store.write_many(files(accepted[start : start + _AT_ONCE]))
    facts.append(store, "assets", assets_part(wave.name, wave.revision, rerun), rows)
    return rows


def _asset(
    store: Store, wave: Wave, final: Decision, ask: Ask, picture: Mapping[str, Any]
) -> tuple[dict[str, object], dict[str, bytes]]:
    """The row of one asset, and its files by path: the picture and its manifest."""
    data, format = _encode(
        read_image(store, final.image, picture["format"]), picture["format"], wave.deliver
    )
    name = f"assets/{wave.name}/{final.brief}/{final.brief}-{final.rank}"
    asset = f"{name}.{_SUFFIXES.get(format, format)}"
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
    return row, {
        asset: data,
        f"{name}.json": orjson.dumps(manifest, option=orjson.OPT_INDENT_2),
    }


def _encode(data: bytes, format: str, wanted: Deliver) -> tuple[bytes, str]:
    """The bytes and format to deliver; the provider's own where nothing else is asked for."""
    if wanted.format in ("keep", format):
        return data, format
    with Image.open(io.BytesIO(data)) as picture:
        out = io.BytesIO()
        options = {} if wanted.format == "png" else {"quality": wanted.quality}
        # JPEG has no transparency; the others keep it.
        kept = picture.convert("RGB") if wanted.format == "jpeg" else picture
        kept.save(out, wanted.format.upper(), **options)
    return out.getvalue(), wanted.format
