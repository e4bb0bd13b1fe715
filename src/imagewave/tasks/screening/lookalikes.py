"""Which hashes in the store are near given ones: asks an index of all of them on this machine."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from imagewave.storage.facts import mirror, parts
from imagewave.storage.files.protocol import StoreError
from imagewave.storage.images import read_phash
from imagewave.storage.store import Store
from imagewave.tasks.screening.duplicates import Hashes
from imagewave.tasks.screening.hash_index import HashIndex

_TABLE = "metrics"


def near_hashes(store: Store, hashes: Collection[int], radius: int) -> set[int]:
    """The hashes of pictures of the store, the own included, at most `radius` bits from these.

    What was measured since the last call is taken into the index first.

    Raises:
        StoreError: the store cannot be read, or the index not be written.
    """
    folder = _folder(store)
    try:
        index = HashIndex(folder)
        live = parts.live(store, _TABLE, store.list(f"facts/{_TABLE}"))
        index.update(frozenset(live), lambda new: _read(store, new))
        found = index.query(np.fromiter(hashes, np.uint64), radius)
    except OSError as error:
        raise StoreError(
            f"{folder}: {error.strerror or error}.",
            "The index of pictures' hashes is kept there: make room, or make it writable.",
        ) from error
    return set(found.right.tolist())


def _folder(store: Store) -> Path:
    root = store.local_path("")
    return (root / "cache" if root else mirror.copies_of(store)) / "hashes"


def _read(store: Store, paths: list[str]) -> Hashes:
    """The hashes in these parts; what could not be decoded has none."""
    found = [np.empty(0, np.uint64)]
    for file in mirror.local_files(store, paths):
        texts = pq.read_table(file, columns=["phash"]).column("phash").to_pylist()
        found.append(np.fromiter((read_phash(text) for text in texts if text), np.uint64))
    return np.concatenate(found)
