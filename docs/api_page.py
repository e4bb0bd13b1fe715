"""Writes docs/api.md from the docstrings of what `imagewave` exports. Run:

python docs/api_page.py
"""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel

import imagewave
from imagewave.storage.waves.wave_file import Brief, Problem
from imagewave.tasks.planning.actuals import Check
from imagewave.tasks.planning.forecast import Spread
from imagewave.tasks.planning.plan import Alternative, Line
from imagewave.tasks.reporting.standing import (
    BillLine,
    Funnel,
    OpenJob,
    ShortBrief,
    Stop,
    WaveStatus,
)
from imagewave.tasks.rerun import Failure, Price

PAGE = Path(__file__).with_name("api.md")

_HEAD = """\
# The Python API

<!-- Written by docs/api_page.py from the docstrings: change those, and run it again. -->

`import imagewave as iw`. A walk through it is in [notebook.md](notebook.md). Wherever a call takes
a `wave`, that is a wave that was loaded, or the path or URL of a wave file; `store` is a `Store`,
or its folder or URL. The package is typed (`py.typed`).
"""

_SECTIONS = {
    "Calls": ("load", "plan", "compare", "check_plan", "run", "plan_rerun", "rerun", "once"),
    "The store": ("Store", "query"),
    "Results": (
        "Result", "OnceResult", "RerunPlan", "Answer", "Pictures", "Image", "Asset", "Lineage",
        "Status", "Plan", "Wave", "Progress",
    ),
    "Errors": (
        "ImagewaveError", "WaveFileError", "BudgetExceeded", "StoreError", "NoStore",
        "UnknownWave", "UnknownPrice", "QueryError", "MissingLibrary", "Rejected", "Unavailable",
        "SandboxWarning",
    ),
}  # fmt: skip

_PARTS = (
    Funnel, BillLine, OpenJob, ShortBrief, WaveStatus, Stop, Line, Spread, Alternative, Check,
    Failure, Price, Brief, Problem,
)  # fmt: skip


def page() -> str:
    """The page as the docstrings have it now."""
    parts = [_HEAD]
    for title, names in _SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += _entry(name, getattr(imagewave, name))
    parts.append("## What results hold\n")
    for kind in _PARTS:
        parts += _entry(kind.__name__, kind)
    return "\n".join(parts)


def _entry(name: str, thing: Any) -> Iterator[str]:
    if inspect.isclass(thing):
        yield f"### `{name}`\n"
        yield _prose(thing)
        yield from _fields(thing)
        yield from _members(name, thing)
    else:
        yield f"### `{name}`\n"
        yield f"```python\n{_signature(name, thing)}\n```\n"
        yield _prose(thing)


def _fields(kind: type) -> Iterator[str]:
    """A record's own fields with their types; what they are, its docstring says."""
    found: dict[str, Any]
    if issubclass(kind, BaseModel):
        hints = get_type_hints(kind)
        found = {name: hints[name] for name in kind.model_fields}
    elif dataclasses.is_dataclass(kind):
        found = {field.name: field.type for field in dataclasses.fields(kind)}
    else:
        return
    if base := _public_base(kind):
        yield f"It has the fields of `{base.__name__}`, and:\n"
        found = {name: kind for name, kind in found.items() if name not in base.__annotations__}
    shown = [f"- `{name}`: `{_type(type)}`" for name, type in found.items() if name[0] != "_"]
    yield "\n".join(shown) + "\n"


def _public_base(kind: type) -> type | None:
    """The exported record that this one adds fields to."""
    bases = [base for base in kind.__mro__[1:] if base.__name__ in imagewave.__all__]
    return bases[0] if bases and dataclasses.is_dataclass(bases[0]) else None


def _members(name: str, kind: type) -> Iterator[str]:
    """The methods and properties of ours; those of wave files are for imagewave itself."""
    if issubclass(kind, BaseModel) or _public_base(kind):
        return
    for member in dict.fromkeys(member for base in kind.__mro__ for member in vars(base)):
        home = next(base for base in kind.__mro__ if member in vars(base))
        thing = inspect.getattr_static(kind, member)
        ours = home.__module__.startswith("imagewave.")
        if member.startswith("_") or not ours or not getattr(thing, "__doc__", None):
            continue
        if inspect.isfunction(thing):
            yield f"#### `{name}.{member}`\n"
            yield f"```python\n{_signature(member, thing)}\n```\n"
            yield _prose(thing)
        elif isinstance(thing, property) or hasattr(thing, "attrname"):
            yield f"#### `{name}.{member}`\n"
            yield _prose(thing)


def _signature(name: str, function: Any) -> str:
    """The call on one line, or a parameter a line where that is too long."""
    signature = inspect.signature(function)
    given = [
        parameter.replace(annotation=_Bare(_type(parameter.annotation)))
        if parameter.annotation is not parameter.empty
        else parameter
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    returns = f" -> {_type(signature.return_annotation)}"
    shown = str(inspect.Signature(given))
    if len(name + shown + returns) <= 88:
        return f"{name}{shown}{returns}"
    lines = [str(parameter) for parameter in given]
    first = next((n for n, p in enumerate(given) if p.kind is p.KEYWORD_ONLY), len(given))
    lines.insert(first, "*")
    return f"{name}(\n{''.join(f'    {line},{chr(10)}' for line in lines if line)}){returns}"


class _Bare:
    """An annotation that is printed as it stands."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _type(annotation: Any) -> str:
    """The annotation in few words: no modules, and the names that stand for a wave or a store."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", text).replace("~", "")
    if "Literal" not in text:
        text = text.replace("'", "")
    return text.replace("PathLike[str]", "PathLike").replace("NoneType", "None")


def _prose(thing: Any) -> str:
    """The docstring as Markdown; the errors become a list."""
    text = inspect.cleandoc(thing.__doc__ or "")
    before, _, raised = text.partition("Raises:\n")
    if not raised:
        return before + "\n"
    errors = re.findall(r"^([\w, ]+): (.*(?:\n +.*)*)", textwrap.dedent(raised), re.MULTILINE)
    listed = "\n".join(
        f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {' '.join(words.split())}"
        for names, words in errors
    )
    return f"{before.strip()}\n\nRaises:\n\n{listed}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
