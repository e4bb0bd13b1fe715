"""Holds a text model's answer against the JSON schema that its request asked for."""

from functools import lru_cache

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

_SHOWN = 300


def schema_error(text: str, schema: str) -> str:
    """What is wrong with an answer that should be JSON of this schema (as JSON text); "" if sound.

    JSON is meant strictly: NaN, trailing words and truncation are errors, and true is no number.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"the answer is not JSON: {error}"[:_SHOWN]
    fault = best_match(_validator(schema).iter_errors(found))
    if fault is None:
        return ""
    place = fault.json_path.removeprefix("$").lstrip(".")
    return f"{place}: {fault.message}"[:_SHOWN] if place else fault.message[:_SHOWN]


@lru_cache(maxsize=64)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(orjson.loads(schema))
