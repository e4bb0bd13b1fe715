"""Reads lists as tests need them: all rows at once, with what was said of them."""

from pathlib import Path
from typing import Any

from imagewave.storage.sources.read import RawBrief, read_briefs
from imagewave.storage.sources.rows import SourceError


def fields(source: Path | str, format: str | None = None, **options: Any) -> list[dict[str, Any]]:
    """The fields of all rows, none of which may be an error."""
    rows = list(read_briefs(str(source), format, **options))
    assert not [row for row in rows if isinstance(row, SourceError)]
    return [dict(row.fields) for row in rows if isinstance(row, RawBrief)]


def errors(source: Path | str, format: str | None = None, **options: Any) -> list[SourceError]:
    """All that is wrong with the source, row by row."""
    found: list[SourceError] = []
    try:
        rows = read_briefs(str(source), format, **options)
        found.extend(row for row in rows if isinstance(row, SourceError))
    except SourceError as error:
        found.append(error)
    return found


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """A file in the folder, or below it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
