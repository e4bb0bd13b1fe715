"""Renderers and jobs for tests that need no GPU, no torch and no weights."""

import io
import threading
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from imagewave.providers.gpu.rendering.buckets import Bucket
from imagewave.providers.gpu.rendering.render import OutOfMemory, render_job
from imagewave.providers.protocol import JobState
from imagewave.storage.jobs.renders import RenderFolder, RenderJob, RenderLine, write_input
from imagewave.storage.store import Store


class Stub:
    """Draws noise from prompt, seed and batch size; notes every batch that it is given.

    Batches of more than `fits` are out of memory.
    """

    def __init__(self, fits: int = 100) -> None:
        self.fits = fits
        self.loads = 0
        self.batches: list[list[str]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def load(self, job: RenderJob) -> None:
        self.loads += 1

    def text_length(self, prompt: str) -> int:
        return 0

    def most_together(self, bucket: Bucket) -> int | None:
        return None

    def numerics(self) -> Mapping[str, object]:
        return {"stub": 1}

    def render(
        self, bucket: Bucket, lines: Sequence[RenderLine], images: Sequence[Image.Image]
    ) -> list[Image.Image]:
        self.go_on.wait(60)
        if len(lines) > self.fits:
            raise OutOfMemory("so many do not fit")
        self.batches.append([line.key for line in lines])
        return [self._picture(line, len(lines)) for line in lines]

    def _picture(self, line: RenderLine, together: int) -> Image.Image:
        words = f"{line.prompt} {line.steps} {line.strength} {line.loras} {together}"
        noise = np.random.default_rng([line.seed, zlib.crc32(words.encode())])
        return Image.fromarray(noise.integers(0, 255, (line.height, line.width, 3), np.uint8))


class StubEngine:
    """Renders in threads of this process; `deaf` has it hear of no job."""

    name = "local"

    def __init__(self, renderer: Stub | None = None) -> None:
        self.renderer = renderer or Stub()
        self.threads: dict[str, threading.Thread] = {}

    def check(self) -> None:
        pass

    def start(self, folder: RenderFolder) -> None:
        if folder.token not in self.threads:
            work = threading.Thread(
                target=render_job, args=(folder.store, folder.token, self.renderer)
            )
            self.threads[folder.token] = work
            work.start()

    def has(self, folder: RenderFolder) -> bool:
        return True

    def look(self, folder: RenderFolder) -> tuple[JobState, str]:
        thread = self.threads.get(folder.token)
        if thread is None or thread.is_alive():
            return JobState.RUNNING, ""
        return JobState.SUCCEEDED, ""

    def stop(self, folder: RenderFolder) -> None:
        pass


def line(key: str, **fields: Any) -> RenderLine:
    """A small picture; its seed is made of its key."""
    known = {
        "prompt": "tulips",
        "width": 64,
        "height": 64,
        "steps": 2,
        "guidance": 0.0,
        "seed": zlib.crc32(key.encode()),
    }
    return RenderLine(key=key, **{**known, **fields})


def job(store: Store, lines: Sequence[RenderLine], token: str = "job", **fields: Any) -> str:
    """A job of these lines, four small pictures a batch; returns its token."""
    known: dict[str, Any] = {
        "handle": write_input(store, lines),
        "model": "sdxl",
        "weights": "nowhere",
        "revision": "",
        "batch_pixels": 4 * 64 * 64,
        "count": len(lines),
        "usd_per_hour": "3.60",
        "engine": "local",
        "host": "",
    }
    RenderFolder(store, token).start(RenderJob(**{**known, **fields}))
    return token


def pictures(store: Store, token: str) -> dict[str, bytes]:
    """The pixels of what was rendered, by key."""
    return {
        key: Image.open(io.BytesIO(store.read(record.path))).tobytes()
        for key, record in RenderFolder(store, token).records().items()
        if record.path
    }
