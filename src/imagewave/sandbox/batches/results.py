"""Answers a job's requests line by line, with all that can be wrong with lines and keys."""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from imagewave.sandbox.answers.answering import Answer, answer, failure
from imagewave.sandbox.core.ask import Ask
from imagewave.sandbox.core.config import Config
from imagewave.sandbox.core.defects import Defect
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.ledger import Entry
from imagewave.sandbox.core.models import draws
from imagewave.sandbox.core.prices import bill
from imagewave.storage.catalog import Model

# How many finished lines a shuffled job holds back; a line moves by about this much.
_SHUFFLE_WINDOW = 8


class BadInput(Exception):
    """The input file is not JSON Lines of requests: the whole job fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a provider spells request lines, and what it makes of an answer.

    `key` and `body` are the fields that name a line and hold its request; `ask` reads the body,
    `settled` turns Gemini's answer (without an ask: an error) into the provider's.
    """

    key: str
    body: str
    ask: Callable[[Any, "Setting"], Ask]
    settled: Callable[[Ask | None, Answer], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the lines of one job are answered with.

    `model_name` is the job's model, or its first request's; `model` is None where each request
    names its own.
    `faults` are the job's share of the service's faults, by name; `answered_before(key)` counts
    earlier answers; `stopped()` becomes true when the job was cancelled meanwhile.
    """

    job: str
    model_name: str
    model: Model | None
    count: int
    config: Config
    faults: dict[str, dict[str, Any]]
    read_file: Callable[[str], bytes]
    answered_before: Callable[[str], int]
    stopped: Callable[[], bool]
    dialect: Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What an API makes of its batches: how requests are read, files written, and ends told.

    `model_of(name)` is the batch's one model, None where each request names its own; it raises
    BadInput for one that is not served. `write(source, out, errors, setting)` answers every line of
    `source` and returns what is to be billed. `keeps` are the faults by name that leave what was
    answered before them; `lost` the outcomes that count as failed. `write_unanswered(source, out,
    kind)` writes the results of a batch of which nothing was answered, "expired" or "canceled".
    """

    dialect: Dialect
    model_of: Callable[[str], Model | None]
    write: Callable[[Path, Path, Path, Setting], list[Entry]]
    keeps: frozenset[str] = frozenset({"job_cancelled", "job_expired"})
    lost: tuple[str, ...] = ("error",)
    write_unanswered: Callable[[Path, Path, str], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One answered line, before its defects of the key are applied."""

    key: str | None
    metadata: object
    answer: Answer
    defects: frozenset[Defect]


def read_lines(path: Path, body: str) -> Iterator[dict[str, Any]]:
    """The input's lines, one at a time.

    Raises:
        BadInput: naming the line.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise BadInput(
                    f"Failed to parse line {number} of the input file: {error}"
                ) from error
            if not isinstance(row, dict) or not isinstance(row.get(body), dict):
                raise BadInput(f"Line {number} of the input file has no request.")
            yield row


def count_lines(path: Path) -> int:
    """How many requests an input file holds, readable or not."""
    with open(path, "rb") as file:
        return sum(1 for line in file if line.strip())


def write_file(out: Path, lines: Iterable[bytes], faults: dict[str, dict[str, Any]]) -> None:
    """Writes and syncs a result file, with what the faults do to it."""
    with open(out, "wb") as file:
        file.writelines(_spoil_file(lines, faults))
        file.flush()
        os.fsync(file.fileno())


def answered_lines(source: Path, setting: Setting, entries: list[Entry]) -> Iterator[Line]:
    """The answers in the order in which they are written; `entries` gets what is to be billed."""
    lines = _swap_keys(_answered(source, setting, entries))
    if setting.config.defects.shuffles(seed=setting.config.seed, job=setting.job):
        lines = _shuffle(lines, random.Random(f"{setting.config.seed}/{setting.job}"))
    return lines


def answered_count(setting: Setting) -> int:
    """How many lines are answered: of a job that ends early, the first half."""
    early = setting.faults.keys() & {"job_partial", "job_expired", "job_cancelled"}
    return -(-setting.count // 2) if early else setting.count


def _answered(source: Path, setting: Setting, entries: list[Entry]) -> Iterator[Line]:
    wanted = answered_count(setting)
    pad_mb = setting.faults.get("result_long_line", {}).get("mb", 0)
    neighbour: tuple[Ask, str] | None = None
    for number, row in enumerate(read_lines(source, setting.dialect.body)):
        if number >= wanted or setting.stopped():
            return
        key = row.get(setting.dialect.key)
        key = key if isinstance(key, str) else None
        seed_key = key if key is not None else f"{setting.job}#{number}"
        line, ask = _answer_line(row, key, seed_key, neighbour, setting, int(pad_mb * 750_000))
        if pad_mb and line.answer.outcome == "image":
            pad_mb = 0
        if ask is not None:
            neighbour = (ask, seed_key)
        tokens = line.answer.tokens
        model = ask.model.id if ask is not None else setting.model_name
        entries.append(
            Entry(
                time=time.time(),
                job=setting.job,
                line=number,
                key=key,
                model=model,
                batch=True,
                outcome=line.answer.outcome,
                reason=line.answer.reason,
                tokens=tokens,
                usd=bill(model, tokens, batch=True),
                defects=tuple(sorted(line.defects)),
            )
        )
        yield line


def _answer_line(
    row: dict[str, Any],
    key: str | None,
    seed_key: str,
    neighbour: tuple[Ask, str] | None,
    setting: Setting,
    pad_to: int,
) -> tuple[Line, Ask | None]:
    try:
        ask = setting.dialect.ask(row[setting.dialect.body], setting)
    except ApiError as error:
        refused = setting.dialect.settled(None, failure(error.grpc_code, error.message))
        return Line(
            key=key, metadata=row.get("metadata"), answer=refused, defects=frozenset()
        ), None
    defects = setting.config.defects.choose(
        seed=setting.config.seed,
        key=seed_key,
        prompt=ask.prompt,
        wants_image=draws(ask.model),
        has_references=bool(ask.images),
        asked_before=setting.answered_before(key) if key else 0,
    )
    answered = answer(
        ask,
        key=seed_key,
        defects=defects,
        neighbour=neighbour,
        tiny=setting.config.tiny,
        pad_to=pad_to,
    )
    answered = setting.dialect.settled(ask, answered)
    return Line(key=key, metadata=row.get("metadata"), answer=answered, defects=defects), ask


def _swap_keys(lines: Iterable[Line]) -> Iterator[Line]:
    """Lets a line marked so, and the one after it, exchange their keys."""
    held: Line | None = None
    for line in lines:
        if held is not None:
            yield _with_key(held, line.key)
            yield _with_key(line, held.key)
            held = None
        elif Defect.KEY_SWAPPED in line.defects:
            held = line
        else:
            yield line
    if held is not None:
        yield held


def _with_key(line: Line, key: str | None) -> Line:
    return Line(key=key, metadata=line.metadata, answer=line.answer, defects=line.defects)


def _shuffle(lines: Iterable[Line], choose: random.Random) -> Iterator[Line]:
    window: list[Line] = []
    for line in lines:
        window.append(line)
        if len(window) > _SHUFFLE_WINDOW:
            yield window.pop(choose.randrange(len(window)))
    choose.shuffle(window)
    yield from window


def key_shown(line: Line) -> str | None:
    """The key that the line carries."""
    if line.key is None or Defect.KEY_MISSING in line.defects:
        return None
    return f"unknown-{line.key}" if Defect.KEY_UNKNOWN in line.defects else line.key


def _spoil_file(lines: Iterable[bytes], faults: dict[str, dict[str, Any]]) -> Iterator[bytes]:
    """Joins lines into a file; one line is held back, because the last one may be spoiled."""
    if lacking := int(faults.get("result_lacks", {}).get("lines", 0)):
        lines = list(lines)[:-lacking]
    newline = b"\r\n" if "result_crlf" in faults else b"\n"
    spoil_text = "result_invalid_utf8" in faults
    held: bytes | None = None
    for line in lines:
        if held is not None:
            yield held + newline
        if spoil_text:
            line = line.replace(b'"gemini-', b'"gem\xff\xfe-', 1)
            spoil_text = False
        held = line
    if held is None:
        return
    if "result_truncated" in faults:
        yield held[: len(held) // 2]
    elif "result_no_final_newline" in faults:
        yield held
    else:
        yield held + newline
