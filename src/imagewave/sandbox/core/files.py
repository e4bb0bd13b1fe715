"""The file store: resumable uploads, uploaded inputs and generated results, all on disk."""

import asyncio
import hashlib
import os
import secrets
import string
import time
from collections.abc import AsyncIterable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from imagewave.sandbox.core.disk import write_atomically
from imagewave.sandbox.core.errors import ApiError

_ALPHABET = string.ascii_lowercase + string.digits
_MAX_ID = 40
_HASH_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file's metadata. `sha256` is hex, empty for results; times are epoch seconds."""

    id: str
    display_name: str
    mime_type: str
    size: int
    created: float
    expires: float
    sha256: str
    generated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload that has begun."""

    id: str
    file_id: str
    display_name: str
    mime_type: str
    size: int | None


class FileStore:
    """Files by id: `<id>.json` next to `<id>.bin`; unfinished uploads in a folder of their own."""

    def __init__(self, root: Path) -> None:
        self._files = root / "files"
        self._uploads = root / "uploads"
        self._files.mkdir(parents=True, exist_ok=True)
        self._uploads.mkdir(parents=True, exist_ok=True)

    def begin(self, *, file_id: str, display_name: str, mime_type: str, size: int | None) -> Upload:
        """Opens a resumable upload; `file_id` may be empty.

        Raises:
            ApiError: the id is taken, or is none.
        """
        file_id = file_id or new_id()
        if not _is_id(file_id):
            raise ApiError(
                "INVALID_ARGUMENT",
                "* CreateFileRequest.file.name: may only contain lowercase alphanumeric "
                f"characters or dashes (-), at most {_MAX_ID} of them.",
            )
        if self._meta(file_id).exists():
            raise ApiError("INVALID_ARGUMENT", f"File files/{file_id} already exists.")
        upload = Upload(
            id=secrets.token_hex(16),
            file_id=file_id,
            display_name=display_name,
            mime_type=mime_type,
            size=size,
        )
        write_atomically(self._uploads / f"{upload.id}.json", orjson.dumps(asdict(upload)))
        self._part(upload).touch()
        return upload

    def upload(self, upload_id: str) -> Upload:
        """The unfinished upload.

        Raises:
            ApiError: NOT_FOUND.
        """
        path = self._uploads / f"{upload_id}.json"
        if not upload_id.isalnum() or not path.exists():
            raise ApiError("NOT_FOUND", "Upload session not found or already finished.")
        return Upload(**orjson.loads(path.read_bytes()))

    def received(self, upload: Upload) -> int:
        """How many bytes have arrived."""
        return self._part(upload).stat().st_size

    async def append(self, upload: Upload, offset: int, body: AsyncIterable[bytes]) -> None:
        """Adds one chunk.

        Raises:
            ApiError: the chunk does not begin where the last one ended.
        """
        if offset != self.received(upload):
            raise ApiError("INVALID_ARGUMENT", f"Upload offset {offset} does not match.")
        with await asyncio.to_thread(open, self._part(upload), "ab") as file:
            async for chunk in body:
                file.write(chunk)

    def finish(self, upload: Upload, ttl: float) -> StoredFile:
        """Turns the upload into a file.

        Raises:
            ApiError: fewer or more bytes than announced.
        """
        part = self._part(upload)
        size = part.stat().st_size
        if upload.size is not None and size != upload.size:
            raise ApiError(
                "INVALID_ARGUMENT", f"Upload has {size} bytes; {upload.size} were announced."
            )
        now = time.time()
        stored = StoredFile(
            id=upload.file_id,
            display_name=upload.display_name,
            mime_type=upload.mime_type,
            size=size,
            created=now,
            expires=now + ttl,
            sha256=_sha256(part),
            generated=False,
        )
        part.replace(self.path(stored.id))
        self._save(stored)
        (self._uploads / f"{upload.id}.json").unlink()
        return stored

    def adopt(self, file_id: str, path: Path, ttl: float) -> StoredFile:
        """Takes over a finished result from elsewhere on the same disk."""
        now = time.time()
        stored = StoredFile(
            id=file_id,
            display_name=file_id,
            mime_type="application/jsonl",
            size=path.stat().st_size,
            created=now,
            expires=now + ttl,
            sha256="",
            generated=True,
        )
        # The metadata first: a kill in between leaves the result where it can be adopted again.
        self._save(stored)
        path.replace(self.path(file_id))
        return stored

    def get(self, file_id: str) -> StoredFile:
        """The file's metadata.

        Raises:
            ApiError: NOT_FOUND once it has expired, PERMISSION_DENIED where there never was one,
                as Google answers.
        """
        meta = self._meta(file_id)
        if not _is_id(file_id) or not meta.exists():
            raise ApiError(
                "PERMISSION_DENIED",
                f"You do not have permission to access the File {file_id} or it may not exist.",
            )
        stored = StoredFile(**orjson.loads(meta.read_bytes()))
        if stored.expires <= time.time():
            self.path(file_id).unlink(missing_ok=True)
            raise ApiError("NOT_FOUND", f"File files/{file_id} has expired.")
        return stored

    def path(self, file_id: str) -> Path:
        """Where the bytes lie."""
        return self._files / f"{file_id}.bin"

    def all(self) -> list[StoredFile]:
        """Every file that has not expired."""
        now = time.time()
        stored = [StoredFile(**orjson.loads(p.read_bytes())) for p in self._files.glob("*.json")]
        return [file for file in stored if file.expires > now]

    def delete(self, file_id: str) -> None:
        """Removes the file.

        Raises:
            ApiError: as `get`.
        """
        self.get(file_id)
        self._meta(file_id).unlink()
        self.path(file_id).unlink(missing_ok=True)

    def forget(self, file_id: str) -> None:
        """Lets a file expire now."""
        stored = orjson.loads(self._meta(file_id).read_bytes())
        self._save(StoredFile(**{**stored, "expires": time.time()}))
        self.path(file_id).unlink(missing_ok=True)

    def _meta(self, file_id: str) -> Path:
        return self._files / f"{file_id}.json"

    def _part(self, upload: Upload) -> Path:
        return self._uploads / f"{upload.id}.part"

    def _save(self, stored: StoredFile) -> None:
        write_atomically(self._meta(stored.id), orjson.dumps(asdict(stored)))


def new_id() -> str:
    """A fresh id in Google's style: 12 lower-case letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def _is_id(file_id: str) -> bool:
    return 0 < len(file_id) <= _MAX_ID and all(c in _ALPHABET or c == "-" for c in file_id)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
        os.fsync(file.fileno())
    return digest.hexdigest()
