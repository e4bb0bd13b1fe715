"""What a site reads of a brief's delivered pictures: `manifest.json`, and HTML to paste."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, Final

import orjson

from imagewave.storage.images import ImageFormat
from imagewave.storage.waves.briefs import Brief

Row = Mapping[str, Any]

_ALT_CHARS: Final = 125
"""Screen readers pause after about so many."""

# The best first: a browser takes the first that it can show. The last is for those that know none.
_PREFERRED: Final = ("avif", "webp", "jpeg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A delivered picture: its asset's row, its rank in its brief, the rows of its variants."""

    asset: Row
    rank: int
    variants: Sequence[Row]


def page_files(folder: str, brief: Brief, pictures: Sequence[Shown]) -> Iterator[tuple[str, bytes]]:
    """The brief's two files, by path in the store; in them, paths are relative to `folder`.

    The text for who cannot see a picture is the brief's: what was asked for.
    """
    alt = textwrap.shorten(brief.text, _ALT_CHARS, placeholder="…")
    manifest = {
        "brief": brief.id,
        "alt": alt,
        "pictures": [
            {
                "rank": each.rank,
                "file": _within(folder, each.asset["asset"]),
                "image": each.asset["image"],
                "width": each.asset["width"],
                "height": each.asset["height"],
                "colour": each.variants[0]["colour"] if each.variants else None,
                "variants": [
                    {
                        "file": _within(folder, row["variant"]),
                        "type": ImageFormat(row["format"]).mime,
                        **{name: row[name] for name in ("width", "height", "bytes", "sha256")},
                    }
                    for row in each.variants
                ],
            }
            for each in pictures
        ],
    }
    html = "".join(_picture(folder, alt, each.variants) for each in pictures if each.variants)
    yield f"{folder}/picture.html", html.encode()
    yield f"{folder}/manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2)


def _picture(folder: str, alt: str, variants: Sequence[Row]) -> str:
    """One `<picture>`, as wide as the page and no wider than its largest file."""
    ordered = sorted(variants, key=lambda row: (_PREFERRED.index(row["format"]), row["width"]))
    sets = {
        format: ", ".join(f"{_within(folder, row['variant'])} {row['width']}w" for row in rows)
        for format, rows in groupby(ordered, lambda row: str(row["format"]))
    }
    largest = ordered[-1]
    sizes = f"(max-width: {largest['width']}px) 100vw, {largest['width']}px"
    *others, last = sets
    lines = [
        f'  <source type="{ImageFormat(format).mime}" srcset="{escape(sets[format])}"'
        f' sizes="{sizes}">'
        for format in others
    ]
    image = (
        f'  <img src="{escape(_within(folder, largest["variant"]))}" srcset="{escape(sets[last])}"'
        f' sizes="{sizes}" width="{largest["width"]}" height="{largest["height"]}"'
        f' alt="{escape(alt)}" loading="lazy" decoding="async"'
        f' style="max-width: 100%; height: auto; background: {largest["colour"]}">'
    )
    return "\n".join(["<picture>", *lines, image, "</picture>", ""])


def _within(folder: str, path: str) -> str:
    return path.removeprefix(f"{folder}/")
