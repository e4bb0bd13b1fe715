"""What is wanted: briefs, their ids, and the names of the folders that their pictures go to."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt
from slugify import slugify

from imagewave.storage.requests import digest

MAX_ID = 200
"""Characters of an id; more is taken for a mistake."""

_FOLDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SLUG_CHARS = 48
_DIGITS = 6


def _text(value: Any) -> Any:
    """Numbers and truth values as text; what is neither is left for validation to refuse."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None or isinstance(value, list | dict) else str(value)


class Brief(BaseModel):
    """What is wanted: words, how many accepted images, which format.

    `id` is kept as it is given; the folder of its pictures is `folders` of the wave's ids.
    `expected_text` are words that must be legible in the picture. `variables` fill the wave's
    templates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    want: StrictInt = Field(default=1, ge=1, le=1000)
    aspect_ratio: str = "1:1"
    use_case: str = ""
    expected_text: str = ""
    variables: Mapping[str, Annotated[str, BeforeValidator(_text)]] = Field(default_factory=dict)


def slug(text: str) -> str:
    """A name made from free text: its first words in lower-case ASCII, joined by dashes.

    "" if there are none. Letters of other scripts are written as they sound.
    """
    return slugify(text, max_length=_SLUG_CHARS, word_boundary=True, save_order=True).strip("-")


def folders(ids: Iterable[str]) -> dict[str, str]:
    """The folder's name for each id of a wave: the id where it can be one, else its slug.

    Where several ids come to one name, or an id to none, its digest tells it apart: each gets the
    same name whatever order they come in.
    """
    names = {id: id if _can_be_folder(id) else slug(id) for id in ids}
    number = Counter(names.values())
    return {
        id: name
        if name == id or (name and number[name] == 1)
        else f"{name or 'brief'}-{digest(id)[:_DIGITS]}"
        for id, name in names.items()
    }


def same_folder(ids: Iterable[str]) -> list[list[str]]:
    """The ids of a wave that would have the same folder, if their digests did not part them."""
    alike: dict[str, list[str]] = {}
    for id in ids:
        alike.setdefault(id if _can_be_folder(id) else slug(id), []).append(id)
    return [group for name, group in alike.items() if name and len(group) > 1]


def _can_be_folder(id: str) -> bool:
    return _FOLDER.fullmatch(id) is not None and ".." not in id and not id.endswith(".")


def id_problem(value: str) -> tuple[str, str] | None:
    """What is wrong with an id, and the fix; None if nothing."""
    if not value.strip():
        return "the id is empty.", "Give it one, or leave it out: it is then made from the text."
    if len(value) > MAX_ID:
        return (
            f"the id {value[:40] + '…'!r} has {len(value)} characters, and {MAX_ID} are allowed.",
            f"Call it {slug(value)!r}." if slug(value) else "Use a shorter one.",
        )
    return None
