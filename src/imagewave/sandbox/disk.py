"""Writing files that are whole or absent, whenever the process is killed."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces the file's content, synced."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
