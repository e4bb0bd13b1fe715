"""The peers that screening is compared with, in a virtual environment of their own.

cleanvision and imagededup are installed by pip when a benchmark first needs them. imagededup asks
for torch and torchvision, gigabytes that only its neural method uses; it is installed without its
dependencies, those of its hashes beside it, and hollow modules stand in for torch. They take no
part in hashing, so the peer is no slower for it, only quicker to start, which is not counted.
"""

import json
import os
import resource
import subprocess
import sys
import threading
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WANTED = ("cleanvision", "scikit-learn", "PyWavelets", "tqdm", "matplotlib", "pillow", "numpy")
_BARE = ("imagededup",)

_TORCHLESS = """
import importlib.machinery, sys, types

class Endless(type):
    def __getattr__(self, name): return Anything

class Anything(metaclass=Endless):
    def __init__(self, *arguments, **options): pass
    def __call__(self, function=None): return function

class Hollow(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything

class Torchless:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec): return Hollow(spec.name)
    def exec_module(self, module): pass

sys.meta_path.insert(0, Torchless())
"""

CLOCK = """
import os, time

def cpu():
    # Of this process, what it started and has ended, and what it started and still runs.
    own = os.times()
    seconds, waiting = sum(own[:4]), [os.getpid()]
    while waiting:
        above = waiting.pop()
        for task in os.listdir(f"/proc/{above}/task"):
            for child in open(f"/proc/{above}/task/{task}/children").read().split():
                fields = open(f"/proc/{child}/stat").read().rpartition(")")[2].split()
                seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
                waiting.append(int(child))
    return seconds

class Clock:
    def __init__(self): self.wall, self.cpu = time.perf_counter(), cpu()
    def read(self): return {"seconds": time.perf_counter() - self.wall, "cpu": cpu() - self.cpu}
"""
"""Seconds since it was made, by the wall and of CPU time on all cores."""

CLEANVISION = (
    CLOCK
    + """
import json, sys
from cleanvision import Imagelab

if __name__ == "__main__":
    clock = Clock()
    lab = Imagelab(data_path=sys.argv[1])
    lab.find_issues(verbose=False)
    times = clock.read()
    found = {
        column[3:-6]: sorted(lab.issues.index[lab.issues[column]])
        for column in lab.issues.columns if column.startswith("is_")
    }
    sets = lab.info.get("near_duplicates", {}).get("sets", [])
    sets += lab.info.get("exact_duplicates", {}).get("sets", [])
    print(json.dumps({**times, "found": found, "sets": sets}))
"""
)

IMAGEDEDUP = (
    CLOCK
    + _TORCHLESS
    + """
import json
from imagededup.methods import PHash

if __name__ == "__main__":
    clock = Clock()
    found = PHash(verbose=False).find_duplicates(
        image_dir=sys.argv[1], max_distance_threshold=int(sys.argv[2])
    )
    print(json.dumps({**clock.read(), "found": found}))
"""
)

IMAGEDEDUP_HASHES = (
    _TORCHLESS
    + """
import json, time
import numpy as np
from imagededup.methods import PHash

if __name__ == "__main__":
    hashes = {str(number): f"{value:016x}" for number, value in enumerate(np.load(sys.argv[1]))}
    start = time.perf_counter()
    found = PHash(verbose=False).find_duplicates(
        encoding_map=hashes, max_distance_threshold=int(sys.argv[3])
    )
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "pairs": sum(map(len, found.values())) // 2}))
"""
)


def installed(folder: Path) -> Path:
    """The Python of an environment with both peers, made in `folder` unless it is there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *_WANTED], check=True)
        subprocess.run([*pip, "--no-deps", *_BARE], check=True)
    return python


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a script printed as its last line, as JSON, and what it took.

    cpu: seconds on all cores, start-up included. memory: MB, the peak of the resident size of the
    process and all below it, looked at every 50 ms; what they share counts for each.
    """

    answer: dict[str, Any]
    cpu: float
    memory: int


def run(python: Path | str, script: str, *arguments: str) -> Run:
    """Run a script in a process of its own, to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [str(python), "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, errors = process.communicate()
    watcher.join()
    if process.returncode != 0:
        raise RuntimeError(f"{script.strip().splitlines()[0]} …: {errors[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(
        answer=json.loads(output.strip().splitlines()[-1]),
        cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        memory=peak,
    )


def _resident(process: int) -> int:
    """MB in memory of a process and its descendants."""
    total = 0
    waiting = [process]
    while waiting:
        current = Path(f"/proc/{waiting.pop()}")
        try:
            total += int((current / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in (current / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total // 2**20


def progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
