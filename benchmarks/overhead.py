"""What imagewave itself costs per image: everything that is not drawing, decoding or the provider.

Runs waves of N and 2N tiny images on the embedded sandbox, as `imagewave run` does. Counted as
overhead: the wall time of the wave's thread except while it sleeps between polls or waits for an
HTTP answer, plus the CPU time of the threads that collect. Not counted: the sandbox (a process of
its own) and the decoders (processes of their own).

    python benchmarks/overhead.py            5,000 and 10,000 images
    python benchmarks/overhead.py --n 500
"""

import argparse
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Pictures of 64² pixels: drawing and decoding them costs next to nothing.
MODELS = """
[pixels.tiny."1:1"]
1K = [64, 64]
[[model]]
id = "gemini-3.1-flash-lite-image"
pixels = "tiny"
"""
BRIEFS = 100
LIMIT_MS, LIMIT_DOUBLED = 2.0, 2.2

WAVE = """
[wave]
name = "overhead-{n}"
[wait]
poll_seconds = [0.2, 0.5]
list_lag_seconds = 1
[defaults]
want = {want}
[draft]
max_oversample = 1
max_rounds = 1
probe = {want}
[screen]
min_blur = 0
min_entropy = 0
min_brightness = 0
max_brightness = 1
min_contrast = 0
max_border = 1
max_cast = 1
duplicate_distance = 0
[judge]
min_score = 0
min_brief_fit = 0
[final]
carry = "accept"
"""


@dataclass(slots=True)
class Clock:
    """Seconds by what they were spent on."""

    waited: float = 0.0
    collected: float = 0.0

    def waiting(self, function: Callable[P, T]) -> Callable[P, T]:
        """Counts the wave's thread's wall time in a call, less its CPU time, as waiting."""
        own = threading.get_ident()

        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                if threading.get_ident() == own:
                    self.waited += time.perf_counter() - wall - (time.thread_time() - cpu)

        return timed

    def collecting(self, function: Callable[P, T]) -> Callable[P, T]:
        """Counts the CPU time of a call in a thread of its own."""

        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            cpu = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.collected += time.thread_time() - cpu

        return timed


def measure(n: int, folder: Path) -> tuple[float, float]:
    """(overhead, whole wall time) in seconds of a wave of n images."""
    from imagewave.flows.wave import run_wave
    from imagewave.providers.gemini.batch import GeminiBatchLane
    from imagewave.tasks.collecting import collect

    clock = Clock()
    text = WAVE.format(n=n, want=n // BRIEFS)
    for brief in range(BRIEFS):
        text += f'[[brief]]\nid = "b{brief}"\ntext = "subject number {brief} of wave {n}"\n'
    path = folder / f"{n}.toml"
    path.write_text(text)

    kept = {name: getattr(GeminiBatchLane, name) for name in ("prepare", "create", "find", "poll")}
    kept_sleep, kept_collect = time.sleep, collect.collect
    for name, method in kept.items():
        setattr(GeminiBatchLane, name, clock.waiting(method))
    time.sleep = clock.waiting(kept_sleep)
    collect.collect = clock.collecting(kept_collect)
    started = time.perf_counter()
    try:
        run_wave(str(path), str(folder / f"store-{n}"))
    finally:
        wall = time.perf_counter() - started
        for name, method in kept.items():
            setattr(GeminiBatchLane, name, method)
        time.sleep = kept_sleep
        collect.collect = kept_collect
    return wall - clock.waited + clock.collected, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=5_000)
    n = parser.parse_args().n // BRIEFS * BRIEFS
    from imagewave.sandbox.embedded import EmbeddedSandbox

    with tempfile.TemporaryDirectory(prefix="imagewave-overhead-") as name:
        folder = Path(name)
        (folder / "models.toml").write_text(MODELS)
        os.environ["IMAGEWAVE_MODELS"] = str(folder / "models.toml")
        with EmbeddedSandbox(folder / "sandbox", settings={"defects": "none"}) as sandbox:
            os.environ["GEMINI_API_KEY"] = "sandbox"
            os.environ["GOOGLE_GEMINI_BASE_URL"] = sandbox.url
            start, start_wall = measure(BRIEFS, folder)
            once, once_wall = measure(n, folder)
            twice, twice_wall = measure(2 * n, folder)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"a wave of {BRIEFS} (start-up)   {start:8.2f} s overhead of {start_wall:8.2f} s wall")
    for count, own, wall in ((n, once, once_wall), (2 * n, twice, twice_wall)):
        print(
            f"a wave of {count:6}           {own:8.2f} s overhead of {wall:8.2f} s wall"
            f" = {1000 * own / count:.2f} ms per image (limit {LIMIT_MS})"
        )
    print(f"doubled / once: {twice / once:.2f} overhead, {twice_wall / once_wall:.2f} wall", end="")
    print(f" (limit {LIMIT_DOUBLED})")
    print(f"peak RSS of the wave's process: {rss:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
