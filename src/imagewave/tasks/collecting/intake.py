"""Takes the pictures out of a stream of outcomes and puts them into the store as they arrive.

The stream is read, split and parsed in the caller's thread; hashing, writing and syncing, which
release the interpreter's lock, run in a few threads behind it. What is in flight is bounded in
bytes, so memory depends on neither the number nor the order of the outcomes.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from imagewave.providers.protocol import Outcome
from imagewave.storage.images import StoredImage, put_image
from imagewave.storage.store import Store

LOCAL_WRITERS = 4
REMOTE_WRITERS = 8
"""Pictures written at once: each waits for its disk or server. More help neither."""

IN_FLIGHT = 24 * 1024 * 1024
"""Bytes of pictures that may wait to be written; one larger picture is taken alone."""


Kept = tuple[StoredImage, Path | bytes]


class Taken(NamedTuple):
    """An outcome without its bytes, and where they are: durable in the store, if it had any.

    `at` is where they can be looked at: a file of this machine, or the bytes themselves where the
    store is a remote one, so that nothing is downloaded that has just been uploaded.
    """

    outcome: Outcome
    image: StoredImage | None
    at: Path | bytes


def intake(
    store: Store,
    outcomes: Iterable[Outcome],
    *,
    in_flight: int = IN_FLIGHT,
) -> Iterator[Taken]:
    """Yields the outcomes in their order, each once its picture is durable.

    Raises:
        StoreError: a picture cannot be written; or whatever the stream of outcomes raises. What
            had arrived by then may be in the store without having been yielded.
    """
    writers = REMOTE_WRITERS if store.local_path("") is None else LOCAL_WRITERS
    pool = ThreadPoolExecutor(writers, thread_name_prefix="intake")
    waiting: deque[tuple[Outcome, int, Future[Kept] | None]] = deque()
    held = 0
    try:
        for outcome in outcomes:
            size, writing = 0, None
            if outcome.image is not None:
                size = len(outcome.image)
                writing = pool.submit(_keep, store, outcome.image)
                outcome = replace(outcome, image=None)  # the bytes live as long as their future
            waiting.append((outcome, size, writing))
            held += size
            while waiting and (held > in_flight or _is_done(waiting[0][2])):
                first, size, written = waiting.popleft()
                held -= size
                yield _taken(first, written)
        while waiting:
            first, _, written = waiting.popleft()
            yield _taken(first, written)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _keep(store: Store, data: bytes | memoryview) -> Kept:
    stored = put_image(store, data)
    return stored, store.local_path(stored.path) or bytes(data)


def _taken(outcome: Outcome, written: Future[Kept] | None) -> Taken:
    image, at = written.result() if written else (None, b"")
    return Taken(outcome, image, at)


def _is_done(writing: Future[Kept] | None) -> bool:
    return writing is None or writing.done()
