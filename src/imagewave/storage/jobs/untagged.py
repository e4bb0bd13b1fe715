"""What was asked of a provider whose list of jobs does not say what they are.

    asked/<token>.json        written before the provider is asked: how many requests, and when
    asked/jobs/<name>.json    whose the provider's job of this name is, once that is certain

Each is written once, with put-if-absent.
"""

from dataclasses import asdict, dataclass
from typing import TypeVar

import orjson

from imagewave.storage.jobs.folder import now
from imagewave.storage.records import read_record
from imagewave.storage.store import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for with a token.

    `after` is when the newest job was created that the provider listed just before, by the
    provider's clock; "" where it listed none. A job of the token cannot be older.
    """

    requests: int
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """Whose a provider's job is, and when this was found out, by this machine's clock.

    The token is "" for a job of which it was found out that it is none of this store's.
    """

    token: str
    at: str


def ask(store: Store, token: str, asked: Asked) -> None:
    """Writes down that the provider is about to be asked, unless that stands already."""
    store.put_if_absent(_token_path(token), orjson.dumps(asdict(asked)))


def asked_for(store: Store, token: str) -> Asked | None:
    """What was asked for with the token; None: the provider never was."""
    return _read(store, _token_path(token), Asked)


def tokens(store: Store) -> list[str]:
    """All tokens that were ever asked with."""
    paths = (path.split("/") for path in store.list("asked"))
    return [names[1].removesuffix(".json") for names in paths if len(names) == 2]


def own(store: Store, provider_job: str, token: str) -> None:
    """Writes down whose the provider's job is; "" for nobody's of this store."""
    owned = Owned(token=token, at=now())
    store.put_if_absent(_job_path(provider_job), orjson.dumps(asdict(owned)))


def owner(store: Store, provider_job: str) -> Owned | None:
    """Whose the provider's job is, if that is known."""
    return _read(store, _job_path(provider_job), Owned)


def _read(store: Store, path: str, kind: type[T]) -> T | None:
    try:
        return read_record(store, path, kind)
    except FileNotFoundError:
        return None


def _token_path(token: str) -> str:
    return f"asked/{token}.json"


def _job_path(provider_job: str) -> str:
    return f"asked/jobs/{provider_job}.json"
