"""The store: everything imagewave remembers, as files below one URL."""

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from imagewave.storage.files.local import LocalFiles, make_folder
from imagewave.storage.files.protocol import Buffer, Files, StoreError, damaged
from imagewave.storage.realms import Realm

__all__ = ["DEFAULT_STORE", "NoStore", "Store", "StoreError"]

# Where real pictures are kept, if nobody names a store.
DEFAULT_STORE = Realm.LIVE.default_store

FORMAT = 1

_MARKER = "store.json"
_REALM = "realm.json"
_ID = re.compile(r"[0-9a-f]{32}")
# A URL whose second slash is missing; a single letter would be a drive.
_HALF_A_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)(.*)")


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
                    "Name the store that holds your waves (--store), or run a wave to make one.",
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
    @contextmanager
    def open_unless_refused(cls, url: str) -> "Iterator[Store]":
        """Opens the store as `open` does; one that is new is unmade if the block raises.

        Unless something was put into it. Folders that were made for it go, too.
        """
        try:
            opened = cls.open(url, create=False)
        except NoStore:
            pass
        else:
            yield opened
            return
        root = _at(url).local_path("")
        made = (
            []
            if root is None
            else [each for each in (root, *root.parents) if not os.path.exists(each)]
        )
        opened = cls.open(url)
        try:
            yield opened
        except BaseException:
            if opened.list("") == [_MARKER]:
                opened.delete(_MARKER)
                with suppress(OSError):  # somebody else has put something there meanwhile
                    for folder in made:
                        folder.rmdir()
            raise

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
                store = _at(
                    str(next(each for each in (root, *root.parents) if os.path.isdir(each)))
                )
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
        """32 hex digits that no other store has, be it made at the same URL later.

        Whoever can write the store can write anything there, and the id names a folder of this
        machine's cache: any other text is refused.
        """
        id = self._field(_MARKER, "id")
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise damaged(self.url_of(_MARKER), f"its id is not 32 hex digits: {id!r}")
        return id

    @property
    def realm(self) -> Realm | None:
        """Whose pictures the store holds, as marked by `mark_realm`; None before."""
        try:
            return Realm(str(self._field(_REALM, "realm")))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise damaged(self.url_of(_REALM), error) from error

    def mark_realm(self, realm: Realm) -> None:
        """Says whose pictures the store holds, once and for all; raises as `require_realm` does."""
        if not self.put_if_absent(_REALM, json.dumps({"realm": realm}).encode()):
            self.require_realm(realm)

    def require_realm(self, realm: Realm) -> None:
        """Refuses to work on what belongs to the other realm.

        Raises:
            StoreError: the store holds the other realm's pictures.
        """
        held = self.realm
        if held in (None, realm):
            return
        way_out = (
            "To make real pictures here, set the provider's key, such as GEMINI_API_KEY, and no"
            " address of a sandbox."
            if held is Realm.LIVE
            else "To go on with the stand-ins, unset the providers' keys."
        )
        raise StoreError(
            f"{self.url} is of the realm {str(held)!r}: it holds {held.pictures}. This would be of"
            f" the realm {str(realm)!r}, and {realm.pictures} are kept apart from them.",
            f"{way_out} Else name another store with --store; where none is named,"
            f" {realm.pictures} go to {realm.default_store}.",
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
    if half := _HALF_A_URL.fullmatch(url):
        raise StoreError(
            f"{url!r} is neither a URL nor a plain folder.",
            f"Write {half[1]}://{half[2]}, or ./{url} for a folder of that name.",
        )
    protocol, separator, rest = url.partition("://")
    if not separator or protocol in ("file", "local"):
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
    if protocol not in ("s3", "s3a"):
        raise StoreError(
            f"{url}: a store cannot be kept at {protocol}://.",
            "There, two workers could both believe that they wrote a file first, and pay for the"
            " same job. Use a folder, or s3://bucket/prefix (docs/stores.md).",
        )
    # s3fs costs as much to import as DuckDB: local stores do without.
    from imagewave.storage.files.bucket import BucketFiles

    normalised = f"{protocol}://{rest.strip('/')}"
    return Store(normalised, BucketFiles(normalised))


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
