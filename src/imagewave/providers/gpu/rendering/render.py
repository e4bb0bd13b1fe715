"""Renders a job: batch by batch, encoding the last one meanwhile, each picture kept at once.

What was rendered before is not rendered again, so a rendering that was killed is repeated for what
it lacks. Pictures are encoded and stored in threads, while the next batch is on the GPU.
"""

import io
import os
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from PIL import Image

from imagewave.killpoints import reached
from imagewave.pictures.view import view
from imagewave.providers.gpu.rendering.buckets import (
    Batches,
    Bucket,
    batch_size,
    sorted_into_buckets,
)
from imagewave.storage.images import put_image
from imagewave.storage.jobs.renders import (
    Rendered,
    RenderFolder,
    RenderJob,
    RenderLine,
    numerics_id,
)
from imagewave.storage.store import Store

OUT_OF_MEMORY = "OUT_OF_MEMORY"
"""The reason of a picture that does not fit on the GPU, not even alone."""

JPEG_QUALITY = 92
PNG_LEVEL = 1
"""Higher levels take three times as long for a tenth less."""

# Encoding releases the interpreter's lock; more threads than this would wait for the GPU.
_ENCODERS = min(4, os.cpu_count() or 1)


class OutOfMemory(Exception):
    """The batch does not fit on the GPU."""


class Renderer(Protocol):
    """What turns lines into pictures."""

    def load(self, job: RenderJob) -> None:
        """Makes ready for the job's model.

        Raises:
            ImagewaveError: its weights cannot be loaded.
        """
        ...

    def text_length(self, prompt: str) -> int:
        """Tokens that the prompt is padded to; 0 where that is the same for all prompts."""
        ...

    def most_together(self, bucket: Bucket) -> int | None:
        """The most pictures of the bucket that can share a batch; None: as many as fit."""
        ...

    def numerics(self) -> Mapping[str, object]:
        """What determines the bits of a picture besides its line and the size of its batch."""
        ...

    def render(
        self, bucket: Bucket, lines: Sequence[RenderLine], images: Sequence[Image.Image]
    ) -> list[Image.Image]:
        """The pictures of the lines, all of one bucket, in their order.

        `images` are those that are drawn over, of the lines' own size; none where the bucket does
        not draw over any.

        Raises:
            OutOfMemory: so many at once do not fit.
        """
        ...


def render_job(store: Store, token: str, renderer: Renderer) -> int:
    """Renders what the job still lacks; returns how many pictures those were.

    Stops early, between two batches, when the job is cancelled.

    Raises:
        FileNotFoundError: there is no such job.
        ImagewaveError: the weights cannot be loaded, or the store refuses.
    """
    return _Rendering(RenderFolder(store, token), renderer).run()


class _Rendering:
    """One process's work on one job."""

    def __init__(self, folder: RenderFolder, renderer: Renderer) -> None:
        self.folder = folder
        self.renderer = renderer
        self.session = secrets.token_hex(6)
        self.began = self.mark = time.monotonic()
        self.waiting: deque[Future[None]] = deque()
        self.made = 0

    def run(self) -> int:
        done = self.folder.done()
        todo = [line for line in self.folder.lines() if line.key not in done]
        if not todo:
            return 0
        self.renderer.load(self.folder.job)
        buckets = sorted_into_buckets(todo, self.renderer.text_length)
        self.mark = time.monotonic()
        with ThreadPoolExecutor(_ENCODERS, thread_name_prefix="encode") as encoders:
            for bucket, lines in buckets.items():
                if not self._bucket(bucket, lines, encoders):
                    break
            while self.waiting:
                self.waiting.popleft().result()
        return self.made

    def _bucket(
        self, bucket: Bucket, lines: Sequence[RenderLine], encoders: ThreadPoolExecutor
    ) -> bool:
        """Renders one bucket; False if the job was cancelled."""
        size = batch_size(bucket, self.folder.job.batch_pixels)
        most = self.renderer.most_together(bucket)
        batches = Batches(lines, size if most is None else min(size, most))
        while batches:
            if self.folder.is_cancelled():
                return False
            rows = batches.next()
            whole = batches.with_ghosts(rows)
            try:
                pictures = self.renderer.render(bucket, whole, self._drawn_over(whole))
            except OutOfMemory as error:
                if not batches.halve():
                    self._give_up(rows[0], str(error))
                    batches.done(1)
                continue
            numerics = {**self.renderer.numerics(), "batch": batches.size}
            id = numerics_id(self.folder.store, numerics)
            seconds, elapsed = self._took(len(rows))
            for line, picture in zip(rows, pictures, strict=False):  # ghosts have no line
                rendered = Rendered(
                    key=line.key,
                    session=self.session,
                    seconds=seconds,
                    elapsed=elapsed,
                    numerics_id=id,
                )
                self.waiting.append(encoders.submit(self._keep, rendered, line, picture))
            batches.done(len(rows))
            self.made += len(rows)
            # Pictures of two batches at most are in memory.
            while len(self.waiting) > batches.size:
                self.waiting.popleft().result()
        return True

    def _took(self, rows: int) -> tuple[float, float]:
        """Seconds since the last batch, for each of the rows; and those since the beginning."""
        mark, self.mark = self.mark, time.monotonic()
        return (self.mark - mark) / rows, self.mark - self.began

    def _drawn_over(self, lines: Sequence[RenderLine]) -> list[Image.Image]:
        return [self._picture(line) for line in lines if line.image]

    def _picture(self, line: RenderLine) -> Image.Image:
        picture = view(self.folder.store.read(line.image))
        return picture.resize((line.width, line.height), Image.Resampling.LANCZOS)

    def _keep(self, rendered: Rendered, line: RenderLine, picture: Image.Image) -> None:
        """Encodes and stores a picture, then says so: whoever reads the record finds it."""
        stored = put_image(self.folder.store, encoded(picture, line.encode))
        reached("render.before_record")
        self.folder.record(replace(rendered, path=stored.path, format=stored.format))

    def _give_up(self, line: RenderLine, message: str) -> None:
        seconds, elapsed = self._took(1)
        failed = Rendered(
            key=line.key,
            session=self.session,
            seconds=seconds,
            elapsed=elapsed,
            reason=OUT_OF_MEMORY,
            message=message,
        )
        self.folder.record(failed)


def encoded(picture: Image.Image, encode: str) -> bytes:
    """The picture as a file; "jpeg" or "png"."""
    out = io.BytesIO()
    if encode == "jpeg":
        picture.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        picture.save(out, "PNG", compress_level=PNG_LEVEL)
    return out.getvalue()
