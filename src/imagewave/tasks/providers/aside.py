"""Result lines that are almost wholly base64, read without looking through the base64 twice.

The fast way finds the long values of one field in the raw bytes, sets them aside, reads the little
that remains as JSON and decodes only the picture that counts. Whatever does not fit that (escaped
characters, broken text) goes the slow way, which reads the whole line as JSON; both give the same
outcome.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pybase64

from imagewave.storage.requests import FailureClass, Status
from imagewave.tasks.providers.jsonl import Line
from imagewave.tasks.providers.protocol import Outcome

MESSAGE_LIMIT = 500
"""Characters kept of a provider's message."""


class SetAside:
    """The long values that were taken out of a line, each known by the mark left in its place."""

    def __init__(self, values: list[memoryview]) -> None:
        self._values = values

    def decoded(self, data: str) -> bytes | None:
        """The bytes of a base64 value, or of the one that this mark stands for; None: it is none.

        Raises:
            ValueError: not base64 as it stands; perhaps the slow way finds an escape in it.
        """
        try:
            if data.startswith(_MARK):
                return pybase64.b64decode(self._values[int(data[len(_MARK) :])], validate=True)
            return pybase64.b64decode(data, validate=True)
        except ValueError:
            if self is not NOTHING_ASIDE:
                raise
            return None


NOTHING_ASIDE = SetAside([])

# Not base64, and random per process, so that no line can hold it by itself.
_MARK = f"~{os.urandom(12).hex()}:"

_LONG = 4096
_BACKSLASH = ord("\\")
_NEAR = 4096  # bytes from either end in which a broken line's key is looked for

Reading = Callable[[Any, SetAside], Outcome]
"""What a parsed line says; raises ValueError where only the slow way can tell."""


@dataclass(frozen=True, slots=True)
class Format:
    """The names of the two fields that matter here: that of long values, and the line's key."""

    long: re.Pattern[bytes]
    long_name: bytes
    key: re.Pattern[bytes]

    @classmethod
    def of(cls, *, long: str, key: str) -> "Format":
        """The format whose lines name these fields."""
        return cls(
            long=re.compile(rb'"%s"\s*:\s*"' % long.encode()),
            long_name=b'"%s"' % long.encode(),
            key=re.compile(rb'"%s"\s*:\s*"((?:[^"\\]|\\.){1,256})"' % key.encode()),
        )


def read(line: Line, format: Format, reading: Reading) -> Outcome:
    """What one result line says; a line that says nothing legible is a broken outcome."""
    if line.cut:
        said = "longer than any line that a provider sends"
        return _illegible(line, format, "LINE_TOO_LONG", said)
    try:
        document, values = _set_aside(line, format)
        return reading(_parse(document), values)
    except ValueError:
        pass  # the shortcut did not fit; the whole line decides
    try:
        return reading(_parse(line.copy()), NOTHING_ASIDE)
    except orjson.JSONDecodeError as error:
        return _illegible(line, format, "INVALID_JSON", str(error))


def _set_aside(line: Line, format: Format) -> tuple[bytes, SetAside]:
    # A JSON string holds no bare quote, so `"data":"` can only be where a string value begins, and
    # the value ends at the next quote that is not escaped.
    buffer, size = line.buffer, line.size
    whole = memoryview(buffer)[:size]
    values: list[memoryview] = []
    pieces: list[bytes | memoryview] = []
    done = at = 0
    while (at := buffer.find(format.long_name, at, size)) >= 0:
        opening = format.long.match(buffer, at, size)
        at += len(format.long_name)
        if opening is None:
            continue
        start = opening.end()
        end = buffer.find(b'"', start, size)
        if end < 0 or buffer[end - 1] == _BACKSLASH:
            return line.copy(), NOTHING_ASIDE
        at = end + 1
        if end - start >= _LONG:
            pieces += whole[done:start], f"{_MARK}{len(values)}".encode()
            values.append(whole[start:end])
            done = end
    pieces.append(whole[done:])
    return b"".join(pieces), SetAside(values)


def _parse(document: bytes) -> Any:
    """The JSON value; bytes that are not UTF-8 are replaced, for the picture may still be whole."""
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        return orjson.loads(document.decode("utf-8", "replace"))


def _illegible(line: Line, format: Format, reason: str, message: str) -> Outcome:
    """A line that is no JSON. Whose it was often stands at its beginning, else at its end."""
    found = format.key.search(line.buffer, 0, min(line.size, _NEAR)) or format.key.search(
        line.buffer, max(line.size - _NEAR, 0), line.size
    )
    key = found[1].decode("utf-8", "replace") if found else None
    return broken(key, reason, message)


def broken(key: str | None, reason: str, message: str) -> Outcome:
    """A line that gives nothing, through no fault of the request."""
    return Outcome(
        key=key,
        status=Status.FAILED,
        failure=FailureClass.BROKEN,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
    )


def dict_of(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def dicts_of(value: object) -> list[dict[str, Any]]:
    """The objects of a list; [] if it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(value: object) -> str:
    """The value if it is text, else ""."""
    return value if isinstance(value, str) else ""


def count_of(value: object) -> int:
    """The value if it is a positive whole number, else 0."""
    return value if type(value) is int and value > 0 else 0
