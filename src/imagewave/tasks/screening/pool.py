"""Measuring many images over all cores, where one poisoned image costs one result, no more.

Each worker is a process of its own behind a pipe (some decoders hold the GIL, and one that crashes
takes its process with it). A worker that dies or hangs over a batch of images
is replaced, and those are measured again one by one, so exactly the image at fault ends as an
error. `concurrent.futures` cannot do that: there a dead worker breaks the pool and every image in
flight with it.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Final, Self

import cv2

from imagewave.errors import ImagewaveError
from imagewave.tasks.screening.metrics import Metrics, measure

Source = Path | bytes
"""A picture: a file, which a worker opens, or the bytes."""

_BATCH: Final = 8
"""Files per message to a worker: fewer wake-ups, and little to repeat after a crash."""
_AHEAD: Final = 2
"""Batches beyond those being measured: a worker that is done finds its next one ready."""
_START_SECONDS: Final = 120.0
_KEPT: Final = 31 * 2**20
"""Bytes; glibc learns from blocks of less than 32 MiB."""


class PoolError(ImagewaveError):
    """The worker processes do not start."""


class Pool:
    """Worker processes that measure images; use it as a context manager.

    workers: processes, by default one per usable core. seconds: how long one image may take.
    Memory is bounded by the bytes of (workers + 2) images here and one decoded image per worker.
    """

    def __init__(
        self, *, max_pixels: int, workers: int | None = None, seconds: float = 60.0
    ) -> None:
        count = workers or usable_cores()
        self._max_pixels = max_pixels
        self._seconds = seconds
        self._workers: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._starting = Lock()
        try:
            for _ in range(count):
                self._workers.append(_Worker(max_pixels))
        except BaseException:
            self._stop()
            raise
        self._unready = deque(self._workers)
        self._threads = ThreadPoolExecutor(count + _AHEAD, thread_name_prefix="screening")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._stop()

    def await_ready(self) -> None:
        """Waits until all workers have started. They do so by themselves, beside other work.

        Raises:
            PoolError: one does not start.
        """
        with self._starting:
            while self._unready:
                self._unready[0].await_ready()
                self._idle.put(self._unready.popleft())

    def measure(self, items: Iterable[tuple[str, Source]]) -> Iterator[tuple[str, Metrics]]:
        """The metrics of each item, in order; items are drawn no faster than results are taken.

        What is wrong with an image is in its metrics. A source that cannot be read raises what
        reading it raised.
        """
        self.await_ready()
        window: deque[Future[list[tuple[str, Metrics]]]] = deque()
        room = len(self._workers) + _AHEAD
        try:
            for batch in _batches(items):
                window.append(self._threads.submit(self._run, batch))
                if len(window) >= room:
                    yield from window.popleft().result()
            while window:
                yield from window.popleft().result()
        finally:
            for future in window:
                future.cancel()

    def _run(self, batch: list[tuple[str, Source]]) -> list[tuple[str, Metrics]]:
        keys = [key for key, _ in batch]
        images = [source for _, source in batch]
        worker = self._idle.get()
        try:
            try:
                return list(zip(keys, worker.measure(images, self._seconds), strict=True))
            except _Lost as lost:
                worker = self._replace(worker)
                if len(images) == 1:
                    return [(keys[0], Metrics(error=str(lost)))]
        finally:
            self._idle.put(worker)
        return [found for item in batch for found in self._run([item])]

    def _replace(self, worker: "_Worker") -> "_Worker":
        worker.stop()
        fresh = _Worker(self._max_pixels)
        self._workers[self._workers.index(worker)] = fresh
        fresh.await_ready()
        return fresh

    def _stop(self) -> None:
        for worker in self._workers:
            worker.stop()


def _batches(items: Iterable[tuple[str, Source]]) -> Iterator[list[tuple[str, Source]]]:
    """Runs of up to 8 files; bytes are held in memory, so they go alone."""
    files: list[tuple[str, Source]] = []
    for key, source in items:
        if isinstance(source, Path):
            files.append((key, source))
            if len(files) < _BATCH:
                continue
        if files:
            yield files
            files = []
        if not isinstance(source, Path):
            yield [(key, source)]
    if files:
        yield files


def usable_cores() -> int:
    """Cores this process may run on, where the system tells; else all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Have the allocator keep the last picture's memory for the next one.

    glibc gives a freed block back to the system unless it has seen a larger one freed before
    (mallopt(3), M_MMAP_THRESHOLD). Each picture would then pay for its pages again, by the 4 KiB: a
    third of the time of decoding a PNG. Other allocators do not mind.
    """
    bytearray(_KEPT)


class _Lost(Exception):
    """A worker died or hung; the message says how."""


# Not by `multiprocessing`, which imports the caller's script in every process that it spawns: a
# script that runs a wave would run it again there. (A fork of a process with threads may deadlock.)
_START: Final = (
    "import sys; fd, max_pixels, *sys.path[:] = sys.argv[1:];"
    f" from {__name__} import serve; serve(int(fd), int(max_pixels))"
)


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, max_pixels: int) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            fd = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(fd), str(max_pixels), *sys.path],
                stdin=subprocess.DEVNULL,
                pass_fds=[fd],
                start_new_session=True,  # Ctrl-C is the parent's to answer
            )

    def await_ready(self) -> None:
        try:
            if self._pipe.poll(_START_SECONDS):
                self._pipe.recv()
                return
        except EOFError:
            pass
        raise PoolError(
            f"A screening process does not start (exit code {self._process.poll()}).",
            "What it said stands before this.",
        )

    def measure(self, images: list[Path | bytes], seconds: float) -> list[Metrics]:
        """Raises `_Lost`, or what reading a file raised."""
        try:
            self._pipe.send(images)
            if not self._pipe.poll(seconds * len(images)):
                raise _Lost(f"decoding took more than {seconds:g} seconds")
            answer = self._pipe.recv()
        except (EOFError, ConnectionError) as gone:
            status = self._process.wait()
            raise _Lost(f"the decoder crashed (exit code {status})") from gone
        if isinstance(answer, OSError):
            raise answer
        found: list[Metrics] = answer
        return found

    def stop(self) -> None:
        # One that still starts would complain of a pipe that is closed before it is killed.
        self._process.kill()
        self._process.wait()
        self._pipe.close()


def serve(fd: int, max_pixels: int) -> None:
    """A worker's life: answer the messages of the pipe at `fd` until the parent is gone."""
    pipe = Connection(fd)
    cv2.setNumThreads(1)  # every core has a worker of its own
    keep_freed_memory()
    try:
        pipe.send("ready")
    except BrokenPipeError:  # the parent has ended meanwhile
        return
    while True:
        try:
            images: list[Path | bytes] = pipe.recv()
        except EOFError:
            return
        try:
            found = [
                measure(
                    image if isinstance(image, bytes) else image.read_bytes(),
                    max_pixels=max_pixels,
                )
                for image in images
            ]
        except OSError as unreadable:
            pipe.send(unreadable)
        else:
            pipe.send(found)
