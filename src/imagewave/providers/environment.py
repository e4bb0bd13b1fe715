"""Which providers the environment sets up, and the realm of a run from here."""

import os
from collections.abc import Collection

from imagewave.providers.provider import Environ
from imagewave.providers.realm import realm_of
from imagewave.providers.registry import providers, with_keys
from imagewave.storage.realms import Realm


def realm_here(
    needed: Collection[str] | None = None, environ: Environ = os.environ
) -> Realm | None:
    """The realm of a run from here that needs these providers, or any of those that are set up.

    Live, where any of them is. None where none is set up: the embedded sandbox would stand in.
    """
    found = set()
    for name, provider in providers().items():
        if provider.access is None or (needed is not None and name not in needed):
            continue
        # Your GPUs need neither key nor address: it is enough that they are wanted.
        if provider.is_set_up(environ) or (needed is not None and provider.yours):
            found.add(realm_of(provider.access.base_url(environ)))
    return min(found, default=None)


def key_variables() -> dict[str, tuple[str, ...]]:
    """For each provider that needs a key: the variables that may hold it."""
    return {name: each.access.keys for name, each in with_keys().items() if each.access}
