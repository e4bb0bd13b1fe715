"""Many images over many processes: in order, no further ahead than needed, whatever dies."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tasks.screening import labelled

from imagewave.tasks.screening.metrics import Metrics, measure
from imagewave.tasks.screening.pool import Pool, Source, measure_many

LIMIT = 10_000_000


class Poisoned(type(Path())):  # type: ignore[misc]
    """A file whose decoder takes its process down, as a fault in a C library would."""

    def read_bytes(self) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")


class Endless(type(Path())):  # type: ignore[misc]
    """A file whose decoder never comes back."""

    def read_bytes(self) -> bytes:
        time.sleep(3600)
        raise AssertionError("not reached")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for name, picture in labelled.photographs().items():
        small = labelled.resized(picture, 0.25)
        paths.append(folder / f"{name}.jpg")
        paths[-1].write_bytes(labelled.jpeg(small))
    return paths


def measured(paths: list[Path]) -> list[tuple[str, Metrics]]:
    return [(path.name, measure(path.read_bytes(), max_pixels=LIMIT)) for path in paths]


def test_files_and_functions_come_back_measured_in_order(pictures: list[Path]) -> None:
    items: list[tuple[str, Source]] = [
        (path.name, path if number % 3 else path.read_bytes) for number, path in enumerate(pictures)
    ]

    assert list(measure_many(items, max_pixels=LIMIT, workers=2)) == measured(pictures)


def test_a_crash_costs_the_image_at_fault_and_no_other(pictures: list[Path]) -> None:
    files: list[Path] = [*pictures[:3], Poisoned("bad.png"), *pictures[3:9], Poisoned("worse.png")]

    with Pool(max_pixels=LIMIT, workers=2) as pool:
        found = list(pool.measure((path.name, path) for path in files))
        again = list(pool.measure((path.name, path) for path in pictures))

    assert [name for name, _ in found] == [path.name for path in files]
    assert [name for name, metrics in found if metrics.error] == ["bad.png", "worse.png"]
    assert dict(found)["bad.png"].error == "the decoder crashed (exit code -9)"
    good = [pair for pair in found if not pair[1].error]
    assert good == measured(pictures[:9])
    assert again == measured(pictures)


def test_an_image_that_takes_for_ever_is_given_up(pictures: list[Path]) -> None:
    with Pool(max_pixels=LIMIT, workers=1, seconds=0.5) as pool:
        found = dict(
            pool.measure([("stuck", Endless("stuck.png")), ("good", pictures[0])]),
        )

    assert found["stuck"].error == "decoding took more than 0.5 seconds"
    assert found["good"].error == ""


def test_a_damaged_image_is_a_result(pictures: list[Path]) -> None:
    cut = pictures[0].read_bytes()[:500]

    found = list(measure_many([("cut", lambda: cut)], max_pixels=LIMIT, workers=1))

    assert found == [("cut", measure(cut, max_pixels=LIMIT))]
    assert found[0][1].error.startswith("damaged jpeg")


def test_a_file_that_cannot_be_read_is_an_error_not_a_bad_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        list(measure_many([("absent", tmp_path / "absent.png")], max_pixels=LIMIT, workers=1))


def test_a_function_that_fails_fails_the_measuring(pictures: list[Path]) -> None:
    def gone() -> bytes:
        raise ConnectionResetError("the store hung up")

    items: list[tuple[str, Source]] = [("good", pictures[0]), ("gone", gone)]
    with pytest.raises(ConnectionResetError, match="hung up"):
        list(measure_many(items, max_pixels=LIMIT, workers=1))


def test_items_are_drawn_only_as_results_are_taken(pictures: list[Path]) -> None:
    drawn = 0

    def endless() -> Iterator[tuple[str, Source]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield str(drawn), pictures[0]

    with Pool(max_pixels=LIMIT, workers=1) as pool:
        results = pool.measure(endless())
        for _ in range(40):
            next(results)
        time.sleep(0.2)
        # 40 results are five batches of 8; (1 worker + 6 readers) batches are in flight.
        assert drawn <= 40 + 8 * (1 + 6 + 1)


def test_nothing_is_left_running(pictures: list[Path]) -> None:
    before = set(multiprocessing.active_children())  # other tests' pools, in this process
    results = measure_many(((path.name, path) for path in pictures), max_pixels=LIMIT, workers=2)
    next(results)
    assert len(set(multiprocessing.active_children()) - before) == 2

    results.close()  # type: ignore[attr-defined]

    assert set(multiprocessing.active_children()) <= before


def test_workers_do_not_outlive_a_killed_parent() -> None:
    script = """
import multiprocessing, time
from imagewave.tasks.screening.pool import Pool
if __name__ == "__main__":
    with Pool(max_pixels=1000, workers=2):
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(3600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2

    parent.kill()
    parent.wait()

    deadline = time.monotonic() + 30
    while any(running(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # an orphan stays a zombie where nobody reaps it; it runs nothing
