"""Result lines that are almost wholly base64, read without looking through the base64 twice.

The fast way finds the long values of one field in the raw bytes, sets them aside, reads the little
that remains as JSON and decodes only the picture that counts. Whatever does not fit that (escaped
characters, broken text) goes the slow way, which reads the whole line as JSON; both give the same
outcome.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pybase64

from imagewave.providers.protocol import Outcome
from imagewave.providers.wire import base64_dialects
from imagewave.providers.wire.jsonl import Line
from imagewave.storage.images import is_cut_off, sniff
from imagewave.storage.requests import FailureClass, Status

MESSAGE_LIMIT = 500
"""Characters kept of a provider's message."""

# Not base64, and random per process, so that no line can hold it by itself.
_MARK = f"~{os.urandom(12).hex()}:"

_LONG = 4096
_BACKSLASH = ord("\\")
_NEAR = 4096  # bytes from either end in which a broken line's key is looked for


class LongValues:
    """The long values that were taken out of a line, each known by the mark left in its place.

    With `whole`, nothing was: what is no base64 now will not become any. `odd` collects what is
    unusual about the line, in words; `spoiled` tells whether a value was base64 in no dialect.
    """

    def __init__(self, values: Sequence[memoryview] = (), *, whole: bool = False) -> None:
        self._values = values
        self._whole = whole
        self.odd: list[str] = []
        self.spoiled = False

    def note(self, what: str) -> None:
        """Remembers something unusual."""
        self.odd.append(what)

    def picture(self, offers: Iterable[tuple[str, str]]) -> tuple[bytes, str] | None:
        """The first of the offers, each as base64 and media type, that is a picture; None: none is.

        One that is cut off counts only where none is whole; bytes of no known format, only where
        nothing better is offered and nobody calls them something else.

        Raises:
            ValueError: see `decoded`.
        """
        cut_off = unknown = None
        for data, mime in offers:
            image = self.decoded(data)
            if not image:
                continue
            if not sniff(image):
                if not mime or mime.startswith("image/"):
                    unknown = unknown or (image, mime)
            elif is_cut_off(image):
                cut_off = cut_off or (image, mime)
            else:
                if cut_off:
                    self.note("a picture that is cut off; a whole one is kept")
                return image, mime
        return cut_off or unknown

    def decoded(self, data: str) -> bytes | None:
        """The bytes of a base64 value, or of the one that this mark stands for; None: it is none.

        Raises:
            ValueError: not base64 as it stands; perhaps the slow way finds an escape in it.
        """
        value = self._values[int(data[len(_MARK) :])] if data.startswith(_MARK) else data
        try:
            return pybase64.b64decode(value, validate=True)
        except ValueError:
            pass
        try:
            raw = value.encode() if isinstance(value, str) else bytes(value)
            image, odd = base64_dialects.decode(raw)
        except ValueError:
            if not self._whole:
                raise
            self.spoiled = True
            return None
        self.note(f"base64 {odd}")
        return image


Reading = Callable[[Any, LongValues], Outcome]
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
        document, values = _take_out_long_values(line, format)
        return _with_oddities(reading(_parse(document), values), values)
    except ValueError:
        pass  # the shortcut did not fit; the whole line decides
    try:
        parsed = _parse(line.copy())
    except ValueError as error:
        return _illegible(line, format, "INVALID_JSON", str(error))
    values = LongValues(whole=True)
    return _with_oddities(reading(parsed, values), values)


def _with_oddities(outcome: Outcome, values: LongValues) -> Outcome:
    return replace(outcome, odd=tuple(dict.fromkeys(values.odd))) if values.odd else outcome


def _take_out_long_values(line: Line, format: Format) -> tuple[bytes, LongValues]:
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
            return line.copy(), LongValues(whole=True)
        at = end + 1
        if end - start >= _LONG:
            pieces += whole[done:start], f"{_MARK}{len(values)}".encode()
            values.append(whole[start:end])
            done = end
    pieces.append(whole[done:])
    return b"".join(pieces), LongValues(values)


def _parse(document: bytes) -> Any:
    """The JSON value; what is no proper JSON is read all the same, for the picture may be whole.

    Bytes that are not UTF-8 and half surrogates are replaced, NaN and infinities are null, and
    control characters may stand in texts.

    Raises:
        ValueError: it cannot be read at all.
    """
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        text = document.decode("utf-8", "replace")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        value = json.loads(text, strict=False, parse_constant=lambda name: None)
        return orjson.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _illegible(line: Line, format: Format, reason: str, message: str) -> Outcome:
    """A line that is no JSON. Whose it was often stands at its beginning, else at its end."""
    found = format.key.search(line.buffer, 0, min(line.size, _NEAR)) or format.key.search(
        line.buffer, max(line.size - _NEAR, 0), line.size
    )
    key = found[1].decode("utf-8", "replace") if found else None
    return broken(key, reason, message, billed=True)


def broken(key: str | None, reason: str, message: str, *, billed: bool = False) -> Outcome:
    """A line that gives nothing, through no fault of the request."""
    return Outcome(
        key=key,
        status=Status.FAILED,
        failure=FailureClass.BROKEN,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
        billed=billed,
    )
