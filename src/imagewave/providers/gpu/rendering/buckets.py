"""Sorts pictures into buckets that may share a batch, and cuts a bucket into batches of one size.

At one batch size a picture gets the same bits whatever its companions and its place; at another it
does not. So the size belongs to the bucket, and what is left over at its end is filled up with
ghosts, whose pictures nobody keeps.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from imagewave.storage.jobs.renders import RenderLine


class Bucket(NamedTuple):
    """What pictures must have in common to be rendered together.

    `text` is the number of tokens their prompts are padded to, where that differs; `draws_over`
    says that each is made of another picture.
    """

    loras: tuple[str, ...]
    width: int
    height: int
    steps: int
    guidance: float
    strength: float
    draws_over: bool
    text: int


def sorted_into_buckets(
    lines: Iterable[RenderLine], text_length: Callable[[str], int]
) -> dict[Bucket, list[RenderLine]]:
    """The lines by bucket, those of one prompt side by side; buckets with the same adapters too."""
    buckets: dict[Bucket, list[RenderLine]] = defaultdict(list)
    for line in lines:
        bucket = Bucket(
            loras=line.loras,
            width=line.width,
            height=line.height,
            steps=line.steps,
            guidance=line.guidance,
            strength=line.strength,
            draws_over=bool(line.image),
            text=text_length(line.prompt),
        )
        buckets[bucket].append(line)
    for alike in buckets.values():
        alike.sort(key=lambda line: line.prompt)
    return {bucket: buckets[bucket] for bucket in sorted(buckets)}


def batch_size(bucket: Bucket, batch_pixels: int) -> int:
    """How many pictures of this bucket are rendered together."""
    return max(1, round(batch_pixels / (bucket.width * bucket.height)))


class Batches:
    """Cuts a bucket's lines into batches of one size, which may be halved on the way."""

    def __init__(self, lines: Iterable[RenderLine], size: int) -> None:
        self._left = deque(lines)
        self.size = size

    def __bool__(self) -> bool:
        return bool(self._left)

    def next(self) -> list[RenderLine]:
        """The next lines, at most `size`; they stay until they are `done`."""
        return [self._left[n] for n in range(min(self.size, len(self._left)))]

    def with_ghosts(self, lines: list[RenderLine]) -> list[RenderLine]:
        """A whole batch: the lines, and the last of them again and again."""
        return lines + lines[-1:] * (self.size - len(lines))

    def done(self, count: int) -> None:
        """Strikes out the first lines."""
        for _ in range(count):
            self._left.popleft()

    def halve(self) -> bool:
        """Halves the size; False if it is 1."""
        if self.size == 1:
            return False
        self.size //= 2
        return True
