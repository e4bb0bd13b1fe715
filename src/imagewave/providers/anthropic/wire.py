"""Claude's wire format: a request as an entry of a Message Batch, a result line as an outcome.

A batch has no name and no metadata. What tells whose it is stands before the request's id in each
`custom_id`: a mark of fixed length, made from the token when the batch is created.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pybase64

from imagewave.providers.anthropic.faults import STATUS
from imagewave.providers.failures import of_http
from imagewave.providers.protocol import Outcome
from imagewave.providers.wire.fields import dict_of, dicts_of, field, object_of, text_of
from imagewave.providers.wire.jsonl import Line
from imagewave.providers.wire.long_values import MESSAGE_LIMIT, Format, LongValues, broken, read
from imagewave.providers.wire.references import accepted
from imagewave.providers.wire.usage import read_usage
from imagewave.storage.catalog import Model, find_model
from imagewave.storage.requests import FailureClass, Request, Status

MAX_TOKENS = 8192
"""The most that an answer may be long, thoughts included: the API wants to be told."""

NO_MARK = b"0" * 24
"""Stands for the mark until the token is known."""

KEY_FIELD = b'{"custom_id":"'
"""What a line begins with; the mark comes next."""

_KEY = re.compile(r"([0-9a-f]{24})_(.+)", re.DOTALL)

# Thoughts come with long signatures, which nobody here needs to read.
_FORMAT = Format.of(long="signature", key="custom_id")

# What structured outputs refuse in a schema; the model is told of it in words, and the answer is
# held against the whole schema when it comes.
_CONSTRAINTS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
    }
)


def mark_of(token: str) -> bytes:
    """What the `custom_id`s of the token's batch begin with: 24 hex digits."""
    return hashlib.sha256(token.encode()).hexdigest()[: len(NO_MARK)].encode()


def marked(custom_id: str) -> tuple[str, str]:
    """The mark and the request's id; the mark is "" where there is none."""
    found = _KEY.fullmatch(custom_id)
    return (found[1], found[2]) if found else ("", custom_id)


def request_line(request: Request, reference: Callable[[str, int | None], bytes]) -> bytes:
    """One entry of a batch's `requests`, newline included, with `NO_MARK` for its mark.

    `reference(sha256, edge)` gives the bytes of a reference image, reduced to that longest edge.
    """
    entry = {
        "custom_id": f"{NO_MARK.decode()}_{request.id}",
        "params": _params(request, find_model(request.model), reference),
    }
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def _params(
    request: Request, model: Model, reference: Callable[[str, int | None], bytes]
) -> dict[str, Any]:
    content: list[dict[str, Any]] = [
        _picture(reference(sha256, request.reference_edge)) for sha256 in request.references
    ]
    content.append({"type": "text", "text": request.prompt})
    params: dict[str, Any] = {
        "model": model.id,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": content}],
    }
    if request.system:
        params["system"] = request.system
    output: dict[str, Any] = {}
    if level := request.thinking or (model.thinking[0] if model.thinking else None):
        params["thinking"] = {"type": "disabled" if level == "none" else "adaptive"}
        if level != "none":
            output["effort"] = level
    if request.response_schema:
        schema = plain_schema(orjson.loads(request.response_schema))
        output["format"] = {"type": "json_schema", "schema": schema}
    # No temperature: the models since 4.7 refuse every other than their own.
    return params | ({"output_config": output} if output else {})


def _picture(image: bytes) -> dict[str, Any]:
    image, mime = accepted(image)
    data = pybase64.b64encode(image).decode("ascii")
    return {"type": "image", "source": {"type": "base64", "media_type": mime, "data": data}}


def plain_schema(schema: Any) -> Any:
    """The schema as structured outputs take it: limits of values become words about them."""
    if isinstance(schema, list):
        return [plain_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # The names of properties are names, whatever they are.
    plain = {
        name: {key: plain_schema(item) for key, item in value.items()}
        if name == "properties"
        else plain_schema(value)
        for name, value in schema.items()
        if name not in _CONSTRAINTS
    }
    limits = [f"{name}: {schema[name]}" for name in sorted(_CONSTRAINTS & schema.keys())]
    if limits:
        words = [schema["description"]] if "description" in schema else []
        plain["description"] = "; ".join([*words, *limits])
    return plain


def read_line(line: Line) -> Outcome:
    """What a line of the results says; one that says nothing legible is broken."""
    outcome = read(line, _FORMAT, _outcome)
    # A line that is no JSON has its key found by other means.
    return outcome if outcome.key is None else replace(outcome, key=marked(outcome.key)[1])


def mark_in(line: Line) -> str | None:
    """The mark in the line's `custom_id`, "" where there is none; None: it has no `custom_id`."""
    key = read(line, _FORMAT, _outcome).key
    return None if key is None else marked(key)[0]


def _outcome(line: Any, values: LongValues) -> Outcome:
    if not isinstance(line, dict):
        return broken(None, "NO_OBJECT", "the line is not a JSON object", billed=True)
    key = text_of(field(line, "custom_id")) or None
    result = object_of(line.get("result")) or {}
    kind = text_of(result.get("type")).lower().replace("cancelled", "canceled")
    message = object_of(result.get("message"))
    if message is not None:
        return _answered(key, message, values)
    if kind in ("canceled", "expired"):
        return Outcome(
            key=key,
            status=Status.MISSING,
            failure=FailureClass.TRANSIENT,
            reason=f"REQUEST_{kind.upper()}",
            message=f"the batch ended before this request was processed: {kind}",
        )
    error = result.get("error") or line.get("error")
    if error or kind == "errored":
        return _errored(key, error)
    return broken(key, kind.upper() or "NO_RESULT", "the line holds no result", billed=True)


def _errored(key: str | None, error: object) -> Outcome:
    fields = dict_of(error)
    fields = dict_of(fields.get("error")) or fields
    kind = text_of(fields.get("type")) or text_of(error)[:80]
    kind = kind.strip().lower()
    return Outcome(
        key=key,
        status=Status.FAILED,
        failure=of_http(STATUS.get(kind, 500)),
        reason=kind.upper() or "ERRORED",
        message=(text_of(fields.get("message")) or text_of(error))[:MESSAGE_LIMIT],
    )


def _answered(key: str | None, message: Mapping[str, Any], values: LongValues) -> Outcome:
    content = message.get("content")
    blocks = dicts_of(content)
    # What thinks or calls a tool has words, too, under other names.
    text = text_of(content) or "".join(
        text_of(block.get("text")) for block in blocks if block.get("type", "text") == "text"
    )
    usage = read_usage(
        message.get("usage"), drawn=False, wrote=bool(blocks or text), note=values.note
    )
    stopped = text_of(field(dict_of(message), "stop_reason")).lower()
    failure, reason, said = None, "", ""
    if stopped == "refusal":
        details = dict_of(field(dict_of(message), "stop_details"))
        failure, reason = FailureClass.REFUSED, "REFUSAL"
        said = text_of(details.get("explanation")) or text_of(details.get("category"))
    elif stopped in ("max_tokens", "model_context_window_exceeded"):
        failure, reason, said = FailureClass.INVALID, stopped.upper(), text
    elif not text:
        failure, reason = FailureClass.BROKEN, "EMPTY"
        said = f"the answer holds no text ({stopped})"
    if failure is None:
        return Outcome(key=key, status=Status.TEXT, text=text, usage=usage)
    return Outcome(
        key=key,
        status=Status.REFUSED if failure is FailureClass.REFUSED else Status.FAILED,
        failure=failure,
        reason=reason,
        message=said[:MESSAGE_LIMIT],
        usage=usage,
        billed=True,
    )
