"""Files below a prefix of a bucket on S3 or a server that speaks its language."""

import itertools
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, BinaryIO, cast

from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
)
from fsspec.exceptions import FSTimeoutError
from s3fs import S3FileSystem

from imagewave.storage.files.protocol import Buffer, StoreError

# Above about 16 at once, S3 clients on a small machine only get in each other's way for whole
# images; facts are small and latency is all they cost.
_AT_ONCE = 32
_WRITES_AT_ONCE = 8

_CONFLICT_TRIES = 5

_NO_CONDITIONAL_PUT = (
    "Without put-if-absent (the header If-None-Match) two workers could pay for the same job. Use a"
    " local folder, AWS S3 or another server that docs/stores.md lists."
)


class BucketFiles:
    """Files below `url`, through s3fs.

    Credentials, region and endpoint are those that AWS's own tools use: `AWS_ACCESS_KEY_ID`,
    `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, profiles.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._fs_of: tuple[int, Any] | None = None
        self._root = url.partition("://")[2]

    @property
    def _fs(self) -> Any:
        # A client opened before a fork holds the parent's sockets: each process opens its own.
        if self._fs_of is None or self._fs_of[0] != os.getpid():
            with self._explained(""):
                fs = S3FileSystem(
                    skip_instance_cache=True,
                    use_listings_cache=False,
                    # With more, each read asks for the size first, to fetch in pieces what is
                    # large. Nothing here is, and a request is a round trip and money.
                    max_concurrency=1,
                )
            self._fs_of = (os.getpid(), fs)
        return self._fs_of[1]

    def read(self, path: str) -> bytes:
        with self._explained(path):
            return bytes(self._fs.cat_file(self._at(path)))

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        if not paths:
            return {}
        with self._explained(f"{len(paths)} files"):
            # One path would be answered with its bytes instead of a dict.
            found = self._fs.cat([self._at(path) for path in paths], batch_size=_AT_ONCE)
        if isinstance(found, bytes):
            return {paths[0]: found}
        return {path: bytes(found[self._at(path)]) for path in paths}

    def open_read(self, path: str) -> BinaryIO:
        with self._explained(path):
            return cast(BinaryIO, self._fs.open(self._at(path), "rb"))

    def write(self, path: str, data: Buffer) -> None:
        with self._explained(path):
            self._fs.pipe_file(self._at(path), bytes(data))

    def write_many(self, files: Iterable[tuple[str, Buffer]]) -> None:
        waiting = iter(files)
        while group := dict(itertools.islice(waiting, _WRITES_AT_ONCE)):
            objects = {self._at(path): bytes(data) for path, data in group.items()}
            with self._explained(f"{len(group)} files"):
                self._fs.pipe(objects)

    def create(self, path: str, data: Buffer) -> bool:
        writer = secrets.token_hex(8)
        options = {"Metadata": {"writer": writer}}
        with self._explained(path):
            for tried in range(1, _CONFLICT_TRIES + 1):
                try:
                    self._fs.pipe_file(self._at(path), bytes(data), mode="create", **options)
                    return True
                except FileExistsError:
                    return self._written_by(path, writer)
                except OSError as error:
                    status, _ = _refusal(error)
                    # The client takes only AWS's own wording for a no: others leave out a part.
                    if status == HTTPStatus.PRECONDITION_FAILED:
                        return self._written_by(path, writer)
                    if status != HTTPStatus.CONFLICT or tried == _CONFLICT_TRIES:
                        raise
                    # Another writer of the same key is in flight; who won shows in a moment.
                    time.sleep(0.05 * tried)
        raise AssertionError("the last try returns or raises")

    def _written_by(self, path: str, writer: str) -> bool:
        # The client sends a put again when the answer to the first was lost; the first may have
        # been heard, and then the object that is in the way is our own.
        return bool(self._fs.metadata(self._at(path)).get("writer") == writer)

    def exists(self, path: str) -> bool:
        # Not `isfile`, which takes every error for a no.
        try:
            with self._explained(path):
                # Not `info`: where there is no such file, it looks for a folder of that name.
                bucket, _, key = self._at(path).partition("/")
                self._fs.call_s3("head_object", Bucket=bucket, Key=key)
                return True
        except FileNotFoundError:
            return False

    def list(self, prefix: str) -> list[str]:
        folder = f"{self._at(prefix)}/"
        with self._explained(prefix):
            if prefix:
                # Like this, an empty folder is not looked up as a file as well: two requests, and
                # a name that is not below the folder if somebody writes into it meanwhile.
                found = self._fs.find(self._root, prefix=f"{prefix}/")
            else:
                found = self._fs.find(self._at(prefix))
        start = len(self._root) + 1
        return sorted(name[start:] for name in found if name.startswith(folder))

    def delete(self, path: str) -> None:
        with suppress(FileNotFoundError), self._explained(path):
            self._fs.rm_file(self._at(path))

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        where = f"{self._url}/{path}".rstrip("/")
        try:
            yield
        except FileExistsError:
            raise
        except FileNotFoundError as error:
            if _refusal(error)[1] != "NoSuchBucket":
                raise
            raise StoreError(
                f"{where}: there is no such bucket.",
                "Create it, or correct the store's URL.",
            ) from error
        except NoCredentialsError as error:
            raise StoreError(
                f"{where}: no credentials were found.",
                "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
            ) from error
        except PermissionError as error:
            raise StoreError(
                f"{where}: access denied ({error}).",
                "Check the credentials, and that they may get, put, list and delete there.",
            ) from error
        except (EndpointConnectionError, ConnectTimeoutError, ConnectionError) as error:
            raise StoreError(
                f"{where}: the store could not be reached: {error}.",
                "Check the network and, for S3, AWS_ENDPOINT_URL and AWS_REGION.",
            ) from error
        except (OSError, BotoCoreError, FSTimeoutError) as error:
            raise StoreError(f"{where}: {error}.", _fix(error)) from error
        except ValueError as error:
            raise StoreError(
                f"{where}: {error}",
                "Stores are folders, or URLs such as s3://bucket/prefix.",
            ) from error


def _refusal(error: BaseException) -> tuple[int, str]:
    """HTTP status and code of the S3 answer that the client made an exception of; (0, "") if none.

    S3's own words are in the exception that the client has translated.
    """
    answer = getattr(error.__cause__, "response", None) or {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status), str(answer.get("Error", {}).get("Code", ""))


def _fix(error: BaseException) -> str:
    """What helps against a refusal that says neither who nor where is wrong."""
    status, code = _refusal(error)
    if status == HTTPStatus.NOT_IMPLEMENTED or code == "NotImplemented":
        return f"The server lacks a function that a store needs. {_NO_CONDITIONAL_PUT}"
    # botocore >= 1.36 sends checksums that some servers do not know; they name the header.
    if status == HTTPStatus.BAD_REQUEST and "checksum" in str(error).lower():
        return (
            "The server does not know the checksums that the AWS client sends. Set"
            " AWS_REQUEST_CHECKSUM_CALCULATION=when_required and"
            " AWS_RESPONSE_CHECKSUM_VALIDATION=when_required."
        )
    return "Check the URL, the network and, for S3, AWS_ENDPOINT_URL and AWS_REGION."
