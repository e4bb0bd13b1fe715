"""Sorts the columns of a list into a brief's keys and its variables."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from imagewave.storage.sources.cells import cell, whole_number, words
from imagewave.storage.sources.rows import Row, SourceError, Unusable

KEYS = ("id", "text", "want", "aspect_ratio", "use_case", "expected_text")
"""The keys of a brief that a column may be."""

_KNOWN_HEADERS = 1000
_SHOWN = 12


def column(name: str) -> str:
    """A column's name as keys and variables are called: lower case, '_' for all but word signs."""
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


class Columns:
    """What the columns of one source stand for.

    `mapping` has the name of a column for a key or a variable; a column that it does not name is
    the key or the variable that it is called like. `used` are the variables that can get into a
    prompt (None: all): of the others, a value that is no text is left out. `discreet`: what is in
    the source is not told.
    """

    def __init__(
        self,
        url: str,
        mapping: Mapping[str, str],
        *,
        used: frozenset[str] | None = None,
        discreet: bool = False,
    ) -> None:
        self._url = url
        self._mapping = mapping
        self._used = used
        self._discreet = discreet
        self._targets: dict[tuple[str, ...], Sequence[tuple[int, str]]] = {}
        self._names: dict[str, None] = {}
        self.left_out: dict[str, str] = {}
        self.unasked = 0
        self.first_unasked: int | None = None

    def asked_for(self, names: Sequence[str]) -> int:
        """How many of the columns that a list of briefs needs are among the names."""
        wanted = {"text": "text"} | dict(self._mapping)
        return sum(self._find(name, names) is not None for name in wanted.values())

    def check_header(self, names: Sequence[str], row: int | None) -> None:
        """Raises SourceError unless the names have what `mapping` names, and a text."""
        for key, name in self._mapping.items():
            if self._find(name, names) is None:
                raise self._missing(key, name, names, row)
        if "text" not in self._mapping and "text" not in map(column, names):
            among = "" if self._discreet else f" among {_listed(names)}"
            near = [name for name in names if re.search("title|name|descr", name, re.IGNORECASE)]
            shown = near[0] if near and not self._discreet else "Title"
            raise SourceError(
                self._url,
                f"there is no column 'text'{among}.",
                f'Name the column that is: [briefs.columns] text = "{shown}".',
                row=row,
            )
        self._targets_of(tuple(names), row)

    def check_end(self) -> None:
        """Raises SourceError if a column that `mapping` names was in no row."""
        names = list(self._names)
        for key, name in self._mapping.items():
            if names and self._find(name, names) is None:
                raise self._missing(key, name, names, None)

    def fields(self, row: Row) -> dict[str, Any] | SourceError | None:
        """The row's keys, and `variables`; None where the list has no brief in it.

        That is a blank row, and one without the column that is mapped to the text: the exports of
        shops have rows for the variants and pictures of the product above them.

        Raises:
            SourceError: the columns of the whole source are wrong.
        """
        brief: dict[str, Any] = {}
        variables: dict[str, Any] = {}
        for place, target in self._targets_of(row.names, row.place):
            value = row.values[place]
            # Nearly all that lists have is text: 100,000 rows have millions of values.
            if type(value) is str and target not in ("want", "variables"):
                if value := value.strip():
                    (brief if target in KEYS else variables)[target] = value
                continue
            inner = {target: value}
            if target == "variables" and isinstance(value, Mapping):
                inner = {str(name): each for name, each in value.items()}
            for name, each in zip(inner, map(cell, inner.values()), strict=True):
                if isinstance(each, Unusable):
                    if target not in KEYS and self._used is not None and name not in self._used:
                        self.left_out.setdefault(row.names[place], each.what)
                        continue
                    of = "" if self._discreet else f" of the column {row.names[place]!r}"
                    message = f"the value{of} is {each.what}."
                    return SourceError(row.file, message, each.fix, row=row.place)
                if each is None:
                    continue
                if target in KEYS:
                    brief[name] = whole_number(each) if name == "want" else words(each)
                else:
                    variables[name] = words(each)
        if not brief and not variables:
            return None
        if "text" in self._mapping and "text" not in brief:
            self.unasked += 1
            self.first_unasked = self.first_unasked or row.place
            return None
        if variables:
            brief["variables"] = variables
        return brief

    def _targets_of(self, names: tuple[str, ...], row: int | None) -> Sequence[tuple[int, str]]:
        """The places of the columns that are a key or a variable, and which they are."""
        if (known := self._targets.get(names)) is not None:
            return known
        self._names |= dict.fromkeys(filter(None, names))
        mapped = [
            (place, key)
            for key, name in self._mapping.items()
            if (place := self._find(name, names)) is not None
        ]
        taken = {place for place, _ in mapped}
        found = mapped + [
            (place, target)
            for place, name in enumerate(names)
            if place not in taken and (target := column(name)) and target not in self._mapping
        ]
        seen: set[str] = set()
        for _, target in found:
            if target in seen:
                which = "a column" if self._discreet else f"the column {target!r}"
                raise SourceError(
                    self._url, f"{which} occurs twice.", "Leave one of them out.", row=row
                )
            seen.add(target)
        if len(self._targets) < _KNOWN_HEADERS:
            self._targets[names] = found
        return found

    def _find(self, wanted: str, names: Sequence[str]) -> int | None:
        """The place of the column: as it is spelled, else as keys are called."""
        if wanted in names:
            return names.index(wanted)
        plain = column(wanted)
        return next((n for n, name in enumerate(names) if plain and column(name) == plain), None)

    def _missing(self, key: str, name: str, names: Sequence[str], row: int | None) -> SourceError:
        fix = ""
        if not self._discreet:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            offered = " or ".join(repr(each) for each in near)
            fix = f"Did you mean {offered}?" if near else f"There are {_listed(names)}."
        return SourceError(
            self._url, f"there is no column {name!r}, which is to be {key!r}.", fix, row=row
        )


def _listed(names: Sequence[str]) -> str:
    shown = [name for name in names if name]
    more = f", and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
