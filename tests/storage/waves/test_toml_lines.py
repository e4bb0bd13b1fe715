"""Where a key stands in a TOML text."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewave.storage.waves.toml_lines import KeyLines

TEXT = '''\
# a comment with [brackets] and = signs
title = "a # b = [c]"

[wave]
name = "x"   # trailing
"quoted key" = 1
text = """
[not.a.table]
fake = 1
"""
raw = \'\'\'
[[brief]]
\'\'\'
list = [
  "[a]", # one
  { b = 1 },
]
dotted.key.path = true

[expand.alternatives]
light = ["a"]

[[brief]]
id = "one"

[[brief]]
id = "two"
[brief.variables]
season = "spring"
[a."b.c".d]
e = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("wave",), 4),
        (("wave", "name"), 5),
        (("wave", "quoted key"), 6),
        (("wave", "text"), 7),
        (("wave", "raw"), 11),
        (("wave", "list"), 14),
        (("wave", "dotted", "key", "path"), 18),
        (("expand", "alternatives", "light"), 21),
        (("brief", 0), 23),
        (("brief", 0, "id"), 24),
        (("brief", 1, "id"), 27),
        (("brief", 1, "variables", "season"), 29),
        (("a", "b.c", "d", "e"), 31),
    ],
)
def test_keys_are_found(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert KeyLines(TEXT).line(path) == line


def test_an_unknown_path_is_found_at_what_holds_it() -> None:
    lines = KeyLines(TEXT)
    assert lines.line(("wave", "list", 1, "b")) == 14
    assert lines.line(("brief", 0, "text")) == 23
    assert lines.line(("final", "model")) is None
    assert lines.line(()) is None
    assert KeyLines("").line(("wave",)) is None


_KEY = st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True)
_VALUE = st.sampled_from(
    [
        "1",
        '"x"',
        "'''\n[t]\n'''",
        '"""\na = 1\n"""',
        "[\n1,\n# ]\n]",
        "{ a = [1], b = 'y' }",
        '"\\""',
    ]
)


@given(st.lists(st.tuples(_KEY, st.dictionaries(_KEY, _VALUE, max_size=3)), max_size=5))
def test_any_array_of_tables_is_found(tables: list[tuple[str, dict[str, str]]]) -> None:
    lines: list[str] = []
    wanted: dict[tuple[Any, ...], int] = {}
    seen: dict[str, int] = {}
    for name, keys in tables:
        index = seen[name] = seen.get(name, -1) + 1
        wanted[name, index] = len(lines) + 1
        lines.append(f"[[{name}]]")
        for key, value in keys.items():
            wanted[name, index, key] = len(lines) + 1
            lines += f"{key} = {value}".split("\n")
    text = "\n".join(lines)
    tomllib.loads(text)

    found = KeyLines(text)

    assert {path: found.line(path) for path in wanted} == wanted
