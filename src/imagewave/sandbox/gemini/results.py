"""Writes the result file of a batch of Gemini's."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from imagewave.sandbox.answers.answering import Answer
from imagewave.sandbox.batches.results import (
    Dialect,
    Format,
    Line,
    Setting,
    answered_lines,
    key_shown,
    write_file,
)
from imagewave.sandbox.core.ask import Ask
from imagewave.sandbox.core.defects import Defect
from imagewave.sandbox.core.ledger import Entry
from imagewave.sandbox.core.models import known
from imagewave.sandbox.gemini.wire import to_ask
from imagewave.storage.catalog import Model


def write_results(source: Path, out: Path, errors: Path, setting: Setting) -> list[Entry]:
    """Answers every line of `source` into `out`; returns what is to be billed.

    The file is complete and synced on return, unless the job was stopped meanwhile. There is no
    file of errors.

    Raises:
        BadInput: the input cannot be read.
    """
    entries: list[Entry] = []
    write_file(out, _encode(answered_lines(source, setting, entries)), setting.faults)
    return entries


def _encode(lines: Iterable[Line]) -> Iterator[bytes]:
    for line in lines:
        row = _row(line.answer, line.metadata)
        if (key := key_shown(line)) is not None:
            row = {"key": key, **row}
        encoded = orjson.dumps(row)
        yield encoded
        if Defect.KEY_DUPLICATE in line.defects:
            yield encoded


def _row(answered: Answer, metadata: object) -> dict[str, Any]:
    """The answer as it stands in a result line, without its key."""
    row: dict[str, Any] = {}
    if metadata is not None:
        row["metadata"] = metadata
    if answered.error is not None:
        code, message = answered.error
        return {**row, "error": {"code": code, "message": message}}
    return {**row, "response": answered.response}


def _ask(body: Any, setting: Setting) -> Ask:
    assert setting.model is not None, "Google's batches have one model"
    return to_ask(body, setting.model, setting.read_file)


def _model_of(name: str) -> Model:
    return known()[name]


FORMATS: Mapping[str, Format] = {
    "": Format(
        dialect=Dialect(
            key="key", body="request", ask=_ask, settled=lambda ask, answered: answered
        ),
        model_of=_model_of,
        write=write_results,
        keeps=frozenset(),
    )
}
"""By endpoint, which Google's batches have none of."""
