"""Checks a wave against the catalog and against itself: models, sizes, ratios, ids, templates."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from string import Formatter

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from imagewave.storage import catalog
from imagewave.storage.briefs import Brief, id_problem, slug
from imagewave.storage.toml_lines import KeyPath
from imagewave.storage.wave import Draft, Expand, Final, Judge

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


class ModelCheck:
    """Turns the models, sizes and thinking levels that a wave names into those that it gets.

    Gathers `faults` and `warnings`; the tables it returns are complete where there is no fault.
    """

    def __init__(self, lane: str, today: date | None) -> None:
        # With a lane that does not exist, which is a fault of its own, any lane may be meant.
        self._lanes = {lane} if lane in LANES else set(LANES)
        # Bulk drafts come from own GPUs, and finals perhaps from somebody's API.
        self._other_lanes = set(LANES) if lane == "gpu" else self._lanes
        self._today = today
        self.faults: list[Fault] = []
        self.warnings: list[str] = []
        self.image_models: list[catalog.Model] = []

    def expand(self, table: Expand) -> Expand:
        if table.mode != "model":
            return table
        model = self._model(("expand", "model"), table.model, "text")
        return table.model_copy(update={"model": model.id}) if model else table

    def judge(self, table: Judge) -> Judge:
        if not table.asks_model:
            if table.enabled and table.brand_rules:
                self.warnings.append('With [judge] by = "local", brand_rules are not looked at.')
            return table
        model = self._model(("judge", "model"), table.model, "text")
        return table.model_copy(update={"model": model.id}) if model else table

    def draft(self, table: Draft) -> Draft:
        model = self._model(("draft", "model"), table.model, "image")
        if model is None:
            return table
        self.image_models.append(model)
        least = "minimal" if "minimal" in model.thinking else None
        return table.model_copy(
            update={
                "model": model.id,
                "size": self._size("draft", table.size, model),
                "quality": self._quality("draft", table.quality, model, at=0),
                "thinking": self._thinking("draft", table.thinking, model) or least,
                "fallback_model": self._fallback("draft", table.fallback_model, model),
                **self._on_own_gpus("draft", table, model),
            }
        )

    def final(self, table: Final) -> Final:
        if table.carry == "accept":
            return table
        model = self._model(("final", "model"), table.model, "image", self._other_lanes)
        if model is None:
            return table
        self.image_models.append(model)
        if table.carry == "reference":
            self._takes_references(model, ("final", "carry"))
        if table.carry == "seed" and model.provider != "self":
            self.warnings.append(
                f"The seeds of {model.id!r} are hints that do not reproduce a draft: "
                'carry = "reference" keeps its intent.'
            )
        return table.model_copy(
            update={
                "model": model.id,
                "size": self._size("final", table.size, model),
                "quality": self._quality(
                    "final", table.quality, model, at=len(model.qualities) // 2
                ),
                "thinking": self._thinking("final", table.thinking, model),
                "fallback_model": self._fallback(
                    "final", table.fallback_model, model, carries=table.carry == "reference"
                ),
                **self._on_own_gpus("final", table, model),
            }
        )

    def _fallback(self, table: str, name: str, first: catalog.Model, carries: bool = False) -> str:
        """The id of the model that takes over from the first one; "" where none is named."""
        path = (table, "fallback_model")
        model = self._model(path, name, "image", self._other_lanes) if name else None
        if model is None:
            return ""
        if model.id == first.id:
            message = f"{model.id!r} is the model that it is to take over from."
            self.faults.append(Fault(path=path, message=message, fix="Name another model."))
        if carries:
            self._takes_references(model, path)
        self.image_models.append(model)
        return model.id

    def _on_own_gpus(
        self, table: str, given: Draft | Final, model: catalog.Model
    ) -> dict[str, object]:
        """Steps and guidance as they will be used; a fault where the model has neither."""
        if model.provider == "self":
            return {
                "steps": given.steps or model.steps,
                "guidance": model.guidance if given.guidance is None else given.guidance,
            }
        for key in ("steps", "guidance", "loras"):
            if getattr(given, key):
                message = f"{model.id!r} is not rendered on own GPUs, so it has no {key}."
                fault = Fault(path=(table, key), message=message, fix=f"Leave {key} out.")
                self.faults.append(fault)
        return {}

    def _takes_references(self, model: catalog.Model, path: KeyPath) -> None:
        if model.reference_limit < 1:
            self.faults.append(
                Fault(
                    path=path,
                    message=f"the model {model.id!r} takes no reference images.",
                    fix='Use carry = "seed", carry = "accept", or another model.',
                )
            )

    def ratio_fault(self, ratio: str, path: KeyPath, brief: int | None = None) -> None:
        """Notes a fault if one of the wave's image models does not draw this aspect ratio."""
        for model in self.image_models:
            if ratio in model.ratios:
                continue
            common = [
                r for r in model.ratios if all(r in other.ratios for other in self.image_models)
            ]
            self.faults.append(
                Fault(
                    path=path,
                    message=f"{model.id!r} does not draw the aspect ratio {ratio[:40]!r}.",
                    fix=f"Choose one of {', '.join(common)}.",
                    brief=brief,
                )
            )
            return

    def _model(
        self, path: KeyPath, name: str, kind: str, lanes: Collection[str] | None = None
    ) -> catalog.Model | None:
        """The model, if it lives, is of that kind and is reached by one of the lanes (None: the
        wave's)."""
        try:
            model = catalog.find_model(name)
            warning = catalog.require_alive(model, self._today)
        except (catalog.UnknownModel, catalog.RetiredModel) as error:
            self.faults.append(Fault(path=path, message=error.message, fix=error.fix))
            return None
        if warning and warning not in self.warnings:
            self.warnings.append(warning)
        if model.kind != kind:
            self._refuse(path, f"{model.id!r} is a model for {model.kind}s, not {kind}s.", kind)
            return None
        # What judges or writes has a lane of its own where another provider draws.
        allowed = set(LANES) if kind == "text" else set(lanes or self._lanes)
        if not allowed & set(model.lanes):
            tried = " or ".join(sorted(allowed))
            self._refuse(path, f"{model.id!r} cannot be reached by {tried}.", kind)
            return None
        return model

    def _refuse(self, path: KeyPath, message: str, kind: str) -> None:
        others = [
            m.id
            for m in catalog.models()
            if m.kind == kind and m.alive(self._today) and self._lanes & set(m.lanes)
        ]
        fix = f"Choose one of {', '.join(others)}." if others else ""
        self.faults.append(Fault(path=path, message=message, fix=fix))

    def _size(self, table: str, size: str | None, model: catalog.Model) -> str | None:
        if size is None:
            return model.default_size
        if size.upper() in model.sizes:
            return size.upper()
        self._choose((table, "size"), size, "size", model.sizes, model)
        return None

    def _quality(self, table: str, level: str | None, model: catalog.Model, at: int) -> str | None:
        """The quality to ask for, never left to the model: that would leave it the bill, too."""
        if level is None:
            return model.qualities[at] if model.qualities else None
        if level not in model.qualities:
            self._choose((table, "quality"), level, "quality", model.qualities, model)
        return level

    def _thinking(self, table: str, level: str | None, model: catalog.Model) -> str | None:
        if level is not None and level not in model.thinking:
            self._choose((table, "thinking"), level, "thinking level", model.thinking, model)
        return level

    def _choose(
        self,
        path: KeyPath,
        given: str,
        what: str,
        allowed: Collection[str],
        model: catalog.Model,
    ) -> None:
        fix = f"Choose one of {', '.join(allowed)}." if allowed else f"Leave {path[-1]} out."
        self.faults.append(
            Fault(
                path=path,
                message=f"{model.id!r} has no {what} {given[:40]!r}.",
                fix=fix,
            )
        )


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
