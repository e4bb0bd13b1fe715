"""Values of lists as briefs have them: text, whole numbers, truth values, or nothing."""

import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from imagewave.storage.sources.rows import Unusable

AS_TEXT = "Save the column as text, as it is to stand in a prompt."
_WHOLE = re.compile(r"([+-]?\d{1,9})(?:[.,]0*)?")
# Whole numbers up to here are exact in a spreadsheet's and pandas' floating point.
_EXACT = 1e15


def cell(value: Any) -> Any:
    """The value as a brief has it; None where there is none, as for NaN and blank text.

    Whole numbers stay whole, though pandas and spreadsheets keep them as floating point.
    """
    if type(value) is str:
        return value.strip() or None
    if value is None or isinstance(value, bool | int | Unusable):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Decimal):
        return None if value.is_nan() else _number(value)
    if isinstance(value, datetime):
        zone = "a time with a zone" if value.tzinfo else "a time"
        return Unusable(zone, AS_TEXT)
    if isinstance(value, date):
        return Unusable("a date", AS_TEXT)
    if isinstance(value, time | timedelta):
        return Unusable("a time", AS_TEXT)
    if isinstance(value, list | tuple):
        return Unusable("a list", AS_TEXT)
    if isinstance(value, Mapping):
        return Unusable("a group of values", AS_TEXT)
    return Unusable(f"a value of the type {type(value).__name__}", AS_TEXT)


def whole_number(value: Any) -> Any:
    """A count as a list spells it, "2", "2.0" or "2,0", as a number; anything else as it is."""
    if isinstance(value, str) and (found := _WHOLE.fullmatch(value)):
        return int(found[1])
    return value


def words(value: Any) -> Any:
    """Numbers and truth values as text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float | Decimal) else value


def _number(value: float | Decimal) -> Any:
    if not math.isfinite(value):
        if value != value:
            return None
        return Unusable("an infinite number", "Correct it, or leave it empty.")
    if isinstance(value, Decimal):
        return value
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
