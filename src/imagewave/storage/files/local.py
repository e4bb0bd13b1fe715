"""Files below a folder of this machine, written so that a crash leaves each one whole or absent."""

import ctypes
import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from imagewave.storage.files.protocol import Buffer, StoreError

# macOS has no fdatasync; its fsync is the nearest thing.
_sync = getattr(os, "fdatasync", os.fsync)

_syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


_UNFINISHED = ".tmp-"

# What file systems without hard links answer: FAT, some network and container ones.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}

_FIXES = {
    errno.ENOSPC: "Free some space there, or name another store with --store.",
    errno.EDQUOT: "Free some of your quota there, or name another store with --store.",
    errno.EACCES: "Make it writable for this user, or name another store with --store.",
    errno.EPERM: "Make it writable for this user, or name another store with --store.",
    errno.EROFS: "It is on a read-only disk; name another store with --store.",
    errno.ENOTDIR: "A file stands where a folder is needed; name another store with --store.",
    errno.ENAMETOOLONG: "Use shorter names in the wave file, or a store with a shorter path.",
}


class LocalFiles:
    """Files below `root`, durable when the call returns.

    A file appears under its name only when its bytes are on the disk: it is written and synced
    under a temporary name in the same folder, then linked (or renamed), then the folder is synced.
    What a crash leaves behind has a temporary name, which `list` does not show. A folder that is a
    symbolic link to somewhere outside is not written in: whoever may write the store could have
    others' files overwritten or deleted through it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        with self._explained(path, unless_missing=True):
            return (self.root / path).read_bytes()

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        return {path: self.read(path) for path in paths}

    def open_read(self, path: str) -> BinaryIO:
        with self._explained(path, unless_missing=True):
            return (self.root / path).open("rb")

    def write(self, path: str, data: Buffer) -> None:
        target = self._inside(path)
        with self._explained(path):
            temporary = _write_beside(target, data)
            try:
                os.replace(temporary, target)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    def write_many(self, files: Iterable[tuple[str, Buffer]]) -> None:
        staged: dict[Path, Path] = {}
        try:
            for path, data in files:
                target = self._inside(path)
                with self._explained(path):
                    staged[target] = _write_beside(target, data, sync=False)
            # One flush of the disk takes a fraction of the time of one for each file and folder.
            if staged:
                folder = next(iter(staged)).parent
                with self._explained(""):
                    _sync_disk(folder)
                    for target, temporary in staged.items():
                        os.replace(temporary, target)
                    _sync_disk(folder)
        except BaseException:
            for temporary in staged.values():
                temporary.unlink(missing_ok=True)
            raise

    def create(self, path: str, data: Buffer) -> bool:
        target = self._inside(path)
        with self._explained(path):
            if target.exists():
                return False
            temporary = _write_beside(target, data)
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise StoreError(
                    f"{target}: this file system has no hard links ({error.strerror}).",
                    "They are what put-if-absent is made of; keep the store on another disk, or"
                    " in a bucket.",
                ) from error
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(target.parent)
        return True

    def exists(self, path: str) -> bool:
        with self._explained(path):
            return (self.root / path).is_file()

    def list(self, prefix: str) -> list[str]:
        found: list[str] = []
        with self._explained(prefix):
            for folder, _, names in os.walk(self.root / prefix, onerror=_unless_missing):
                below = Path(folder).relative_to(self.root)
                found.extend(
                    (below / name).as_posix() for name in names if not name.startswith(_UNFINISHED)
                )
        return sorted(found)

    def delete(self, path: str) -> None:
        with self._explained(path):
            self._inside(path).unlink(missing_ok=True)

    def _inside(self, path: str) -> Path:
        """The file's place, whose folder must be below the root once all links are followed."""
        target = self.root / path
        # Following the links of a whole path takes longer than writing a small file.
        if not any(os.path.islink(f"{self.root}/{folder}") for folder in _folders_of(path)):
            return target
        folder = os.path.realpath(target.parent)
        root = os.path.realpath(self.root)
        if folder != root and not folder.startswith(root.rstrip(os.sep) + os.sep):
            raise StoreError(
                f"{target.parent} leads out of the store, to {folder}.",
                "Put a folder in place of the symbolic link, or link the whole store.",
            )
        return target

    @contextmanager
    def _explained(self, path: str, *, unless_missing: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if unless_missing and isinstance(error, FileNotFoundError):
                raise
            raise StoreError(
                f"{self.root / path}: {error.strerror or error}.",
                _FIXES.get(error.errno or 0, "Name another store with --store."),
            ) from error


def _folders_of(path: str) -> Iterator[str]:
    """The folders below the root that the path leads through."""
    end = path.find("/")
    while end > 0:
        yield path[:end]
        end = path.find("/", end + 1)


def _write_beside(target: Path, data: Buffer, *, sync: bool = True) -> Path:
    """Writes the bytes, and syncs them, under a temporary name in the target's folder."""
    temporary = target.with_name(_UNFINISHED + secrets.token_hex(8))
    try:
        stream = temporary.open("xb")
    except FileNotFoundError:
        make_folder(target.parent)
        stream = temporary.open("xb")
    try:
        with stream:
            stream.write(data)
            if sync:
                stream.flush()
                _sync(stream.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def make_folder(folder: Path) -> None:
    """Makes the folder and those above it, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_disk(folder: Path) -> None:
    """Waits until all that was written to the folder's disk is on it."""
    if _syncfs is None:  # only Linux can ask for one disk, and hear that it failed
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
