"""Reads wave files: TOML, checked against the catalog before anything is spent.

Every fault that is found is told at once, each with its file, its line or row, its key and the
fix.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from imagewave.errors import ImagewaveError
from imagewave.storage.briefs import Brief, SourceError, read_briefs, read_url, slug
from imagewave.storage.catalog.routes import NoRoute, known_uses
from imagewave.storage.toml_lines import KeyLines, KeyPath
from imagewave.storage.wave import (
    Budget,
    Defaults,
    Deliver,
    Draft,
    Expand,
    Final,
    Judge,
    Screen,
    Wait,
    Wave,
)
from imagewave.storage.wavecheck import (
    Fault,
    brief_faults,
    head_faults,
    nearest,
    template_faults,
    template_fields,
    validation_fault,
)
from imagewave.storage.wavemodels import ModelCheck
from imagewave.storage.waveroute import choose_models, choose_readers
from imagewave.words import redacted

__all__ = [
    "Brief",
    "Budget",
    "Deliver",
    "Draft",
    "Expand",
    "Final",
    "Judge",
    "Problem",
    "Screen",
    "Wait",
    "Wave",
    "WaveFileError",
    "load_wave",
    "template_fields",
]

MAX_WAVE_BYTES = 16 * 1024 * 1024
"""A larger wave file is refused as a mistake."""

_SHOWN = 20
_T = TypeVar("_T", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault: where it stands, what it is, and the way out."""

    file: str
    line: int | None
    key: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        place = ", ".join(filter(None, (self.file, line, self.key)))
        return redacted(f"{place}: {self.message} {self.fix}".rstrip())


class WaveFileError(ImagewaveError):
    """A wave file cannot be used. `problems` are all the faults that were found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        shown = [str(problem) for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            shown.append(f"… and {len(self.problems) - _SHOWN} more")
        if len(shown) > 1:
            shown.insert(0, f"The wave has {len(self.problems)} problems:")
        super().__init__("\n  ".join(shown))


class _Head(BaseModel):
    """[wave]"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    use_case: str = ""
    lane: str = "gemini-batch"
    cache: Literal["reuse", "refresh"] = "reuse"


class _Source(BaseModel):
    """[briefs]"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    format: Literal["csv", "jsonl", "ndjson", "parquet"] | None = None


_TABLES: Mapping[str, type[BaseModel]] = {
    "wave": _Head,
    "budget": Budget,
    "wait": Wait,
    "briefs": _Source,
    "defaults": Defaults,
    "expand": Expand,
    "draft": Draft,
    "screen": Screen,
    "judge": Judge,
    "final": Final,
    "deliver": Deliver,
}


def load_wave(source: str | Path, *, today: date | None = None) -> Wave:
    """Reads a wave file by path or URL, and the briefs that it names.

    `today` decides which models are retired; None: the current date.

    Raises:
        WaveFileError: anything is wrong; its `problems` are all that was found.
    """
    return _Reading(str(source)).wave(today)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a brief came from (an inline table's index or a file's row) and what it spells out."""

    file: str
    place: int
    inline: bool
    given: frozenset[str]


class _Reading:
    """One reading of one wave file; gathers problems until the end."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._problems: list[Problem] = []
        text = self._text()
        try:
            self._document = tomllib.loads(text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise self._fatal(*_syntax(error)) from error
        except RecursionError as error:
            raise self._fatal(None, "its values are nested too deeply.", "") from error
        self._lines = KeyLines(text)
        self._briefs: list[Brief] = []
        self._origins: list[_Origin] = []
        self._source_faulty = False

    def wave(self, today: date | None) -> Wave:
        tables = {name: self._table(name) for name in _TABLES}
        for name in self._document:
            if name not in _TABLES and name != "brief":
                fix = nearest(name, [*_TABLES, "brief"])
                self._add(Fault(path=(name,), message="there is no such table or key.", fix=fix))
        head, defaults = tables.pop("wave"), tables.pop("defaults")
        self._read_briefs(tables.pop("briefs"), {"use_case": head.use_case, **dict(defaults)})
        self._add(*head_faults(head.name, head.lane), *brief_faults(self._briefs))
        routing = self._route(head.lane, tables, today)
        choose_readers(self._document, tables, today)
        check = ModelCheck(head.lane, today)
        tables["expand"] = check.expand(tables["expand"])
        tables["draft"] = check.draft(tables["draft"])
        tables["judge"] = check.judge(tables["judge"])
        tables["final"] = check.final(tables["final"])
        self._check_ratios(check, defaults)
        self._add(*check.faults, *template_faults(tables["expand"], self._briefs))
        if self._problems:
            raise WaveFileError(sorted(self._problems, key=self._reading_order))
        return Wave(
            **dict(head),
            **tables,
            briefs=tuple(self._briefs),
            file=self._source,
            warnings=(*check.warnings, *self._unknown_uses(head.use_case)),
            routing=routing,
        )

    def _route(self, lane: str, tables: dict[str, Any], today: date | None) -> tuple[str, ...]:
        try:
            return choose_models(self._document, tables, self._briefs, lane, today)
        except NoRoute as error:
            self._add(Fault(path=("wave", "use_case"), message=error.message, fix=error.fix))
            return ()

    def _unknown_uses(self, use_case: str) -> Iterator[str]:
        """A warning for each use case that nothing is known of, as after a slip of the keys."""
        known = known_uses()
        used = dict.fromkeys([use_case, *(brief.use_case for brief in self._briefs)])
        for use in used:
            if use and use not in known:
                near = difflib.get_close_matches(use, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."
                yield f"The use case {use!r} chooses no models and no rubric.{hint}"

    def _reading_order(self, problem: Problem) -> tuple[bool, str, int]:
        return problem.file != self._source, problem.file, problem.line or 0

    def _text(self) -> str:
        try:
            data = read_url(self._source, MAX_WAVE_BYTES)
            return data.decode("utf-8-sig")
        except SourceError as error:
            raise self._fatal(None, error.message, error.fix) from error
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self._fatal(line, "it is not UTF-8.", "Save the file as UTF-8.") from error

    def _fatal(self, line: int | None, message: str, fix: str) -> WaveFileError:
        return WaveFileError(
            [Problem(file=self._source, line=line, key="", message=message, fix=fix)]
        )

    def _add(self, *faults: Fault) -> None:
        for fault in faults:
            file, path = self._source, fault.path
            line = None
            if fault.brief is not None:
                origin = self._origins[fault.brief]
                file = origin.file
                if origin.inline:
                    path = ("brief", origin.place, *path)
                else:
                    line = origin.place
            if line is None:
                line = self._lines.line(path)
            self._problems.append(
                Problem(
                    file=file,
                    line=line,
                    key=_spell(path),
                    message=fault.message,
                    fix=fault.fix,
                )
            )

    def _table(self, name: str) -> Any:
        """The table as its class; None for a source of briefs that is not given."""
        if name not in self._document:
            if name == "briefs":
                return None
            if name == "wave":
                fix = 'Begin the file with [wave] and name = "spring-covers".'
                self._add(Fault(path=(), message="the table [wave] is missing.", fix=fix))
                return _Head(name="unknown")
        values = self._document.get(name, {})
        if name == "expand" and isinstance(values, dict) and values.get("templates"):
            values = {"mode": "template"} | values
        return self._valid(_TABLES[name], values, (name,))

    def _valid(
        self, kind: type[_T], values: object, at: KeyPath, brief: int | None = None
    ) -> _T | None:
        """The values as their class; notes what is wrong, and goes on without those keys.

        So a wave that has faults is still checked to its end. None: nothing can be read from a
        source of briefs that has a fault.
        """
        try:
            return kind.model_validate(values)
        except ValidationError as error:
            details = error.errors(include_url=False)
        self._add(*(validation_fault(detail, kind, at, brief) for detail in details))
        if kind is _Source:
            self._source_faulty = True
            return None
        wrong = {detail["loc"][0] for detail in details if detail["loc"]}
        given = values if isinstance(values, dict) else {}
        rest = {key: value for key, value in given.items() if key not in wrong}
        needed = {name for name, field in kind.model_fields.items() if field.is_required()}
        return kind.model_validate(dict.fromkeys(needed, "unknown") | rest)

    def _read_briefs(self, source: _Source | None, common: Mapping[str, Any]) -> None:
        before = len(self._problems)
        rows = self._document.get("brief", [])
        if isinstance(rows, list):
            for index, row in enumerate(rows):
                fields = row if isinstance(row, dict) else {"text": row}
                origin = _Origin(self._source, index, True, frozenset(fields))
                self._brief(fields, common, origin)
        else:
            fix = "Write [[brief]], with two brackets, for each brief."
            self._add(Fault(path=("brief",), message="this is not a list of briefs.", fix=fix))
        if source:
            self._read_source(source, common)
        if not self._briefs and not self._source_faulty and len(self._problems) == before:
            self._add(
                Fault(
                    path=(),
                    message="the wave has no briefs.",
                    fix='Add [[brief]] with text = "…", or [briefs] with source = "briefs.csv".',
                )
            )

    def _read_source(self, table: _Source, common: Mapping[str, Any]) -> None:
        url = _beside(self._source, table.source)
        try:
            for row in read_briefs(url, table.format):
                if isinstance(row, SourceError):
                    self._add_source(row)
                else:
                    origin = _Origin(row.file, row.row, False, frozenset(row.fields))
                    self._brief(row.fields, common, origin)
        except SourceError as error:
            self._add_source(error)

    def _add_source(self, error: SourceError) -> None:
        if error.row is None:
            message = f"{error.file}: {error.message}"
            self._add(Fault(path=("briefs", "source"), message=message, fix=error.fix))
        else:
            self._problems.append(
                Problem(
                    file=error.file,
                    line=error.row,
                    key="",
                    message=error.message,
                    fix=error.fix,
                )
            )

    def _brief(self, fields: Mapping[str, Any], common: Mapping[str, Any], origin: _Origin) -> None:
        values = {**common, **fields}
        text = values.get("text")
        if "id" not in values:
            words = slug(text) if isinstance(text, str) else ""
            values["id"] = words or f"brief-{origin.place + origin.inline}"
        elif isinstance(values.get("id"), int):
            values["id"] = str(values["id"])
        self._origins.append(origin)
        brief = self._valid(Brief, values, (), len(self._briefs))
        assert brief is not None
        self._briefs.append(brief)

    def _check_ratios(self, check: ModelCheck, defaults: Defaults) -> None:
        inherited = False
        for index, brief in enumerate(self._briefs):
            if "aspect_ratio" in self._origins[index].given:
                check.ratio_fault(brief.aspect_ratio, ("aspect_ratio",), index)
            else:
                inherited = True
        if inherited:
            check.ratio_fault(defaults.aspect_ratio, ("defaults", "aspect_ratio"))


def _syntax(error: tomllib.TOMLDecodeError) -> tuple[int | None, str, str]:
    message = str(error)
    place = re.search(r" \(at line (\d+), column \d+\)$", message)
    line = int(place[1]) if place else None
    what = message[: place.start()] if place else message
    return line, f"this is not TOML: {what}.", 'Texts need quotes: name = "value".'


def _beside(wave: str, source: str) -> str:
    """A source's URL; a relative path counts from the wave file's folder."""
    if "://" in source:
        return source
    if "://" in wave:
        return wave.rpartition("/")[0] + "/" + source
    return str(Path(wave).parent / source)


def _spell(path: KeyPath) -> str:
    """A key as a reader would name it; briefs are counted from 1."""
    spelled = ""
    for part in path:
        spelled += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return spelled.lstrip(".")
