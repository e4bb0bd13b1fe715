"""Finds on which line of a TOML text a key stands, so that a message can point at it."""

import re
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')'  # strings of several lines
    r'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''  # strings of one line
    r"|\#[^\n]*|\n|[\[\]{}=,]|[^\s\[\]{}=,#\"']+",
    re.DOTALL,
)


class KeyLines:
    """Line numbers (from 1) of the tables and keys of a TOML text that is known to be valid.

    Keys inside arrays and inline tables are not told apart: they are found at the key that holds
    them, which is how `line` answers for every path that it does not know.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[KeyPath, int] = {}
        last_index: dict[KeyPath, int] = {}
        table: KeyPath = ()
        for line, tokens in _statements(text):
            if tokens[0] == "[":
                path: KeyPath = ()
                keys = list(_keys(tokens))
                is_array = tokens[1] == "["
                for depth, key in enumerate(keys):
                    path = (*path, key)
                    if is_array and depth == len(keys) - 1:
                        last_index[path] = last_index.get(path, -1) + 1
                    if path in last_index:
                        path = (*path, last_index[path])
                table = path
                self._lines.setdefault(table, line)
            else:
                key_tokens = tokens[: tokens.index("=")]
                self._lines.setdefault((*table, *_keys(key_tokens)), line)

    def line(self, path: KeyPath) -> int | None:
        """The line of the deepest part of `path` that the text spells out; None: no part."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each table header or key with its value: the line it begins on, and its tokens."""
    line, depth, start = 1, 0, 1
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n" and depth == 0:
            if tokens:
                yield start, tokens
            tokens = []
        elif token != "\n" and not token.startswith("#"):
            if not tokens:
                start = line
            tokens.append(token)
            depth += (token in "[{") - (token in "]}")
        line += token.count("\n")
    if tokens:
        yield start, tokens


def _keys(tokens: list[str]) -> Iterator[str]:
    for token in tokens:
        if token[0] in "\"'":
            yield token[1:-1]
        elif token not in "[]":
            yield from filter(None, token.split("."))
