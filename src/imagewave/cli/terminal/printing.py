"""Everything that commands print goes through here, and reaches the terminal as it is meant.

Names and texts come from providers, wave files, columns and folders. What could move the cursor,
colour or reorder the rest is spelled out, and nothing in them is taken for markup. A reader that
has gone away (`| head -1`, `>&-`) ends no command: what is paid for goes on.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import IO, Any, TextIO

from imagewave.errors import ImagewaveError
from imagewave.words import in_json, legible


class _State:
    """What is known of the streams of this process."""

    object_only = False
    """Standard output is for one JSON object: words for people go to standard error."""
    midline = False
    """A line of standard error was begun and has no end yet."""
    failure: OSError | None = None
    """Why standard output took no more, unless its reader has just gone."""


_state = _State()


def set_up() -> None:
    """Makes the process's streams such that printing fails for no text and no closed stream."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened gets this number, and is printed to.
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115 - open as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # what tests put in their place has no such method
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    handler = _Handler(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("imagewave")
    logger.addHandler(handler)
    logger.propagate = False


class _Handler(logging.Handler):
    """Has imagewave's own warnings printed like those of commands."""

    def emit(self, record: logging.LogRecord) -> None:
        words = self.format(record)
        level, _, rest = words.partition(": ")
        tell(f"{level.capitalize()}: {rest}", lines=record.exc_info is not None)


def say(text: str = "", *, lines: bool = False, flush: bool = False) -> None:
    """Prints a line of the command's answer on standard output, however long it is.

    `lines`: it is several lines. With `answering_in_json`, it goes to standard error.
    """
    _end_line()
    _write(stream_of_words(), legible(text, lines=lines) + "\n", flush=flush)


def stream_of_words() -> TextIO:
    """Where a command's answer in words goes."""
    return sys.stderr if _state.object_only else sys.stdout


def tell(text: str, *, lines: bool = False) -> None:
    """Prints a line on standard error: what went wrong, what to mind, what goes on."""
    _end_line()
    _write(sys.stderr, f"{legible(text, lines=lines)}\n")


def warn(text: str) -> None:
    """Prints what a user should mind, on standard error."""
    tell(f"Warning: {text}")


def count(text: str) -> None:
    """Prints how far something is in the line where it was said last, on a terminal."""
    if sys.stderr.isatty():
        _state.midline = True
        _write(sys.stderr, f"\r{legible(text)} ")


def answer(found: object) -> None:
    """Prints the command's whole answer as JSON on standard output.

    Money is text, so that no digit is lost; so are times.
    """
    words = json.dumps(found, default=_as_json, indent=2, ensure_ascii=False)
    _write(sys.stdout, f"{in_json(words)}\n")


@contextmanager
def answering_in_json(wanted: bool) -> Iterator[None]:
    """Keeps standard output for one JSON object, if `wanted`; an error of the block is one, too.

    docs/cli.md has its form.
    """
    if not wanted:
        yield
        return
    before, _state.object_only = _state.object_only, True
    try:
        yield
    except ImagewaveError as error:
        answer({"error": error_object(error)})
        raise
    finally:
        _state.object_only = before


def error_object(error: ImagewaveError) -> dict[str, Any]:
    """An error as JSON values; one of a wave file has each of its problems."""
    found: dict[str, Any] = {
        "type": type(error).__name__,
        "message": error.message,
        "fix": error.fix,
        "exit_status": error.exit_code,
    }
    problems: Sequence[Any] = getattr(error, "problems", ())
    if problems:
        names = ("file", "line", "key", "message", "fix")
        found["problems"] = [{name: getattr(each, name) for name in names} for each in problems]
    return found


def say_bytes(chunks: Iterator[bytes]) -> None:
    """Prints bytes as they are: an answer in a format for programs."""
    try:
        sys.stdout.flush()
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
    except OSError as error:
        given_up(sys.stdout, error)


def given_up(stream: IO[str], error: OSError) -> None:
    """Nobody reads the stream any more, or it is full: the command goes on without it."""
    if stream is sys.stdout and not isinstance(error, BrokenPipeError):
        _state.failure = _state.failure or error
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def end() -> OSError | None:
    """Prints what is still held back; returns why standard output did not take everything."""
    _end_line()
    for stream in (sys.stdout, sys.stderr):
        _write(stream, "", flush=True)
    return _state.failure


def _end_line() -> None:
    """What follows `count` begins on a new line."""
    if _state.midline:
        _state.midline = False
        _write(sys.stderr, "\n")


def _as_json(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _write(stream: TextIO, text: str, *, flush: bool = False) -> None:
    try:
        stream.write(text)
        if flush or stream is sys.stderr:
            stream.flush()
    except OSError as error:
        given_up(stream, error)
