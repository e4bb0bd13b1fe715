"""The embedded sandbox in the place of providers for which there are no keys."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagewave.providers.environment import key_variables, realm_here
from imagewave.providers.registry import with_keys
from imagewave.storage.realms import Realm
from imagewave.storage.store import Store


@contextmanager
def stand_in(store: Store, needed: Collection[str]) -> Iterator[list[str]]:
    """Has the block ask the embedded sandbox, if no key or address of a needed provider is set.

    Yields the variables whose keys are missing; none where the providers themselves are asked. The
    sandbox's keys and addresses are in this process's environment for the time of the block.

    Raises:
        StoreError: the store holds the pictures of the other realm.
        NoKey: a provider is needed that the sandbox cannot stand in for.
        ImagewaveError: the sandbox does not start, as when another run uses this store's.
    """
    realm = realm_here(needed)
    store.require_realm(realm or Realm.SANDBOX)
    if realm:
        yield []
        return
    from imagewave.sandbox.embedded import EmbeddedSandbox

    folder = store.local_path("sandbox")
    state = folder or Path.home() / ".cache" / "imagewave" / "sandbox" / store.id
    with EmbeddedSandbox(state) as sandbox:
        surroundings = sandbox.environment()
        for name in sorted(needed):
            access = with_keys()[name].access
            if access and access.address not in surroundings:
                access.require(os.environ)  # nobody stands in for this one
        before = {name: os.environ.get(name) for name in surroundings}
        os.environ.update(surroundings)
        try:
            yield [key_variables()[provider][0] for provider in sorted(needed)]
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
