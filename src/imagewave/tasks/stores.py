"""Which store is worked on: the one that is named, or the default of a realm."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from imagewave.providers.environment import realm_here
from imagewave.storage.realms import Realm
from imagewave.storage.store import NoStore, Store


def default_store() -> str:
    """Where a run from here keeps everything, if nobody names a store."""
    return (realm_here() or Realm.SANDBOX).default_store


def store_to_fill(named: str | None, providers: Collection[str]) -> Store:
    """The store for new pictures by these providers; makes it where it is none yet.

    Where none of them is set up, a store that is named may be of either realm: a run refuses to
    have the sandbox fill a live one.

    Raises:
        StoreError: it holds the pictures of the other realm.
    """
    realm = realm_here(providers)
    store = Store.open(named or (realm or Realm.SANDBOX).default_store)
    if realm:
        store.require_realm(realm)
    return store


@contextmanager
def store_unless_refused(named: str | None, providers: Collection[str]) -> Iterator[Store]:
    """`store_to_fill`, unmade where it is new, if the block raises before anything is put there.

    Raises:
        StoreError: it holds the pictures of the other realm.
    """
    realm = realm_here(providers)
    url = named or (realm or Realm.SANDBOX).default_store
    with Store.open_unless_refused(url) as store:
        if realm:
            store.require_realm(realm)
        yield store


def store_to_go_on(named: str | None, providers: Collection[str] | None = None) -> Store:
    """The store whose facts tell what these providers are to do next; None: any provider.

    Raises:
        NoStore: there is none.
        StoreError: it holds the pictures of another realm than that of the providers set up here.
    """
    realm = realm_here(providers)
    if not realm:
        return store_to_read(named)
    store = Store.open(named or realm.default_store, create=False)
    store.require_realm(realm)
    return store


def store_to_read(named: str | None) -> Store:
    """The store that is asked about; of the default ones that of a run from here, if it is there.

    Raises:
        NoStore: there is none.
    """
    if named:
        return Store.open(named, create=False)
    realm = realm_here() or Realm.SANDBOX
    try:
        return Store.open(realm.default_store, create=False)
    except NoStore:
        try:
            return Store.open(realm.other.default_store, create=False)
        except NoStore:
            pass
        raise
