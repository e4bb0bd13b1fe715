"""The store's files in memory: each use of one is a scheduling point, and may fail.

It fails before the effect or after it, as a store over a network does; and now and then a put that
was carried out is answered as if somebody else had been there (the client sent it again after the
first answer was lost). What a dead process writes has no effect.
"""

import io
from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import BinaryIO, Protocol

from tests.simulation.scheduler import World

from imagewave.storage.files.protocol import Buffer, StoreError


class Watcher(Protocol):
    """Who is told of each effect."""

    def stored(self, path: str, data: bytes, replaced: bool) -> None:
        """A file was put there, perhaps in the place of another."""
        ...

    def deleted(self, path: str) -> None:
        """A file was removed."""
        ...


class MemoryFiles:
    """What `imagewave.storage.files.protocol.Files` promises, for all processes of a world."""

    def __init__(self, world: World, files: dict[str, bytes], watcher: Watcher) -> None:
        self._world = world
        self.files = files
        self._paths = sorted(files)
        self._watcher = watcher

    def read(self, path: str) -> bytes:
        self._before(path)
        return self._found(path)

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        self._before(paths[0] if paths else "")
        return {path: self._found(path) for path in paths}

    def open_read(self, path: str) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def write(self, path: str, data: Buffer) -> None:
        self._before(path)
        self._put(path, data, replaced=path in self.files)
        self._after(path)

    def write_many(self, files: Iterable[tuple[str, Buffer]]) -> None:
        for path, data in files:
            self.write(path, data)

    def create(self, path: str, data: Buffer) -> bool:
        self._before(path)
        if path in self.files:
            return False
        self._put(path, data, replaced=False)
        self._after(path)
        return not self._world.chance(self._world.weather.store / 2, "put answered no")

    def exists(self, path: str) -> bool:
        self._before(path)
        return path in self.files

    def list(self, prefix: str) -> list[str]:
        self._before(prefix)
        if not prefix:
            return list(self._paths)
        first = bisect_left(self._paths, f"{prefix}/")
        return self._paths[first : bisect_left(self._paths, f"{prefix}0")]  # "0" follows "/"

    def delete(self, path: str) -> None:
        self._before(path)
        if self.files.pop(path, None) is not None:
            self._paths.remove(path)
            self._world.note(f"delete {path}")
            self._watcher.deleted(path)
        self._after(path)

    def _found(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _put(self, path: str, data: Buffer, *, replaced: bool) -> None:
        if path not in self.files:
            insort(self._paths, path)
        self.files[path] = bytes(data)
        self._world.note(f"put {path}")
        self._watcher.stored(path, self.files[path], replaced)

    def _before(self, path: str) -> None:
        world = self._world
        world.point()
        if world.chance(world.weather.store, "store failed before"):
            raise StoreError(f"{path}: the store could not be reached.")

    def _after(self, path: str) -> None:
        world = self._world
        if world.chance(world.weather.slow, "answer slow"):
            world.pause(world.seconds(world.weather.slowest))
        if world.chance(world.weather.store, "store failed after"):
            raise StoreError(f"{path}: the store could not be reached.")
