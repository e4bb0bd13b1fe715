"""What large lists cost: to check and plan N briefs beside ten times as many, and columns alike.

Each is measured in a process of its own, so that its peak of memory is its own. Linear is a ratio
of ten or less, for what every process begins with is in both. Run:

    python benchmarks/lists.py [--n 10000]
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

TIMES = 10
PLAN_S, CHECK_S, PEAK_MB = 20, 5, 500
"""Limits for 100,000 briefs on a machine with nothing else to do."""

_WAVE = """
[wave]
name = "large"
use_case = "product_shot"
[briefs]
source = "{source}"
[expand]
mode = "template"
templates = ["{{text}} in {{c0}}, {{light}}"]
alternatives = {{ light = ["soft", "even"] }}
"""

_MEASURED = """
import resource, sys, time
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks.planning.plan import plan_wave
started = time.perf_counter()
wave = load_wave(sys.argv[1])
checked = time.perf_counter()
plan_wave(None, wave)
planned = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(checked - started, planned - started, peak)
"""


def main() -> int:
    """Prints seconds, megabytes and ratios; 1 where the larger list passes a limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=10_000, help="briefs of the smaller list")
    smaller = parser.parse_args().n
    with tempfile.TemporaryDirectory() as folder:
        check, plan, peak = _side_by_side(Path(folder), "briefs", (smaller, 5), rows=True)
        _side_by_side(Path(folder), "columns", (10, 2000), rows=False)
    limited = smaller * TIMES >= 100_000
    print(f"limits of 100,000 briefs: check {CHECK_S} s, plan {PLAN_S} s, {PEAK_MB} MB")
    return limited and (check > CHECK_S or plan > PLAN_S or peak > PEAK_MB)


def _side_by_side(
    folder: Path, what: str, size: tuple[int, int], *, rows: bool
) -> tuple[float, float, float]:
    """Prints a list of (rows, columns) beside one with ten times the rows, or the columns."""
    larger = (size[0] * TIMES, size[1]) if rows else (size[0], size[1] * TIMES)
    small, large = (_measured(_list(folder, *each)) for each in (size, larger))
    print(f"{size[not rows]:,} {what} beside {larger[not rows]:,}")
    units = ("check", "s"), ("check and plan", "s"), ("peak", "MB")
    for (name, unit), less, more in zip(units, small, large, strict=True):
        print(f"  {name:15}{less:8.2f} {unit:2}{more:10.2f} {unit:2}{more / less:8.1f} x")
    return large


def _list(folder: Path, rows: int, columns: int) -> Path:
    """A wave file with a list of so many rows and variables."""
    name = f"{rows}-{columns}"
    with (folder / f"{name}.csv").open("w") as file:
        file.write(",".join(["id", "text", "want", *(f"c{n}" for n in range(columns))]) + "\n")
        for row in range(rows):
            lid = " and a lid" * (row % 7)
            values = (f"{row % 50} of {n}" for n in range(columns))
            file.write(f"SKU-{row:06},A mug number {row}{lid},{1 + row % 2},{','.join(values)}\n")
    wave = folder / f"{name}.toml"
    wave.write_text(_WAVE.format(source=f"{name}.csv"))
    return wave


def _measured(wave: Path) -> tuple[float, float, float]:
    """Seconds until the wave is checked, until it is planned, and the peak in MB."""
    command = [sys.executable, "-c", _MEASURED, str(wave)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    check, plan, peak = map(float, done.stdout.split())
    return check, plan, peak


if __name__ == "__main__":
    sys.exit(main())
