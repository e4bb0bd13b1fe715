"""Writes the two files of an OpenAI batch: what succeeded, and what did not."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from imagewave.sandbox.batches.results import (
    BadInput,
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
from imagewave.sandbox.core.defects import Defect
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.files import new_id
from imagewave.sandbox.core.ledger import Entry
from imagewave.sandbox.openai import wire as openai_wire
from imagewave.storage.catalog import Model

MAX_REQUESTS = 50_000
MAX_BYTES = 200_000_000
_KEY, _BODY = "custom_id", "body"
_UNANSWERED = {
    "job_cancelled": ("batch_cancelled", "This request was cancelled."),
    "job_expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
}


def _model_of(name: str) -> Model:
    """The batch's model.

    Raises:
        BadInput: it is not served; OpenAI finds out only when it validates the batch.
    """
    try:
        return openai_wire.model_of(name)
    except ApiError as error:
        raise BadInput(f"The provided model '{name}' is not supported by the Batch API.") from error


def first_model(source: Path) -> str:
    """The model that the first line names; "" where it names none."""
    try:
        row = next(read_lines(source, _BODY), None)
    except BadInput:
        return ""
    return str(row[_BODY].get("model", "")) if row else ""


def write_results(
    endpoint: str, source: Path, out: Path, errors: Path, setting: Setting
) -> list[Entry]:
    """Answers every line of `source`; a file without lines is not there afterwards.

    Raises:
        BadInput: the batch does not pass validation.
    """
    _validate(source, endpoint, setting)
    entries: list[Entry] = []
    failed: list[bytes] = []
    write_file(
        out, _succeeded(answered_lines(source, setting, entries), setting, failed), setting.faults
    )
    failed += _rest(source, setting)
    write_file(errors, failed, {})
    for path in (out, errors):
        if not path.stat().st_size:
            path.unlink()
    return entries


def _succeeded(lines: Iterator[Line], setting: Setting, failed: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        encoded = orjson.dumps(_row(line))
        if line.answer.error is not None:
            failed.append(encoded)
            continue
        yield encoded
        if Defect.KEY_DUPLICATE in line.defects:
            yield encoded


def _row(line: Line) -> dict[str, Any]:
    status, body = 200, line.answer.response
    if line.answer.error is not None:
        status, message = line.answer.error
        body = openai_wire.error_body(status, message)
    response = {"status_code": status, "request_id": new_id(), "body": body}
    row = {"id": f"batch_req_{new_id()}", "response": response, "error": None}
    key = key_shown(line)
    return row if key is None else {"custom_id": key, **row}


def _rest(source: Path, setting: Setting) -> Iterator[bytes]:
    """Lines that a batch which ended early did not get to."""
    fault = "job_cancelled" if "job_cancelled" in setting.faults else "job_expired"
    code, message = _UNANSWERED[fault]
    for number, row in enumerate(read_lines(source, _BODY)):
        if number >= answered_count(setting):
            line = {
                "id": f"batch_req_{new_id()}",
                "custom_id": row[_KEY],
                "response": None,
                "error": {"code": code, "message": message},
            }
            yield orjson.dumps(line)


def _validate(source: Path, endpoint: str, setting: Setting) -> None:
    if source.stat().st_size > MAX_BYTES:
        raise BadInput(f"The input file is larger than {MAX_BYTES:,} bytes.")
    seen: set[str] = set()
    for number, row in enumerate(read_lines(source, _BODY), 1):
        key = row.get(_KEY)
        if not isinstance(key, str) or not key:
            raise BadInput(f"Line {number}: Missing required parameter: 'custom_id'.")
        if key in seen:
            raise BadInput(f"Line {number}: The custom_id for this request is a duplicate.")
        seen.add(key)
        if row.get("method") != "POST":
            raise BadInput(f"Line {number}: Invalid method.")
        if row.get("url") != endpoint:
            raise BadInput(
                f"Line {number}: The URL provided for this request does not match the batch"
                " endpoint."
            )
        if row[_BODY].get("model") != setting.model_name:
            raise BadInput(f"Line {number}: The model does not match that of the batch.")
    if not seen:
        raise BadInput("The batch input file is empty. It must contain at least one request.")
    if len(seen) > MAX_REQUESTS:
        raise BadInput(f"The batch has {len(seen)} requests; the limit is {MAX_REQUESTS}.")


def _format(endpoint: str) -> Format:
    """How a batch for this endpoint is read and answered."""
    return Format(
        dialect=Dialect(
            key=_KEY,
            body=_BODY,
            ask=lambda body, setting: openai_wire.to_ask(endpoint, body, setting.read_file),
            settled=openai_wire.settled,
        ),
        model_of=_model_of,
        write=partial(write_results, endpoint),
        lost=("error", "refused"),
    )


FORMATS: Mapping[str, Format] = {each: _format(each) for each in openai_wire.ENDPOINTS}
"""By endpoint."""
