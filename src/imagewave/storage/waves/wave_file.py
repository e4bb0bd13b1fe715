"""Reads wave files: TOML, checked against the catalog before anything is spent.

Every fault that is found is told at once, each with its file, its line or row, its key and the
fix.
"""

import difflib
import gc
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from urllib.parse import urljoin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from imagewave.errors import ImagewaveError
from imagewave.storage.catalog.routes import NoRoute, known_uses
from imagewave.storage.sources.columns import KEYS
from imagewave.storage.sources.fetch import kind, read_url, require_address
from imagewave.storage.sources.read import Format, read_briefs
from imagewave.storage.sources.rows import SourceError
from imagewave.storage.waves.briefs import Brief, slug
from imagewave.storage.waves.checks import (
    Fault,
    brief_faults,
    folder_warnings,
    head_faults,
    local_faults,
    nearest,
    prompt_variables,
    template_faults,
    template_fields,
    validation_fault,
)
from imagewave.storage.waves.model_checks import ModelCheck
from imagewave.storage.waves.routing import choose_models, choose_readers
from imagewave.storage.waves.toml_lines import KeyLines, KeyPath
from imagewave.storage.waves.wave import (
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
from imagewave.words import legible, redacted

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

_DEEPEST = 32
_TOO_DEEP = "its tables and lists are nested too deeply."
_SMALLER = "Write a smaller one; a number that is a name needs quotes."
_TOO_LARGE = "this number has more than the 64 bits that TOML has for one."

_SHOWN = 20
# Python reads no whole number of more digits.
_DIGITS = re.compile(r"[0-9_]{4301}")
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
        return legible(redacted(f"{place}: {self.message} {self.fix}".rstrip()))


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
    edition: str = ""


def _target(name: str) -> str:
    if not re.fullmatch(r"\w+", name) or name in ("brief", "variables"):
        raise ValueError(f"one of {', '.join(KEYS)}, or a variable's name of letters and digits")
    return name


_Target = Annotated[str, AfterValidator(_target)]


class _Source(BaseModel):
    """[briefs]: a list of briefs, or pages whose front matter they are.

    `columns` names the column that a key or a variable is; `encoding` and `sheet` left out: found
    out, and the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    format: Format | None = None
    encoding: str | None = None
    sheet: str | None = None
    columns: Mapping[_Target, str] = Field(default_factory=dict)


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
    with _uncollected():
        return _Reading(str(source)).wave(today)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage meanwhile: nothing of a long list is, and it takes a third of the time.

    A process has one collector, so other threads do without it, too.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


class _Origin(NamedTuple):
    """Where a brief came from (an inline table's index or a file's row), and whether it has an
    aspect ratio of its own."""

    file: str
    place: int
    inline: bool
    own_ratio: bool


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
            raise self._fatal(None, _TOO_DEEP, "") from error
        except ValueError as error:  # Python's limit of digits
            line = next((n for n, row in enumerate(text.split("\n"), 1) if _DIGITS.search(row)), 0)
            raise self._fatal(line or None, _TOO_LARGE, _SMALLER) from error
        too_large = self._first_too_large()
        self._lines = KeyLines(text)
        if too_large:
            fault = Fault(path=too_large, message=_TOO_LARGE, fix=_SMALLER)
            self._add(fault)
            raise WaveFileError(self._problems)
        self._briefs: list[Brief] = []
        self._origins: list[_Origin] = []
        self._source_faulty = False
        self._said: list[str] = []
        # What somebody else's wave file names is not to be found out by its errors.
        self._discreet = kind(source) != ""

    def _first_too_large(self) -> KeyPath:
        """Where a number stands that TOML has no room for; () where there is none.

        Raises:
            WaveFileError: tables or lists are nested deeper than any message could spell out.
        """
        found: KeyPath = ()
        left: list[tuple[KeyPath, Any]] = [((), self._document)]
        while left:
            path, value = left.pop()
            if len(path) > _DEEPEST:
                raise self._fatal(None, _TOO_DEEP, "")
            if isinstance(value, dict):
                left += [((*path, name), each) for name, each in value.items()]
            elif isinstance(value, list):
                left += [((*path, index), each) for index, each in enumerate(value)]
            elif isinstance(value, int) and value.bit_length() > 63:
                found = path
        return found

    def wave(self, today: date | None) -> Wave:
        tables = {name: self._table(name) for name in _TABLES}
        for name in self._document:
            if name not in _TABLES and name != "brief":
                fix = nearest(name, [*_TABLES, "brief"])
                self._add(Fault(path=(name,), message="there is no such table or key.", fix=fix))
        head, defaults = tables.pop("wave"), tables.pop("defaults")
        used = prompt_variables(tables["expand"])
        self._read_briefs(tables.pop("briefs"), {"use_case": head.use_case, **dict(defaults)}, used)
        if self._discreet:
            self._add(*local_faults(tables["judge"], tables["draft"], tables["final"]))
        self._add(
            *head_faults(head.name, head.lane, head.edition), *brief_faults(self._briefs, used)
        )
        routing = self._route(head.lane, tables, today)
        choose_readers(self._document, tables, today)
        check = ModelCheck(head.lane, today)
        tables["expand"] = check.expand(tables["expand"])
        tables["draft"] = check.draft(tables["draft"])
        tables["judge"] = check.judge(tables["judge"])
        tables["final"] = check.final(tables["final"])
        self._check_ratios(check, defaults)
        self._add(*check.faults)
        self._add(*template_faults(tables["expand"], self._briefs, discreet=self._discreet))
        if self._problems:
            raise WaveFileError(sorted(self._problems, key=self._reading_order))
        return Wave(
            **dict(head),
            **tables,
            briefs=tuple(self._briefs),
            file=self._source,
            warnings=(
                *check.warnings,
                *self._unknown_uses(head.use_case),
                *self._said,
                *folder_warnings(self._briefs),
            ),
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
        hidden = self._discreet and brief is not None and not self._origins[brief].inline
        self._add(*(validation_fault(detail, kind, at, brief, hidden) for detail in details))
        if kind is _Source:
            self._source_faulty = True
            return None
        wrong = {detail["loc"][0] for detail in details if detail["loc"]}
        given = values if isinstance(values, dict) else {}
        rest = {key: value for key, value in given.items() if key not in wrong}
        needed = {name for name, field in kind.model_fields.items() if field.is_required()}
        return kind.model_validate(dict.fromkeys(needed, "unknown") | rest)

    def _read_briefs(
        self, source: _Source | None, common: Mapping[str, Any], used: frozenset[str] | None
    ) -> None:
        before = len(self._problems)
        rows = self._document.get("brief", [])
        if isinstance(rows, list):
            for index, row in enumerate(rows):
                fields = row if isinstance(row, dict) else {"text": row}
                origin = _Origin(self._source, index, True, "aspect_ratio" in fields)
                self._brief(fields, common, origin)
        else:
            fix = "Write [[brief]], with two brackets, for each brief."
            self._add(Fault(path=("brief",), message="this is not a list of briefs.", fix=fix))
        if source:
            self._read_source(source, common, used)
        if not self._briefs and not self._source_faulty and len(self._problems) == before:
            self._add(
                Fault(
                    path=(),
                    message="the wave has no briefs.",
                    fix='Add [[brief]] with text = "…", or [briefs] with source = "briefs.csv".',
                )
            )

    def _read_source(
        self, table: _Source, common: Mapping[str, Any], used: frozenset[str] | None
    ) -> None:
        try:
            rows = read_briefs(
                _beside(self._source, table.source),
                table.format,
                encoding=table.encoding,
                sheet=table.sheet,
                columns=table.columns,
                used=used,
                trusted=self._source if self._discreet else None,
                discreet=self._discreet,
                say=self._said.append,
            )
            for row in rows:
                if isinstance(row, SourceError):
                    self._add_source(row)
                else:
                    origin = _Origin(row.file, row.row, False, "aspect_ratio" in row.fields)
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
            if self._origins[index].own_ratio:
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
    """A source's URL; a relative path counts from the wave file's folder.

    Raises:
        SourceError: the wave file is at a URL, and names a file that is not of the same kind.
    """
    own = kind(wave)
    if own == "http":
        try:
            url = urljoin(wave, source)
        except ValueError:
            require_address(source)
            raise
    elif "://" in source:
        url = source
    elif "://" in wave:
        url = wave.rpartition("/")[0] + "/" + source
    else:
        return str(Path(wave).parent / source)
    # fsspec reads "a::b" as a within b, which may be anything.
    if own and (kind(url) != own or (own != "http" and "::" in url)):
        kinds = {"http": "http and https", "s3": "s3"}.get(own, own)
        raise SourceError(
            url,
            f"a wave file that is read by a URL may only name {kinds} sources.",
            "Copy the wave file to this machine, and name the copy.",
        )
    return url


def _spell(path: KeyPath) -> str:
    """A key as a reader would name it; briefs are counted from 1."""
    spelled = ""
    for part in path:
        spelled += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return spelled.lstrip(".")
