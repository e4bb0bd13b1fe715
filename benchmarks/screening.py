"""Screening: ours against cleanvision and imagededup, and against the decoders' own limit.

    python benchmarks/screening.py                # 2,000 mixed pictures of 1024 x 1024
    python benchmarks/screening.py --n 200        # a quick look
    python benchmarks/screening.py --peers DIR    # keep the peers' environment there

All contenders read the same folder, half PNG and half JPEG, from the first file opened to the last
verdict, each in a fresh process with its own default parallelism:

    ours         measure, check, and group near-duplicates at Hamming 6
    cleanvision  all its image checks and its duplicates, as `find_issues()` runs them
    imagededup   pHash and its duplicates at Hamming 6; it checks nothing else
    limit        every core decodes its share of the files to a preview and does nothing else

They take turns, so that a busy neighbour meets all of them; the fastest turn of each counts, and
the one of least CPU time, on all cores: on a busy machine nothing else can be compared. Neither has
start-up in it: the clock starts when everything is imported and our processes run. Then, on one
core, what all metrics cost on top of the bare decode, file by file in turn.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import screening_peers as peers  # noqa: E402
from tests.tasks.screening import labelled  # noqa: E402

from imagewave.pictures.png import read_png  # noqa: E402
from imagewave.pictures.png_readers import read_rgb8_png  # noqa: E402
from imagewave.tasks.screening.decode import decode  # noqa: E402
from imagewave.tasks.screening.metrics import measure  # noqa: E402
from imagewave.tasks.screening.pool import keep_freed_memory  # noqa: E402

EDGE = 1024
MAX_PIXELS = 64_000_000

OURS = (
    peers.CLOCK
    + """
import json, sys
from pathlib import Path
from imagewave.storage.waves.wave import Screen
from imagewave.tasks.screening.checks import check
from imagewave.tasks.screening.duplicates import group_duplicates
from imagewave.tasks.screening.pool import Pool

if __name__ == "__main__":
    limits = Screen()
    # Started before the clock: a run has one pool, and the peers fork theirs with all loaded.
    with Pool(max_pixels=limits.max_pixels) as pool:
        pool.await_ready()
        clock = Clock()
        files = sorted(Path(sys.argv[1]).iterdir())
        passed = {}
        for name, metrics in pool.measure((file.name, file) for file in files):
            if all(verdict.passed for verdict in check(metrics, limits, expected_ratio="1:1")):
                passed[name] = metrics.phash
        kept = group_duplicates([(name, value, 0.0) for name, value in passed.items()], radius=6)
        times = clock.read()
    print(json.dumps({**times, "passed": len(passed), "kept": len(set(kept.values()))}))
"""
)

LIMIT = (
    peers.CLOCK
    + """
import json, multiprocessing, sys
from pathlib import Path
import cv2
from imagewave.tasks.screening.decode import decode
from imagewave.tasks.screening.pool import keep_freed_memory

def share(files):
    cv2.setNumThreads(1)
    keep_freed_memory()
    for file in files:
        decode(file.read_bytes(), max_pixels=64_000_000)

if __name__ == "__main__":
    clock = Clock()
    files = sorted(Path(sys.argv[1]).iterdir())
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("fork")
    # In runs, not in turn: the two formats take turns, and each core must get of both.
    cuts = [core * len(files) // cores for core in range(cores + 1)]
    shares = [
        context.Process(target=share, args=(files[start:end],))
        for start, end in zip(cuts, cuts[1:], strict=False)
    ]
    for process in shares:
        process.start()
    for process in shares:
        process.join()
    print(json.dumps(clock.read()))
"""
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="pictures (default 2,000)")
    parser.add_argument("--turns", type=int, default=2, help="turns per contender (default 2)")
    parser.add_argument("--peers", type=Path, help="where the peers are, or will be, installed")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="screening-") as scratch:
        folder, few = Path(scratch, "pictures"), Path(scratch, "few")
        peers.progress(f"drawing {options.n} pictures …")
        size = draw_all(folder, options.n)
        few.mkdir()
        for file in sorted(folder.iterdir())[: max(options.n // 5, 1)]:
            os.link(file, few / file.name)
        peers.progress("installing the peers, unless they are there …")
        theirs = peers.installed(options.peers or Path(scratch, "peers"))
        results = contest(folder, theirs, options.turns)
        small = peers.run(sys.executable, OURS, str(few)).memory
        print(f"{options.n} pictures of {EDGE} x {EDGE}, half PNG, half JPEG, {size / 1e9:.2f} GB")
        print(f"{len(os.sched_getaffinity(0))} cores\n")
        show_contest(results, options.n)
        print(f"\npeak RSS of ours on {len(list(few.iterdir()))} of the pictures: {small} MB\n")
        show_costs(sorted(folder.iterdir()))


@dataclass(slots=True)
class Best:
    """A contender's best over its turns: wall seconds, CPU seconds, and its largest memory, MB."""

    wall: float = float("inf")
    cpu: float = float("inf")
    memory: int = 0


def contest(folder: Path, theirs: Path, turns: int) -> dict[str, Best]:
    contenders: dict[str, tuple[Path | str, str, tuple[str, ...]]] = {
        "ours": (sys.executable, OURS, ()),
        "limit": (sys.executable, LIMIT, ()),
        "imagededup": (theirs, peers.IMAGEDEDUP, ("6",)),
        "cleanvision": (theirs, peers.CLEANVISION, ()),
    }
    results = {name: Best() for name in contenders}
    for turn in range(turns):
        for name, (python, script, arguments) in contenders.items():
            peers.progress(f"turn {turn + 1} of {turns}: {name} …")
            run = peers.run(python, script, str(folder), *arguments)
            best = results[name]
            best.wall = min(best.wall, run.answer["seconds"])
            best.cpu = min(best.cpu, run.answer["cpu"])
            best.memory = max(best.memory, run.memory)
    return results


def show_contest(results: dict[str, Best], count: int) -> None:
    ours = results["ours"]
    print(
        f"{'':<12} {'images/s':>9} {'ours is':>9} {'CPU/image':>11} {'ours is':>9} {'peak RSS':>10}"
    )
    for name, best in results.items():
        print(
            f"{name:<12} {count / best.wall:>9.1f} {best.wall / ours.wall:>8.2f}x"
            f" {best.cpu / count * 1e3:>8.2f} ms {best.cpu / ours.cpu:>8.2f}x {best.memory:>7} MB"
        )


def show_costs(files: list[Path]) -> None:
    """Milliseconds of one core per image: a bare decode, and all of `measure`."""
    cv2.setNumThreads(1)
    keep_freed_memory()
    print(f"{'one core':<9} {'bare decode':>12} {'to preview':>11} {'measure':>9} {'on top':>8}")
    totals = np.zeros(3)
    for kind, bare in (("png", bare_png), ("jpg", bare_jpeg)):
        chosen = [file.read_bytes() for file in files if file.suffix == f".{kind}"][:60]
        columns = np.array(
            [[quickest(step, data) for step in (bare, to_preview, to_metrics)] for data in chosen]
        ).mean(axis=0)
        totals += columns / 2
        show_cost(kind, columns)
    show_cost("mixed", totals)


def show_cost(name: str, columns: Any) -> None:
    bare, preview, whole = columns * 1e3
    print(
        f"{name:<9} {bare:>9.2f} ms {preview:>8.2f} ms {whole:>6.2f} ms {whole / bare - 1:>+8.1%}"
    )


def bare_png(data: bytes) -> None:
    read_rgb8_png(read_png(data))


def bare_jpeg(data: bytes) -> None:
    simplejpeg.decode_jpeg(data, "RGB", strict=True)


def to_preview(data: bytes) -> None:
    decode(data, max_pixels=MAX_PIXELS)


def to_metrics(data: bytes) -> None:
    measure(data, max_pixels=MAX_PIXELS)


def quickest(step: Callable[[bytes], None], data: bytes) -> float:
    """Seconds of CPU time, the best of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        step(data)
        times.append(time.process_time() - start)
    return min(times)


def draw_all(folder: Path, count: int) -> int:
    """Draw the pictures, all different, over all cores; the bytes they take."""
    folder.mkdir()
    cores = len(os.sched_getaffinity(0))
    shares = [(folder, range(core, count, cores)) for core in range(cores)]
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        return sum(pool.starmap(draw_share, shares))


def draw_share(folder: Path, numbers: Iterable[int]) -> int:
    """Pieces of photographs and drawn pictures, turned, lit and grained at random."""
    cv2.setNumThreads(1)
    sources = [*labelled.photographs().values(), *labelled.drawn(12).values()]
    tile = np.random.default_rng(0).normal(0, 2.5, (2 * EDGE, 2 * EDGE, 1))
    grain = np.asarray(tile, np.float32)
    written = 0
    for number in numbers:
        generator = np.random.default_rng(number)
        picture = sources[generator.integers(len(sources))]
        side = int(min(picture.shape[:2]) * generator.uniform(0.5, 1))
        top, left = (int(generator.integers(0, edge - side + 1)) for edge in picture.shape[:2])
        piece = np.rot90(picture[top : top + side, left : left + side], int(generator.integers(4)))
        if generator.random() < 0.5:
            piece = piece[:, ::-1]
        whole = cv2.resize(np.ascontiguousarray(piece), (EDGE, EDGE), interpolation=cv2.INTER_CUBIC)
        down, across = generator.integers(0, EDGE, 2)
        light = whole * np.float32(generator.uniform(0.7, 1.2))
        light += grain[down : down + EDGE, across : across + EDGE]
        final = np.clip(light, 0, 255).astype(np.uint8)[:, :, ::-1]
        if number % 2:
            kind, options = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 92]
        else:
            kind, options = ".png", [cv2.IMWRITE_PNG_COMPRESSION, 2]
        data = cv2.imencode(kind, np.ascontiguousarray(final), options)[1].tobytes()
        (folder / f"{number:06}{kind}").write_bytes(data)
        written += len(data)
    return written


if __name__ == "__main__":
    main()
