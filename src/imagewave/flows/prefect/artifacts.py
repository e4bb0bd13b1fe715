"""What a wave's run shows in the Prefect UI: how far it is, and what came out so far.

Prefect refuses events above 1.5 MB, so artifacts carry counts and small thumbnails, never rows.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectHTTPStatusError

from imagewave.errors import ImagewaveError
from imagewave.flows.prefect.labels import artifact_key
from imagewave.flows.progress import Progress, watched_by
from imagewave.flows.run import Run
from imagewave.storage.realms import money_note
from imagewave.storage.store import Store
from imagewave.tasks.reporting.showcase import Row, Showcase, showcase
from imagewave.words import in_markdown, legible

# Each update is a call to the server, which has better to do.
_SECONDS_BETWEEN_UPDATES = 5.0

_ACROSS = 4  # pictures in a row of the contact sheet


@contextmanager
def showing(run: Run) -> Iterator[None]:
    """Keeps a progress artifact while the block runs, and publishes the rest at its end.

    A wave never fails because Prefect's server cannot show it.
    """
    bar = _Bar(run.wave.name)
    try:
        with watched_by(bar.show):
            yield
    finally:
        bar.finish()
        with _warned("The run's artifacts could not be written"):
            publish(run.store, run.wave.name)


class _Bar:
    """A progress artifact: of the stage that runs now, the share of requests that are done.

    The server is told in a thread of its own: a busy one takes half a second to answer.
    """

    def __init__(self, wave: str) -> None:
        self._key = artifact_key(wave, "progress")
        self._id: UUID | None = None
        self._stage = ""
        self._share = 0.0
        self._at = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="progress")
        self._sending: Future[None] | None = None

    def show(self, progress: Progress) -> None:
        """Takes note of progress, and tells the server if it was told too long ago."""
        self._stage = progress.stage
        self._share = (
            100 * progress.requests_done / progress.requests if progress.requests else 100.0
        )
        busy = self._sending is not None and not self._sending.done()
        if time.monotonic() - self._at >= _SECONDS_BETWEEN_UPDATES and not busy:
            self._at = time.monotonic()
            self._sending = self._thread.submit(copy_context().run, self._send)

    def finish(self) -> None:
        """Tells the server what was noted last."""
        self._thread.shutdown()
        if self._sending is not None:
            self._sending.result()
        self._send()

    def _send(self) -> None:
        with _warned("The progress could not be written"):
            if self._id is None:
                made = create_progress_artifact(self._share, key=self._key, description=self._stage)
                assert isinstance(made, UUID)
                self._id = made
            else:
                update_progress_artifact(self._id, progress=self._share, description=self._stage)


@contextmanager
def _warned(what: str) -> Iterator[None]:
    """Says so where the server cannot be told, or the facts cannot be shown, and goes on.

    Whatever is wrong: what is shown is an ornament, and in the thread of `_Bar` nobody would hear.
    """
    try:
        yield
    except (PrefectHTTPStatusError, httpx.HTTPError, ImagewaveError) as error:
        get_run_logger().warning("%s: %s", what, legible(str(error), lines=True))
    except Exception:  # noqa: BLE001 - as said above; a defect is told with its traceback
        get_run_logger().exception(what)


def publish(store: Store, wave: str) -> None:
    """Publishes funnel, bill, findings, contact sheet and links, from the facts as they stand."""
    shown = showcase(store, wave)
    for what, rows, note in (
        ("funnel", shown.funnel, ""),
        ("bill", shown.bill, money_note(store.realm)),
        ("findings", shown.findings, ""),
    ):
        create_table_artifact(
            [_legible(row) for row in rows],
            key=artifact_key(wave, what),
            description=f"{wave}: {what}{note}",
        )
    create_markdown_artifact(
        _sheet(shown), key=artifact_key(wave, "contact-sheet"), description=f"{wave}: best pictures"
    )
    if store.exists(f"reports/{wave}.html"):
        create_link_artifact(
            _link(store, f"reports/{wave}.html"),
            link_text=f"report of {wave}",
            key=artifact_key(wave, "report"),
            description=f"{wave}: report",
        )
    create_link_artifact(
        _link(store, ""),
        link_text=store.url,
        key=artifact_key(wave, "store"),
        description=f"{wave}: everything that is known",
    )


def _legible(row: Row) -> dict[str, Any]:
    return {name: legible(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def _sheet(shown: Showcase) -> str:
    if not shown.pictures:
        return "No pictures yet."
    lines = ["|" + " |" * _ACROSS, "|" + "---|" * _ACROSS]
    for start in range(0, len(shown.pictures), _ACROSS):
        row = shown.pictures[start : start + _ACROSS]
        lines.append("| " + " | ".join(f"![]({picture.data_uri})" for picture in row) + " |")
        lines.append("| " + " | ".join(in_markdown(picture.caption) for picture in row) + " |")
    more = f"\n\n{shown.left_out} more are in the report." if shown.left_out else ""
    return "\n".join(lines) + more


def _link(store: Store, path: str) -> str:
    local = store.local_path(path)
    if local is not None:
        return local.as_uri()
    return quote(store.url_of(path) if path else store.url, safe=":/")
