"""A copy of a remote store's facts on this machine, so that SQL is as fast as on disk.

Their files never change once they are there, so only those that are new are fetched, many at once.
The copies are a cache: whoever removes them loses nothing but time.
"""

import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from imagewave.storage.store import Store, StoreError

# Bounds the memory that a first look at a large store takes.
_FETCH = 256

# A query of another process may still read a copy whose part has been merged away meanwhile.
_KEEP_SECONDS = 24 * 3600


def local_files(store: Store, paths: Sequence[str]) -> list[Path]:
    """The given files of the store as files of this machine, in order.

    A local store's own files are returned as they are. Any number of processes may ask at once.

    Raises:
        StoreError: the store or the cache folder cannot be used.
        FileNotFoundError: the store no longer has one of them.
    """
    root = store.local_path("")
    if root is not None:
        return [root / path for path in paths]
    cache = copies_of(store)
    # Other tables' copies are for other queries to look after.
    folders = {path.rpartition("/")[0] for path in paths}
    held = {path for folder in folders for path in _held(cache, folder)}
    missing = [path for path in paths if path not in held]
    for start in range(0, len(missing), _FETCH):
        fetched = store.read_many(missing[start : start + _FETCH])
        _keep(cache, fetched)
    _forget(cache, held - set(paths))
    return [cache / path for path in paths]


def copies_of(store: Store) -> Path:
    """Where this machine keeps its copies of a remote store's files."""
    return cache_folder() / store.id


def cache_folder() -> Path:
    """Where copies are kept: IMAGEWAVE_CACHE_DIR, else the user's cache folder."""
    named = os.environ.get("IMAGEWAVE_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imagewave"


def _held(cache: Path, folder: str) -> list[str]:
    # A file that a power cut left empty is as good as none.
    return [
        f"{folder}/{file.name}" for file in (cache / folder).glob("*.parquet") if _size(file) > 0
    ]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        # Another process has just forgotten it.
        return 0


def _keep(cache: Path, fetched: dict[str, bytes]) -> None:
    try:
        for path, data in fetched.items():
            target = cache / path
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".tmp-{secrets.token_hex(8)}")
            temporary.write_bytes(data)
            os.replace(temporary, target)
    except OSError as error:
        raise StoreError(
            f"{cache}: {error.strerror or error}.",
            "Facts of remote stores are copied there: make room, or set IMAGEWAVE_CACHE_DIR.",
        ) from error


def _forget(cache: Path, paths: set[str]) -> None:
    long_ago = time.time() - _KEEP_SECONDS
    for path in paths:
        file = cache / path
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < long_ago:
                file.unlink()
