"""Reads the JSON that a text model answers with, and holds it against the schema asked for.

What checks an answer when it comes in and what uses it later read it here, so they agree.
"""

import re
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

_SHOWN = 300
_BRACKET = re.compile(r"[\[\]]")


class BadAnswer(ValueError):
    """The answer is not the JSON that was asked for; the text says why, in a sentence."""


def read_json(text: str) -> Any:
    """The JSON of an answer, which may stand in a code fence, behind a byte-order mark or in prose.

    An answer is paid for, so such wrapping is looked past, where it leaves no doubt: there is one
    object, and no bracket outside it. The JSON itself is meant strictly: NaN and truncation are
    errors.

    Raises:
        BadAnswer: there is no JSON, or more than one.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        start, end = text.find("{"), text.rfind("}") + 1
        around = text[:start] + text[end:]
        if 0 <= start < end and not _BRACKET.search(around):
            try:
                return orjson.loads(text[start:end])
            except orjson.JSONDecodeError:
                pass  # what is wrong with the whole text says it best
        raise BadAnswer(f"the answer is not JSON: {error}"[:_SHOWN]) from None


def read_answer(text: str, schema: str) -> Any:
    """The JSON of an answer that should be of this schema (as JSON text); true is no number.

    Raises:
        BadAnswer: it is not.
    """
    found = read_json(text)
    fault = best_match(_validator(schema).iter_errors(found))
    if fault is None:
        return found
    place = fault.json_path.removeprefix("$").lstrip(".")
    raise BadAnswer((f"{place}: {fault.message}" if place else fault.message)[:_SHOWN])


@lru_cache(maxsize=64)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(orjson.loads(schema))
