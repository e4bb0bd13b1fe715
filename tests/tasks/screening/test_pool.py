"""Many images over many processes: in order, no further ahead than needed, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.tasks.screening import labelled

from imagewave.tasks.screening.metrics import Metrics, measure
from imagewave.tasks.screening.pool import Pool, Source

pytestmark = pytest.mark.heavy

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


def test_files_and_bytes_come_back_measured_in_order(pictures: list[Path]) -> None:
    items: list[tuple[str, Source]] = [
        (path.name, path if number % 3 else path.read_bytes())
        for number, path in enumerate(pictures)
    ]

    with Pool(max_pixels=LIMIT, workers=2) as pool:
        assert list(pool.measure(iter(items))) == measured(pictures)


def test_a_crash_costs_the_image_at_fault_and_no_other(pictures: list[Path]) -> None:
    files: list[Path] = [*pictures[:3], Poisoned("bad.png"), *pictures[3:9], Poisoned("worse.png")]

    with Pool(max_pixels=LIMIT, workers=2) as pool:
        found = list(pool.measure((path.name, path) for path in files))
        again = list(pool.measure((path.name, path) for path in pictures))

    assert [name for name, _ in found] == [path.name for path in files]
    assert [name for name, metrics in found if metrics.error] == ["bad.png", "worse.png"]
    assert dict(found)["bad.png"].error == "the decoder crashed (exit code -9)"
    assert not dict(found)["bad.png"].undecodable, "that it is damaged, nobody has seen"
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

    with Pool(max_pixels=LIMIT, workers=1) as pool:
        found = list(pool.measure(iter([("cut", cut)])))

    assert found == [("cut", measure(cut, max_pixels=LIMIT))]
    assert found[0][1].error.startswith("damaged jpeg")


def test_a_file_that_cannot_be_read_is_an_error_not_a_bad_image(tmp_path: Path) -> None:
    absent = iter([("absent", tmp_path / "absent.png")])
    with (
        Pool(max_pixels=LIMIT, workers=1) as pool,
        pytest.raises(FileNotFoundError, match="absent"),
    ):
        list(pool.measure(absent))


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
        # 40 results are five batches of 8; (1 worker + 2) batches are in flight.
        assert drawn <= 40 + 8 * (1 + 2 + 1)


def children() -> set[psutil.Process]:
    """This process's children, those of other tests' pools among them."""
    return set(psutil.Process().children())


def test_nothing_is_left_running(pictures: list[Path]) -> None:
    before = children()
    with Pool(max_pixels=LIMIT, workers=2) as pool:
        next(pool.measure((path.name, path) for path in pictures))
        assert len(children() - before) == 2

    assert children() <= before


def test_a_script_needs_no_guard_around_its_main_part(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
from imagewave.tasks.screening.pool import Pool
print("begun", flush=True)
with Pool(max_pixels=1000, workers=2) as pool:
    pool.await_ready()
print("done")
""")

    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=False
    )

    assert (ran.stdout, ran.stderr, ran.returncode) == ("begun\ndone\n", "", 0)


def test_workers_do_not_outlive_a_killed_parent() -> None:
    script = """
import psutil, time
from imagewave.tasks.screening.pool import Pool
with Pool(max_pixels=1000, workers=2):
    print(*(child.pid for child in psutil.Process().children()), flush=True)
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


def test_a_pool_that_is_not_needed_after_all_ends_without_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for _ in range(3):
        with Pool(max_pixels=LIMIT, workers=2):
            pass  # before its workers have started
    assert capfd.readouterr().err == ""
