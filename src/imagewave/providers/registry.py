"""The providers that are installed, ours and those of other distributions, and their lanes."""

import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import Lane
from imagewave.providers.provider import Environ, Provider
from imagewave.storage.catalog.lanes import lane_kinds
from imagewave.storage.store import Store

# It brings an HTTP client along.
if TYPE_CHECKING:
    from imagewave.providers.caller import Caller

GROUP = "imagewave.providers"


@cache
def providers() -> Mapping[str, Provider]:
    """Every provider by its name in the catalog, sorted by it.

    Raises:
        ImagewaveError: a distribution's record cannot be loaded, or two have the same name.
    """
    found: dict[str, Provider] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        record = _load(point)
        if record.name in found:
            raise _broken(point, f"there is another provider {record.name!r}")
        found[record.name] = record
    return found


def find_provider(name: str) -> Provider:
    """The provider of this name.

    Raises:
        ImagewaveError: none that is installed has it.
    """
    if name not in providers():
        installed = [known for known, each in providers().items() if each.access]
        raise ImagewaveError(
            f"There is no provider {name!r}.",
            f"Installed are {', '.join(installed)}: correct `provider` in the model's row, or"
            " install the distribution that brings it.",
        )
    return providers()[name]


def with_keys() -> Mapping[str, Provider]:
    """Those of the providers that need a key."""
    return {name: each for name, each in providers().items() if each.access and not each.yours}


def callers(environ: Environ) -> "dict[str, Caller]":
    """What single calls are made with, for each provider whose key is in the environment."""
    return {
        name: each.caller(*each.access.require(environ))
        for name, each in providers().items()
        if each.access and each.caller and each.access.key(environ)
    }


def open_lane(name: str, store: Store, environ: Environ = os.environ) -> Lane:
    """The lane that wave files call `name`; `store` is where a lane keeps what it must remember.

    Raises:
        ImagewaveError: there is no such lane, or its key is not in the environment.
    """
    for provider in providers().values():
        if name in provider.lanes:
            return provider.lanes[name](store, environ)
    raise ImagewaveError(f"There is no lane {name!r}.", f"Lanes: {', '.join(lane_kinds())}.")


def _load(point: EntryPoint) -> Provider:
    try:
        record = point.load()
    except (ImportError, AttributeError) as error:
        raise _broken(point, f"{type(error).__name__}: {error}") from error
    if not isinstance(record, Provider):
        raise _broken(point, f"it is a {type(record).__name__}, not a Provider")
    return record


def _broken(point: EntryPoint, why: str) -> ImagewaveError:
    of = f" of {point.dist.name}" if point.dist else ""
    return ImagewaveError(
        f"The provider {point.value!r}{of} cannot be used: {why}.",
        "Correct that distribution, or uninstall it.",
    )
