"""Makes the variants of delivered pictures that are not there yet, and tells of all in the facts.

Each picture is decoded once, however many variants it has, and not at all where none is missing.
Memory is bounded by one decoded picture per core. What is written stays, also where no wave wants
it any more: a page may show it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from PIL import Image

from imagewave.pictures.marks import AI_MADE, ai_made_xmp
from imagewave.pictures.view import Undecodable, view
from imagewave.pictures.write import Unwritable
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.images import ImageFormat, read_image
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.delivery.pages import Shown, page_files
from imagewave.tasks.delivery.recipes import Recipe, made, mean_colour, recipes, resized
from imagewave.tasks.screening.pool import usable_cores

Row = Mapping[str, Any]

_BRIEFS: Final = 200
"""Briefs whose variants are one part of the facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A delivered picture: its asset's row, its rank in its brief, its stored file's format.

    model: what made it; "" where nobody knows, as of pictures that were imported.
    """

    asset: Row
    rank: int
    format: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """The rows of one picture's variants; `fault` says why there are none."""

    source: Source
    rows: Sequence[Row]
    fault: str = ""


def make_variants(store: Store, wave: Wave, sources: Sequence[Source], part: str) -> None:
    """Makes what is missing, writes each brief's `manifest.json` and `picture.html`, and the facts.

    A picture of which no variants can be made has none, and a finding says why. `part` names the
    parts of the facts. A manifest is written after all that it names.
    """
    by_brief: dict[str, list[Source]] = {}
    for source in sources:
        by_brief.setdefault(str(source.asset["brief"]), []).append(source)
    briefs = list(by_brief)
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="variants") as threads:
        for start in range(0, len(briefs), _BRIEFS):
            some = briefs[start : start + _BRIEFS]
            known = _known(store, wave, some)
            work = [source for brief in some for source in by_brief[brief]]
            done = list(
                threads.map(lambda source, known=known: _variants(store, wave, source, known), work)
            )
            store.write_many(_pages(wave, done))
            number = f"{part}-{start // _BRIEFS + 1}"
            faults = [_finding(wave, each) for each in done if each.fault]
            if faults:
                facts.append(store, "findings", f"{number}-variants", faults)
            facts.append(store, "variants", number, [row for each in done for row in each.rows])


def _known(store: Store, wave: Wave, briefs: Sequence[str]) -> dict[str, Row]:
    """What the facts tell of variants of these briefs, of any revision, whose files are there."""
    rows = query(
        store,
        "SELECT * EXCLUDE recorded_at FROM raw_variants"
        " WHERE wave = ? AND brief IN (SELECT unnest(?::VARCHAR[])) ORDER BY recorded_at",
        [wave.name, list(briefs)],
    )
    told = {str(row["variant"]): row for row in rows}
    if not told:
        return {}
    there = {
        path for brief in briefs for path in store.list(f"assets/{wave.name}/{wave.folder(brief)}")
    }
    return {path: row for path, row in told.items() if path in there}


def _variants(store: Store, wave: Wave, source: Source, known: Mapping[str, Row]) -> _Made:
    asset = source.asset
    image, width, height = str(asset["image"]), asset["width"], asset["height"]
    if not (width and height):
        return _Made(source=source, rows=(), fault="its size is not known: it was not readable")
    xmp = ai_made_xmp(source.model, image) if source.model else b""
    wanted = {
        _path(wave, source, recipe): recipe for recipe in recipes(wave.deliver, width, height, xmp)
    }
    missing = {path: recipe for path, recipe in wanted.items() if path not in known}
    new: dict[str, Row] = {}
    if missing:
        try:
            data = read_image(store, image, source.format)
            picture = view(data, max_pixels=wave.screen.max_pixels, backdrop=None)
            colour = mean_colour(picture)

            def files() -> Iterator[tuple[str, bytes]]:
                for path, recipe, file in _encoded(picture, missing):
                    new[path] = {
                        "width": recipe.width,
                        "height": recipe.height,
                        "bytes": len(file),
                        "sha256": hashlib.sha256(file).hexdigest(),
                        "colour": colour,
                    }
                    yield path, file

            store.write_many(files())
        except (Undecodable, Unwritable) as reason:
            return _Made(source=source, rows=(), fault=str(reason))
    rows = [
        {
            **{name: asset[name] for name in ("wave", "revision", "brief", "asset", "image")},
            "variant": path,
            "recipe": recipe.digest,
            "source_type": AI_MADE if recipe.xmp else "",
            "format": recipe.format.value,
            **_measured(new.get(path) or known[path]),
        }
        for path, recipe in wanted.items()
    ]
    return _Made(source=source, rows=rows)


def _encoded(
    picture: Image.Image, missing: Mapping[str, Recipe]
) -> Iterator[tuple[str, Recipe, bytes]]:
    """The files by path, each size made once for all its formats."""
    for size, some in groupby(missing.items(), lambda each: (each[1].width, each[1].height)):
        small = resized(picture, *size)
        for path, recipe in some:
            yield path, recipe, made(small, recipe)


def _measured(row: Row) -> dict[str, object]:
    return {name: row[name] for name in ("width", "height", "bytes", "sha256", "colour")}


def _path(wave: Wave, source: Source, recipe: Recipe) -> str:
    brief = str(source.asset["brief"])
    name = wave.deliver.names.format(
        slug=wave.folder(brief),
        rank=source.rank,
        ratio=wave.brief(brief).aspect_ratio.replace(":", "x"),
        width=recipe.width,
        height=recipe.height,
        digest=recipe.address(str(source.asset["image"])),
        ext=ImageFormat(recipe.format).extension,
    )
    return f"assets/{wave.name}/{name}"


def _pages(wave: Wave, done: Sequence[_Made]) -> Iterator[tuple[str, bytes]]:
    for brief, some in groupby(done, lambda made: str(made.source.asset["brief"])):
        folder = f"assets/{wave.name}/{wave.folder(brief)}"
        shown = [
            Shown(asset=made.source.asset, rank=made.source.rank, variants=made.rows)
            for made in some
        ]
        yield from page_files(folder, wave.brief(brief), shown)


def _finding(wave: Wave, made: _Made) -> dict[str, object]:
    return {
        "wave": wave.name,
        "job_id": "",
        "kind": "no variants",
        "key": made.source.asset["asset"],
        "detail": made.fault,
    }
