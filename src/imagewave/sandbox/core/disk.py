"""Writing files that are whole or absent, whenever the process is killed."""

import fcntl
import os
import time
from pathlib import Path
from typing import BinaryIO

_LOCK_PATIENCE_S = 10.0

EXIT_IN_USE = 75
"""What a child ends with whose folder is in use: the EX_TEMPFAIL of sysexits.h."""


class FolderInUse(Exception):
    """Another sandbox works on the same state folder."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces the file's content, synced."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def lock_folder(folder: Path) -> BinaryIO:
    """Holds the folder until the returned file is closed or the process ends, however it ends.

    Waits a while for a predecessor that is about to end.

    Raises:
        FolderInUse: naming the process that holds the folder.
    """
    file = open(folder / "lock", "a+b")  # noqa: SIM115 - held for the life of the process
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.seek(0)
                holder = file.read().decode("ascii", "replace")
                file.close()
                raise FolderInUse(
                    f"process {holder} already serves the state folder {folder}"
                ) from None
            time.sleep(0.05)
    file.truncate(0)
    file.write(str(os.getpid()).encode("ascii"))
    file.flush()
    return file
