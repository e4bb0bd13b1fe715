"""Writes the result file of a Message Batch: every request has a line, answered or not."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from imagewave.sandbox.anthropic import wire as anthropic_wire
from imagewave.sandbox.batches.results import (
    Dialect,
    Format,
    Line,
    Setting,
    answered_count,
    answered_lines,
    key_shown,
    read_lines,
    write_file,
)
from imagewave.sandbox.core.ask import Ask
from imagewave.sandbox.core.defects import Defect
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.ledger import Entry

MAX_REQUESTS = 100_000
MAX_BYTES = 256_000_000
_KEY, _BODY = "custom_id", "params"
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def _ask(body: Any, setting: Setting) -> Ask:
    # A batch of Claude's never fails as a whole.
    if "job_failed" in setting.faults:
        raise ApiError("INTERNAL", "Internal error encountered.")
    return anthropic_wire.to_ask(body)


def check(requests: Any, size: int) -> None:
    """Refuses a batch that the API would refuse at once: what `params` hold shows only later.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if not isinstance(requests, list) or not requests:
        raise ApiError("INVALID_ARGUMENT", "requests: List should have at least 1 item")
    if len(requests) > MAX_REQUESTS or size > MAX_BYTES:
        raise ApiError("INVALID_ARGUMENT", "requests: the batch is too large")
    seen: set[str] = set()
    for number, request in enumerate(requests):
        fields = request if isinstance(request, dict) else {}
        key, body = fields.get(_KEY), fields.get(_BODY)
        if not isinstance(key, str) or not _ID.fullmatch(key):
            raise ApiError(
                "INVALID_ARGUMENT", f"requests.{number}.custom_id: should match '{_ID.pattern}'"
            )
        if key in seen:
            raise ApiError("INVALID_ARGUMENT", f"requests.{number}.custom_id: is a duplicate")
        if not isinstance(body, dict) or fields.keys() - {_KEY, _BODY}:
            raise ApiError("INVALID_ARGUMENT", f"requests.{number}.params: Field required")
        seen.add(key)


def write_results(source: Path, out: Path, errors: Path, setting: Setting) -> list[Entry]:
    """Answers the requests of `source` into `out`; returns what is to be billed.

    There is no file of errors.
    """
    entries: list[Entry] = []
    write_file(out, _encode(source, setting, entries), setting.faults)
    return entries


def write_unanswered(source: Path, out: Path, kind: str) -> None:
    """The results of a batch that has ended before any request was processed."""
    write_file(out, (_left(row, kind) for row in read_lines(source, _BODY)), {})


def _encode(source: Path, setting: Setting, entries: list[Entry]) -> Iterator[bytes]:
    for line in answered_lines(source, setting, entries):
        encoded = orjson.dumps(_row(line))
        yield encoded
        if Defect.KEY_DUPLICATE in line.defects:
            yield encoded
    kind = "canceled" if "job_cancelled" in setting.faults else "expired"
    for number, row in enumerate(read_lines(source, _BODY)):
        if number >= answered_count(setting):
            yield _left(row, kind)


def _row(line: Line) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "succeeded", "message": line.answer.response}
    if line.answer.error is not None:
        error = anthropic_wire.error_of_line(line.answer.error)
        result = {"type": "errored", "error": error}
    key = key_shown(line)
    return {"result": result} if key is None else {_KEY: key, "result": result}


def _left(row: dict[str, Any], kind: str) -> bytes:
    return orjson.dumps({_KEY: row[_KEY], "result": {"type": kind}})


FORMATS: Mapping[str, Format] = {
    anthropic_wire.MESSAGES: Format(
        dialect=Dialect(key=_KEY, body=_BODY, ask=_ask, settled=anthropic_wire.settled),
        # Each request names a model of its own.
        model_of=lambda name: None,
        write=write_results,
        # A batch of Claude's never fails as a whole.
        keeps=frozenset({"job_cancelled", "job_expired", "job_failed"}),
        write_unanswered=write_unanswered,
    )
}
"""By endpoint."""
