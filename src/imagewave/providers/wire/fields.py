"""What stands in a provider's JSON: read as it is meant, empty where it is no such thing.

Providers, gateways and SDKs spell the same field in camelCase or snake_case, and a number as a
number or as text. What was paid for is read all the same.
"""

import math
import re
from functools import lru_cache
from typing import Any

import orjson

MOST = 10**9
"""The largest count that is believed: no answer has as many tokens."""

_HUMP = re.compile(r"(?<=[a-z0-9])[A-Z]")
_NUMBER = re.compile(r"\s*\+?\d{1,12}(?:\.\d{1,12})?\s*")


def field(fields: dict[str, Any], name: str) -> Any:
    """The value of this name, else of the same name in the other case; None: neither is there."""
    if name in fields:
        return fields[name]
    return fields.get(_other_case(name))


@lru_cache(maxsize=256)
def _other_case(name: str) -> str:
    if "_" not in name:
        return _HUMP.sub(lambda hump: f"_{hump[0].lower()}", name)
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def dict_of(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def object_of(value: object) -> dict[str, Any] | None:
    """The value if it is an object, or the text of one; else None."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return value if isinstance(value, dict) else None


def dicts_of(value: object) -> list[dict[str, Any]]:
    """The objects of a list; a bare object is a list of one, anything else of none."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(value: object) -> str:
    """The value if it is text, else ""."""
    return value if isinstance(value, str) else ""


def name_of(value: object) -> str:
    """A constant's name in capitals, without the enumeration's before it; "" where it is none."""
    return text_of(value).rpartition(".")[2].strip().upper()


def count_of(value: object) -> int:
    """The value if it is a positive number, also as text; fractions are rounded up; else 0."""
    number: float = 0
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    return math.ceil(number) if 0 < number <= MOST else 0
