"""Measuring many images over all cores, where one poisoned image costs one result, no more.

Each worker is a process of its own behind a pipe (some decoders hold the GIL, and one that crashes
takes its process with it). A worker that dies or hangs over a batch of images
is replaced, and those are measured again one by one, so exactly the image at fault ends as an
error. `concurrent.futures` cannot do that: there a dead worker breaks the pool and every image in
flight with it.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

import cv2

from imagewave.errors import ImagewaveError
from imagewave.tasks.screening.metrics import Metrics, measure

Source = Path | Callable[[], bytes]
"""A file, which a worker opens, or a function that is called in this process."""

_BATCH: Final = 8
"""Files per message to a worker: fewer wake-ups, and little to repeat after a crash."""
_READERS: Final = 6
"""Functions called at once beyond the images being measured: hides a remote store's latency."""
_START_SECONDS: Final = 120.0
_KEPT: Final = 31 * 2**20
"""Bytes; glibc learns from blocks of less than 32 MiB."""


class PoolError(ImagewaveError):
    """The worker processes do not start."""


class Pool:
    """Worker processes that measure images; use it as a context manager.

    workers: processes, by default one per usable core. seconds: how long one image may take.
    Memory is bounded by (workers + 6) images' bytes here and one decoded image per worker.
    """

    def __init__(
        self, *, max_pixels: int, workers: int | None = None, seconds: float = 60.0
    ) -> None:
        count = workers or usable_cores()
        self._max_pixels = max_pixels
        self._seconds = seconds
        self._workers: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        try:
            for _ in range(count):
                self._workers.append(_Worker(max_pixels))
            for worker in self._workers:
                worker.await_ready()
                self._idle.put(worker)
        except BaseException:
            self._stop()
            raise
        self._threads = ThreadPoolExecutor(count + _READERS, thread_name_prefix="screening")

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

    def measure(self, items: Iterable[tuple[str, Source]]) -> Iterator[tuple[str, Metrics]]:
        """The metrics of each item, in order; items are drawn no faster than results are taken.

        What is wrong with an image is in its metrics. A source that cannot be read raises what
        reading it raised.
        """
        window: deque[Future[list[tuple[str, Metrics]]]] = deque()
        room = len(self._workers) + _READERS
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
        images = [source if isinstance(source, Path) else source() for _, source in batch]
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


def measure_many(
    items: Iterable[tuple[str, Source]], *, max_pixels: int, workers: int | None = None
) -> Iterator[tuple[str, Metrics]]:
    """`Pool.measure` with a pool of its own, closed with the iterator."""
    with Pool(max_pixels=max_pixels, workers=workers) as pool:
        yield from pool.measure(items)


def _batches(items: Iterable[tuple[str, Source]]) -> Iterator[list[tuple[str, Source]]]:
    """Runs of up to 8 files; a function's result is held in memory, so it goes alone."""
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


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, max_pixels: int) -> None:
        # "spawn": this process has threads, and a fork of them may deadlock.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(theirs, max_pixels),
            daemon=True,
            name="imagewave-screening",
        )
        self._process.start()
        theirs.close()

    def await_ready(self) -> None:
        try:
            if self._pipe.poll(_START_SECONDS):
                self._pipe.recv()
                return
        except EOFError:
            pass
        raise PoolError(
            f"A screening process does not start (exit code {self._process.exitcode}).",
            'A script that starts one needs `if __name__ == "__main__":` around its main part.',
        )

    def measure(self, images: list[Path | bytes], seconds: float) -> list[Metrics]:
        """Raises `_Lost`, or what reading a file raised."""
        try:
            self._pipe.send(images)
            if not self._pipe.poll(seconds * len(images)):
                raise _Lost(f"decoding took more than {seconds:g} seconds")
            answer = self._pipe.recv()
        except (EOFError, ConnectionError) as gone:
            self._process.join()
            raise _Lost(f"the decoder crashed (exit code {self._process.exitcode})") from gone
        if isinstance(answer, OSError):
            raise answer
        found: list[Metrics] = answer
        return found

    def stop(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, max_pixels: int) -> None:
    """A worker's life: answer messages until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    cv2.setNumThreads(1)  # every core has a worker of its own
    keep_freed_memory()
    pipe.send("ready")
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
