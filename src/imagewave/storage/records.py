"""Reads the store's JSON records, each of which is written once, also those of a newer imagewave.

A newer minor version may write fields that this one does not know. They only add to what a record
says, so they are passed over; a change of what the old fields mean raises the store's format.
`exact` is for the records of which this does not hold, because they say what is to be drawn: a
request, and a line or a job of a rendering. To pass over a field there would be to draw, and to
pay for, something else under the same name.
"""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from imagewave.storage.files.protocol import StoreError
from imagewave.storage.store import Store

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


class BadRecord(StoreError):
    """A record of the store that is damaged, or that only a newer imagewave understands."""


def read_record(store: Store, path: str, kind: type[T], *, exact: bool = False) -> T:
    """The record at that path, as a dataclass or any other type that pydantic knows.

    Raises:
        BadRecord: it is no such record.
        FileNotFoundError: there is none.
    """
    return parse_record(store.read(path), kind, store.url_of(path), exact=exact)


def parse_record(data: bytes, kind: type[T], where: str, *, exact: bool = False) -> T:
    """The record that these bytes of JSON are; `where` says in the error whose they are.

    Raises:
        BadRecord: they are no such record.
    """
    with _explained(where):
        return cast(
            T,
            _adapter(cast(Hashable, kind)).validate_json(
                data, extra="forbid" if exact else "ignore"
            ),
        )


def as_record(fields: Mapping[str, object], kind: type[T], where: str) -> T:
    """The record that has these fields; as `parse_record`."""
    with _explained(where):
        return cast(T, _adapter(cast(Hashable, kind)).validate_python(fields, extra="ignore"))


@contextmanager
def _explained(where: str) -> Iterator[None]:
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise bad_record(where, f"{place}: {fault['msg']}" if place else fault["msg"]) from None


def bad_record(where: str, fault: str) -> BadRecord:
    """The error for a record that is none."""
    return BadRecord(
        f"{where} cannot be read: {fault}.",
        "If a newer imagewave wrote it, upgrade this one; if it is damaged, put it back as it was"
        " written (from a backup).",
    )


@cache
def _adapter(kind: Any) -> "TypeAdapter[object]":
    # Imported late: pydantic takes a while, and few commands read records.
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
