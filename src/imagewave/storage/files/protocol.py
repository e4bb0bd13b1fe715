"""What a store needs of the place its files are in."""

from collections.abc import Iterable
from typing import BinaryIO, Protocol

from imagewave.errors import ImagewaveError

Buffer = bytes | bytearray | memoryview


class StoreError(ImagewaveError):
    """The store could not be used as asked; what it held before, it still holds."""


RESTORE = "Put it back as it was written (from a backup)."


def damaged(path: str, reason: object, fix: str = RESTORE) -> StoreError:
    """The error for a file that cannot be what was written."""
    return StoreError(f"{path} is damaged: {reason}.", fix)


class Files(Protocol):
    """What a store needs of the place its files are in; paths are relative and checked."""

    def read(self, path: str) -> bytes:
        """The file's bytes; FileNotFoundError if there is none."""
        ...

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        """The bytes of several files, fetched at once; FileNotFoundError if one is not there."""
        ...

    def open_read(self, path: str) -> BinaryIO:
        """The file, open at its start; FileNotFoundError if there is none."""
        ...

    def write(self, path: str, data: Buffer) -> None:
        """Puts the file there, whole, whatever was there before."""
        ...

    def write_many(self, files: Iterable[tuple[str, Buffer]]) -> None:
        """Puts each file there as `write` does; holds few of them in memory at once."""
        ...

    def create(self, path: str, data: Buffer) -> bool:
        """Puts the file there if nothing is; True for the one caller whose bytes those are."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        ...

    def list(self, prefix: str) -> list[str]:
        """All files below a folder, sorted; none if there is no such folder."""
        ...

    def delete(self, path: str) -> None:
        """Removes the file, if there is one."""
        ...
