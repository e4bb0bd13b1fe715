"""Checks the words of a wave: names, briefs, templates. Says what is wrong in a user's words."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from string import Formatter

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from imagewave.storage.briefs import Brief, id_problem, slug
from imagewave.storage.toml_lines import KeyPath
from imagewave.storage.wave import Expand

LANES = ("gemini-batch", "openai-batch", "anthropic-batch", "interactive", "gpu")
"""The lanes that a wave may name."""

BUILT_IN_FIELDS = ("text", "brief", "aspect_ratio")
"""What a template may name for every brief, besides its variables and the alternatives: the
brief's text, its id and its aspect ratio."""

MAX_TEXT = 20_000
"""Characters of a brief's text or variable; more is taken for a mistake."""

_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with the key at `path`; within a brief if `brief` is its index."""

    path: KeyPath
    message: str
    fix: str = ""
    brief: int | None = None


def nearest(name: str, known: Iterable[str]) -> str:
    """A fix that names the known spelling most like `name`, else all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known are {', '.join(names)}."


def template_fields(template: str) -> list[str]:
    """The names in braces of a template, in order.

    Raises:
        ValueError: a lone brace, or a field that is more than a name: `{a.b}`, `{a[0]}`, `{a:>9}`.
    """
    names = []
    for _, name, spec, conversion in Formatter().parse(template):
        if name is None:
            continue
        if spec or conversion or not re.fullmatch(r"\w+", name):
            extras = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(f"{{{name}{extras}}} is not a plain name in braces")
        names.append(name)
    return names


def validation_fault(
    details: ErrorDetails, kind: type[BaseModel], at: KeyPath, brief: int | None
) -> Fault:
    """One of pydantic's findings in a user's words."""
    path = (*at, *details["loc"])
    shown = repr(details["input"])
    if isinstance(details["input"], Decimal):
        shown = str(details["input"])
    shown = shown if len(shown) <= 60 else shown[:60] + "…"
    message, fix = f"{shown} is not possible.", ""
    match details["type"]:
        case "missing":
            message = "this key is missing."
        case "extra_forbidden":
            message, fix = "there is no such key.", nearest(str(path[-1]), kind.model_fields)
            if kind is Brief:
                fix += " Values for templates belong under variables."
        case "literal_error":
            fix = f"Use {details['ctx']['expected']}."
        case "value_error":
            fix = f"It should be {details['ctx']['error']}."
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            fix = _range(kind, str(path[-1]), details)
        case "too_short":
            fix = f"It needs at least {details['ctx']['min_length']}."
        case _:
            fix = _asked(details)
    return Fault(path=path, message=message, fix=fix, brief=brief)


def _range(kind: type[BaseModel], key: str, details: ErrorDetails) -> str:
    """The numbers that the key takes, both ends of them where it has two."""
    field = kind.model_fields.get(key)
    limits = {
        name: value
        for limit in (field.metadata if field else ())
        for name in _LIMITS
        if (value := getattr(limit, name, None)) is not None
    }
    told = [f"{_LIMITS[name]} {value}" for name, value in limits.items()]
    return f"It should be {' and '.join(told)}." if told else _asked(details)


def _asked(details: ErrorDetails) -> str:
    """What pydantic says that a value should be or have."""
    return f"It should {details['msg'].partition(' should ')[2] or 'be another'}."


_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def head_faults(name: str, lane: str) -> Iterator[Fault]:
    """What is wrong with a wave's name and lane."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        shown = name if len(name) <= 40 else name[:40] + "…"
        better = slug(name)
        yield Fault(
            path=("wave", "name"),
            message=f"{shown!r} cannot be the name of a wave.",
            fix="Use up to 64 lower-case letters, digits, '-' and '_'"
            + (f", such as {better!r}." if better else "."),
        )
    if lane not in LANES:
        yield Fault(
            path=("wave", "lane"),
            message=f"there is no lane {lane!r}.",
            fix=nearest(lane, LANES),
        )


def brief_faults(briefs: Sequence[Brief]) -> Iterator[Fault]:
    """What is wrong with the briefs' ids and words."""
    first: dict[str, int] = {}
    for index, brief in enumerate(briefs):
        problem = id_problem(brief.id)
        if problem:
            yield Fault(path=("id",), message=problem[0], fix=problem[1], brief=index)
        elif brief.id in first:
            yield Fault(
                path=("id",),
                message=f"the id {brief.id!r} is also that of brief {first[brief.id] + 1}.",
                fix="Give each brief an id of its own.",
                brief=index,
            )
        first.setdefault(brief.id, index)
        if not brief.text.strip():
            yield Fault(path=("text",), message="the text is empty.", brief=index)
        values: dict[tuple[str, ...], str] = {
            ("variables", name): value for name, value in brief.variables.items()
        }
        for key in ("text", "expected_text", "use_case"):
            values[key,] = getattr(brief, key)
        for path, words in values.items():
            if len(words) > MAX_TEXT:
                message = f"it has {len(words)} characters, and {MAX_TEXT} are allowed."
                yield Fault(path=path, message=message, brief=index)
            elif _UNWRITABLE.search(words):
                message = "it has characters that cannot be written, such as control characters."
                yield Fault(path=path, message=message, brief=index)


def template_faults(expand: Expand, briefs: Sequence[Brief]) -> Iterator[Fault]:
    """What is wrong with the templates and their alternatives."""
    if expand.mode == "template" and not expand.templates:
        yield Fault(
            path=("expand", "templates"),
            message="there are no templates.",
            fix='Add templates = ["{text}, …"], or choose mode = "none".',
        )
    for name in expand.alternatives:
        if name in BUILT_IN_FIELDS:
            yield Fault(
                path=("expand", "alternatives", name),
                message=f"{{{name}}} already stands for the brief's own {name}.",
                fix="Give the alternatives another name.",
            )
    for template in expand.templates:
        try:
            fields = template_fields(template)
        except ValueError as error:
            yield Fault(
                path=("expand", "templates"),
                message=f"in {template[:60]!r}: {error}.",
                fix="Write {name} for a variable, and {{ or }} for a brace.",
            )
            continue
        for field in dict.fromkeys(fields):
            if field in BUILT_IN_FIELDS or field in expand.alternatives:
                continue
            without = [brief for brief in briefs if field not in brief.variables]
            if without:
                yield _unknown_field(field, without, briefs, expand)


def _unknown_field(
    field: str, without: Sequence[Brief], briefs: Sequence[Brief], expand: Expand
) -> Fault:
    known = dict.fromkeys((*BUILT_IN_FIELDS, *expand.alternatives))
    for brief in briefs:
        known |= dict.fromkeys(brief.variables)
    if len(without) == len(briefs):
        return Fault(
            path=("expand", "templates"),
            message=f"there is no variable {{{field}}}.",
            fix=nearest(field, known),
        )
    others = f" and {len(without) - 1} more" if len(without) > 1 else ""
    return Fault(
        path=("expand", "templates"),
        message=f"the brief {without[0].id[:64]!r}{others} has no variable {{{field}}}.",
        fix="Give every brief a value for it.",
    )
