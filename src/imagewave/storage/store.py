"""The store: everything imagewave remembers, as files below one URL."""

import json
import os
import secrets
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from imagewave.storage.files import Buffer, Files, LocalFiles, StoreError, damaged, make_folder

__all__ = ["DEFAULT_STORE", "NoStore", "Store", "StoreError"]

# Where commands look when nobody names a store.
DEFAULT_STORE = "imagewave-data"

FORMAT = 1

_MARKER = "store.json"
_REALM = "realm.json"


class NoStore(StoreError):
    """There is no store at that URL, and none was to be made."""


class Store:
    """Files below one root, on this machine or in a bucket; what is in them, others decide.

    Paths are relative to the root, with '/' between their parts. A store may be used by any number
    of threads and processes at once: `put_if_absent` is the one way to agree on who does what.
    Pickles as its URL.

    Every method raises StoreError, naming the path, the reason and the way out, when the place
    cannot be reached, is full or may not be touched; and ValueError for a path that leaves the
    root.
    """

    def __init__(self, url: str, files: Files) -> None:
        self.url = url
        self._files = files

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> "Store":
        """Opens the store at a folder or URL and makes it one if it is none yet.

        A new store is first asked to prove that put-if-absent holds there: without it two workers
        could both believe that a job is theirs, and pay twice.

        Raises:
            StoreError: it cannot be reached or written, does not keep put-if-absent, or was
                written by a newer imagewave, or is damaged.
            NoStore: there is none, and `create` is false.
        """
        store = _at(url)
        try:
            format = store._field(_MARKER, "format")
        except FileNotFoundError:
            if not create:
                raise NoStore(
                    f"There is no store at {store.url}.",
                    "Name the one that holds your waves with --store.",
                ) from None
            root = store.local_path("")
            if root is not None:
                _make_root(root)
            store._probe()
            format = FORMAT
            marker = {"format": FORMAT, "id": secrets.token_hex(16)}
            store.put_if_absent(_MARKER, json.dumps(marker).encode())
        if format != FORMAT:
            raise StoreError(
                f"{store.url} has format {format}; this imagewave knows {FORMAT}.",
                "Upgrade imagewave.",
            )
        return store

    @classmethod
    def try_out(cls, url: str) -> bool:
        """Proves that a store can be at the URL: writable, and keeping put-if-absent.

        Leaves nothing behind. Returns whether there is a store already; where there is no folder
        yet, the proof is made in the nearest one above it.

        Raises:
            StoreError: as for `open`.
        """
        try:
            store = cls.open(url, create=False)
        except NoStore:
            store = _at(url)
            if (root := store.local_path("")) is not None:
                store = _at(str(next(each for each in (root, *root.parents) if each.is_dir())))
            store._probe()
            return False
        store._probe()
        return True

    def __reduce__(self) -> tuple[object, ...]:
        return _at, (self.url,)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def read(self, path: str) -> bytes:
        """The file's bytes; FileNotFoundError if there is none."""
        return self._files.read(_checked(path))

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        """Several files by path, fetched concurrently; FileNotFoundError if one is not there."""
        return self._files.read_many([_checked(path) for path in paths])

    def open_read(self, path: str) -> BinaryIO:
        """The file, open at its start; FileNotFoundError if there is none."""
        return self._files.open_read(_checked(path))

    def write(self, path: str, data: Buffer) -> None:
        """Puts the file there, whole and durable, in place of any that was there."""
        self._files.write(_checked(path), data)

    def write_many(self, files: Iterable[tuple[str, Buffer]]) -> None:
        """Puts each file there, as `write` does; sooner than one by one, and no less durable.

        Few of them are in memory at once. Where it fails, some may be there, each of them whole.
        """
        self._files.write_many((_checked(path), data) for path, data in files)

    def put_if_absent(self, path: str, data: Buffer) -> bool:
        """Puts the file there, whole and durable, unless there is one.

        Returns True for exactly one of any number of concurrent callers: the one whose bytes are
        there now.
        """
        return self._files.create(_checked(path), data)

    def exists(self, path: str) -> bool:
        """Whether there is a file at that path."""
        return self._files.exists(_checked(path))

    def list(self, prefix: str) -> list[str]:
        """The paths of all files below a folder, sorted; none if there is no such folder."""
        return self._files.list(_checked(prefix) if prefix else "")

    def delete(self, path: str) -> None:
        """Removes the file, if there is one."""
        self._files.delete(_checked(path))

    def local_path(self, path: str) -> Path | None:
        """Where the file is on this machine's disk; None for a remote store."""
        if isinstance(self._files, LocalFiles):
            return self._files.root / (_checked(path) if path else "")
        return None

    def url_of(self, path: str) -> str:
        """The file's full path or URL, for people to read and other tools to open."""
        return f"{self.url.rstrip('/')}/{_checked(path)}"

    @cached_property
    def id(self) -> str:
        """32 hex digits that no other store has, be it made at the same URL later."""
        return str(self._field(_MARKER, "id"))

    @property
    def realm(self) -> str | None:
        """Whose pictures the store holds, as marked by `mark_realm`; None before."""
        try:
            return str(self._field(_REALM, "realm"))
        except FileNotFoundError:
            return None

    def mark_realm(self, realm: str) -> None:
        """Says whose pictures the store holds ("sandbox", "live"), once and for all.

        Raises:
            StoreError: it holds another realm's. Content addresses do not tell a sandbox's picture
                from a real one, so a shared store would deliver the former for the latter.
        """
        if self.put_if_absent(_REALM, json.dumps({"realm": realm}).encode()):
            return
        held = self.realm
        if held != realm:
            raise StoreError(
                f"{self.url} holds {held} images; {realm} ones must not be mixed with them.",
                "Name another store with --store.",
            )

    def _field(self, path: str, name: str) -> object:
        """A field of one of the store's own files; FileNotFoundError if that is not there."""
        try:
            content: dict[str, object] = json.loads(self.read(path))
            return content[name]
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(self.url_of(path), repr(error)) from error

    def _probe(self) -> None:
        path = f"probe-{secrets.token_hex(8)}"
        try:
            first = self.put_if_absent(path, b"first")
            second = self.put_if_absent(path, b"second")
            content = self.read(path)
        finally:
            self.delete(path)
        if (first, second, content) != (True, False, b"first"):
            raise StoreError(
                f"{self.url} does not keep put-if-absent: a second conditional write of one object "
                + ("took its place." if content == b"second" else "was not refused."),
                "Without it two workers could pay for the same job. Use a local folder, AWS S3 or "
                "a server that honours If-None-Match.",
            )


def _at(url: str) -> Store:
    """The store at a URL, without a look at what is there."""
    protocol, separator, rest = url.partition("://")
    if not separator or protocol == "file":
        # Absolute, because workers have other working folders.
        root = Path(os.path.abspath(os.path.expanduser(rest if separator else url)))
        return Store(str(root), LocalFiles(root))
    if not rest.strip("/"):
        raise StoreError(f"{url!r} names no bucket.", "Write s3://bucket/prefix.")
    if protocol in ("http", "https"):
        raise StoreError(
            f"{url} is a web address, where nothing can be kept.",
            "A store is a folder, or a URL such as s3://bucket/prefix; where S3 answers is"
            " AWS_ENDPOINT_URL.",
        )
    # fsspec costs as much to import as DuckDB: local stores do without.
    from imagewave.storage.bucket import RemoteFiles

    normalised = f"{protocol}://{rest.strip('/')}"
    return Store(normalised, RemoteFiles(normalised))


def _make_root(root: Path) -> None:
    try:
        make_folder(root)
    except OSError as error:
        raise StoreError(
            f"{root} cannot be made a store: {error.strerror or error}.",
            "Name another folder or URL with --store.",
        ) from error


def _checked(path: str) -> str:
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} is not a path inside a store")
    return path
