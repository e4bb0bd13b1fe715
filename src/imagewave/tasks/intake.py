"""Takes the pictures out of a stream of outcomes and puts them into the store as they arrive.

The stream is read, split and parsed in the caller's thread; hashing, writing and syncing, which
release the interpreter's lock, run in a few threads behind it. What is in flight is bounded in
bytes, so memory depends on neither the number nor the order of the outcomes.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from imagewave.storage.images import StoredImage, put_image
from imagewave.storage.store import Store
from imagewave.tasks.providers.protocol import Outcome

LOCAL_WRITERS = 4
REMOTE_WRITERS = 8
"""Pictures written at once: each waits for its disk or server. More help neither."""

IN_FLIGHT = 24 * 1024 * 1024
"""Bytes of pictures that may wait to be written; one larger picture is taken alone."""


class Taken(NamedTuple):
    """An outcome without its bytes, and where they are: durable in the store, if it had any."""

    outcome: Outcome
    image: StoredImage | None


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
    waiting: deque[tuple[Outcome, int, Future[StoredImage] | None]] = deque()
    held = 0
    try:
        for outcome in outcomes:
            size, writing = 0, None
            if outcome.image is not None:
                size = len(outcome.image)
                writing = pool.submit(put_image, store, outcome.image)
                outcome = replace(outcome, image=None)  # the bytes live as long as their future
            waiting.append((outcome, size, writing))
            held += size
            while waiting and (held > in_flight or _is_done(waiting[0][2])):
                first, size, written = waiting.popleft()
                held -= size
                yield Taken(first, written.result() if written else None)
        while waiting:
            first, _, written = waiting.popleft()
            yield Taken(first, written.result() if written else None)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _is_done(writing: Future[StoredImage] | None) -> bool:
    return writing is None or writing.done()
