"""Contact sheets for notebooks: HTML that holds its thumbnails and asks nobody for anything.

Words are escaped where they are written, and there is no script.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Protocol

MAX_PICTURES = 60
"""Pictures that a sheet shows; it says how many more there are."""

MAX_BYTES = 2_000_000
"""Characters of all thumbnails together, in a notebook that may be mailed."""

EDGE = 240
"""Pixels of a thumbnail's longest edge."""

_BOX = "display:inline-block;width:180px;margin:0 8px 12px 0;vertical-align:top"
_IMAGE = "max-width:180px;max-height:180px;display:block"
_CAPTION = "font-size:85%;line-height:1.3;overflow-wrap:anywhere"


class Shown(Protocol):
    """A picture that a sheet can show."""

    @property
    def caption(self) -> str:
        """What is written below it."""
        ...

    def thumbnail(self, edge: int = EDGE) -> str | None:
        """A data: URI of a small copy; None where there is none."""
        ...


def contact_sheet(pictures: Sequence[Shown], head: Sequence[str] = ()) -> str:
    """The pictures with their captions, below the lines of `head`, as HTML."""
    lines = [f"<p>{'<br>'.join(map(escape, head))}</p>"] if head else []
    figures: list[str] = []
    size = 0
    first = pictures[:MAX_PICTURES]
    # Decoders release the GIL.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        sources = pool.map(lambda picture: picture.thumbnail(), first)
        for picture, source in zip(first, sources, strict=True):
            size += len(source or "")
            if size > MAX_BYTES:
                break
            figures.append(_figure(picture, source))
    left = len(pictures) - len(figures)
    more = [f"<p>{left} more are not shown.</p>"] if left else []
    return f"<div>{''.join([*lines, *figures, *more])}</div>"


def _figure(picture: Shown, source: str | None) -> str:
    words = escape(picture.caption)
    shown = (
        f'<img src="{source}" alt="{words}" style="{_IMAGE}">'
        if source
        else "<div>It is not kept, or cannot be shown.</div>"
    )
    return f'<div style="{_BOX}">{shown}<div style="{_CAPTION}">{words}</div></div>'
