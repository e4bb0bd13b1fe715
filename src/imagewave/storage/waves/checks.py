"""Checks the words of a wave: names, briefs, templates. Says what is wrong in a user's words."""

import contextlib
import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from string import Formatter

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from imagewave.storage.catalog.lanes import lane_kinds
from imagewave.storage.requests import lora_parts
from imagewave.storage.waves.briefs import Brief, id_problem, same_folder, slug
from imagewave.storage.waves.toml_lines import KeyPath
from imagewave.storage.waves.wave import Draft, Expand, Final, Judge
from imagewave.words import counted

BUILT_IN_FIELDS = ("text", "brief", "aspect_ratio")
"""What a template may name for every brief, besides its variables and the alternatives: the
brief's text, its id and its aspect ratio."""

MAX_TEXT = 20_000
"""Characters of a brief's text or variable; more is taken for a mistake."""

_KNOWN_SHOWN = 20
# A model or adapter on the hub, which is no path.
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# Groups of ids that are named one by one.
_WARNINGS = 3
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with the key at `path`; within a brief if `brief` is its index."""

    path: KeyPath
    message: str
    fix: str = ""
    brief: int | None = None


def nearest(name: str, known: Iterable[str], most: int | None = None) -> str:
    """A fix that names the known spelling most like `name`, else all of them, or so many."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    more = f", and {len(names) - most} more" if most and len(names) > most else ""
    return f"Known are {', '.join(names[:most])}{more}."


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
    details: ErrorDetails,
    kind: type[BaseModel],
    at: KeyPath,
    brief: int | None,
    hidden: bool = False,
) -> Fault:
    """One of pydantic's findings in a user's words; the value is not told where it is `hidden`."""
    # pydantic's mark of a fault in a key, rather than in its value.
    path = tuple(part for part in (*at, *details["loc"]) if part != "[key]")
    shown = "the value" if hidden else _shown(details["input"])
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
            fix = f"It needs at least {counted(details['ctx']['min_length'], 'value')}."
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


def _shown(value: object) -> str:
    """A value in the words of TOML, and no more of it than a line bears."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    shown = repr(value) if isinstance(value, str) else str(value)
    return shown if len(shown) <= 60 else shown[:60] + "…"


def _asked(details: ErrorDetails) -> str:
    """What a value should be or have."""
    form = _FORMS.get(details["type"], "be another")
    return f"It should {form.format(**details.get('ctx', {}))}."


# By pydantic's name for what is wrong.
_FORMS = {
    "string_type": 'be a text in quotes, such as "value"',
    "int_type": "be a whole number, without quotes",
    "bool_type": "be true or false, without quotes",
    "float_type": "be a number, without quotes",
    "float_parsing": "be a number",
    "decimal_type": "be a number",
    "decimal_parsing": "be a number",
    "finite_number": "be a finite number",
    "decimal_max_digits": "have no more than {max_digits} digits in total",
    "decimal_max_places": "have no more than {decimal_places} decimal places",
    "decimal_whole_digits": "have no more than {whole_digits} digits before the point",
    "tuple_type": 'be a list, such as ["one", "two"]',
    "too_long": "have no more than {max_length} values",
    "dict_type": 'be a table, such as {{ name = "value" }}',
    "mapping_type": 'be a table, such as {{ name = "value" }}',
    "model_type": "be a table: a line with its name in brackets, then a line for each key",
    "greater_than": "be more than {gt:g}",
    "greater_than_equal": "be at least {ge:g}",
    "less_than": "be less than {lt:g}",
    "less_than_equal": "be at most {le:g}",
}


_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def edition_problem(edition: str) -> str:
    """How to write an edition's name; "" if it can be one as it is."""
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", edition):
        return ""
    return "Use daily, weekly, monthly, or up to 32 lower-case letters, digits, '-' and '_'."


def head_faults(name: str, lane: str, edition: str) -> Iterator[Fault]:
    """What is wrong with a wave's name, lane and edition."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        shown = name if len(name) <= 40 else name[:40] + "…"
        better = slug(name)
        yield Fault(
            path=("wave", "name"),
            message=f"{shown!r} cannot be the name of a wave.",
            fix="Use up to 64 lower-case letters, digits, '-' and '_'"
            + (f", such as {better!r}." if better else "."),
        )
    if edition and (fix := edition_problem(edition)):
        shown = edition if len(edition) <= 40 else edition[:40] + "…"
        message = f"{shown!r} cannot be an edition."
        yield Fault(path=("wave", "edition"), message=message, fix=fix)
    if lane not in lane_kinds():
        yield Fault(
            path=("wave", "lane"),
            message=f"there is no lane {lane!r}.",
            fix=nearest(lane, lane_kinds()),
        )


def prompt_variables(expand: Expand) -> frozenset[str] | None:
    """The variables of briefs that can get into a prompt; None: all of them."""
    if expand.mode == "model":
        return None
    if expand.mode == "none":
        return frozenset()
    # A template that cannot be read is a fault of its own.
    found: set[str] = set()
    for template in expand.templates:
        with contextlib.suppress(ValueError):
            found |= set(template_fields(template))
    return frozenset(found - set(BUILT_IN_FIELDS) - set(expand.alternatives))


def folder_warnings(briefs: Sequence[Brief]) -> Iterator[str]:
    """What to tell of ids whose pictures would go to one folder."""
    alike = same_folder(brief.id for brief in briefs)
    for ids in alike[:_WARNINGS]:
        shown = " and ".join(map(repr, ids[:3])) + (f" and {len(ids) - 3} more" * (len(ids) > 3))
        yield (
            f"The ids {shown} make the same folder's name, {slug(ids[-1])!r}:"
            " a digest is added to tell their folders apart."
        )
    if len(alike) > _WARNINGS:
        yield f"So do {counted(len(alike) - _WARNINGS, 'other group')} of ids."


def local_faults(judge: Judge, draft: Draft, final: Final) -> Iterator[Fault]:
    """The files of this machine that are named, which a stranger's wave file may not do."""
    named = [
        (("judge", "local_model"), judge.local_model),
        *((("draft", "loras"), lora_parts(lora)[0]) for lora in draft.loras),
        *((("final", "loras"), lora_parts(lora)[0]) for lora in final.loras),
    ]
    found = [path for path, name in named if not _REPOSITORY.fullmatch(name)]
    if judge.local_aesthetic:
        found.append(("judge", "local_aesthetic"))
    for path in found:
        yield Fault(
            path=path,
            message="a wave file that is read by a URL may not name files of this machine.",
            fix="Copy the wave file to this machine, and name the copy.",
        )


def brief_faults(briefs: Sequence[Brief], used: Collection[str] | None = None) -> Iterator[Fault]:
    """What is wrong with the briefs' ids and words, and the variables `used` (None: all)."""
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
        everything = "".join(
            (brief.id, brief.text, brief.expected_text, brief.use_case, *brief.variables.values())
        )
        if len(everything) <= MAX_TEXT and not _UNWRITABLE.search(everything):
            continue
        values: list[tuple[tuple[str, ...], str]] = [
            (("text",), brief.text),
            (("expected_text",), brief.expected_text),
            (("use_case",), brief.use_case),
            (("id",), brief.id),
        ]
        values += ((("variables", name), value) for name, value in brief.variables.items())
        for path, words in values:
            in_prompt = used is None or path[0] != "variables" or path[1] in used
            if len(words) > MAX_TEXT and in_prompt:
                message = f"it has {len(words)} characters, and {MAX_TEXT} are allowed."
                yield Fault(path=path, message=message, brief=index)
            elif _UNWRITABLE.search(words):
                message = "it has characters that cannot be written, such as control characters."
                yield Fault(path=path, message=message, brief=index)


def template_faults(
    expand: Expand, briefs: Sequence[Brief], *, discreet: bool = False
) -> Iterator[Fault]:
    """What is wrong with the templates and their alternatives.

    `discreet`: which variables the briefs have instead is not told.
    """
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
                yield _unknown_field(field, without, briefs, expand, discreet)


def _unknown_field(
    field: str, without: Sequence[Brief], briefs: Sequence[Brief], expand: Expand, discreet: bool
) -> Fault:
    known = dict.fromkeys((*BUILT_IN_FIELDS, *expand.alternatives))
    for brief in () if discreet else briefs:
        known.update(dict.fromkeys(brief.variables))
    if len(without) == len(briefs):
        return Fault(
            path=("expand", "templates"),
            message=f"there is no variable {{{field}}}.",
            fix=nearest(field, known, most=_KNOWN_SHOWN),
        )
    others = f" and {len(without) - 1} more" if len(without) > 1 else ""
    return Fault(
        path=("expand", "templates"),
        message=f"the brief {without[0].id[:64]!r}{others} has no variable {{{field}}}.",
        fix="Give every brief a value for it.",
    )
