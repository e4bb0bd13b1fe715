"""How long `imagewave sql "select 1"` takes, as a multiple of `python -c "import duckdb"`.

Both are measured in turn, in new processes, as a user's shell would start them. The second table
lists what the command imported of the packages that are too heavy for a question. Run:

    python benchmarks/startup.py
"""

import resource
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

RUNS = 15
LIMIT = 2.5

# Typer reads options through pydantic, which is thereby the lightest of what is left.
TOO_HEAVY = (
    "prefect", "torch", "google", "openai", "anthropic", "pyarrow", "numpy", "pandas",
    "cv2", "PIL", "scipy", "fsspec", "s3fs", "botocore", "rich",
)  # fmt: skip

IMAGEWAVE = str(Path(sysconfig.get_path("scripts")) / "imagewave")
BARE = [sys.executable, "-c", "import duckdb"]
LIMITED = 'imagewave sql "select 1"'
QUESTIONS = {
    LIMITED: [IMAGEWAVE, "sql", "select 1"],
    "imagewave sql": [IMAGEWAVE, "sql"],
}

# What the entry point does, and then a look at what is loaded.
_LOADED = """
import sys
from imagewave.cli import main
try:
    main(["sql", "select 1"])
except SystemExit:
    pass
print(*sorted({name.partition(".")[0] for name in sys.modules}), sep="\\n", file=sys.stderr)
"""


def main() -> None:
    """Prints each command's median time and ratio, and the heavy packages it loads."""
    commands = {'python -c "import duckdb"': BARE} | QUESTIONS
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(RUNS + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            # The first run of each fills the disk's cache.
            if run:
                times[name].append(time.perf_counter() - started)
    bare = statistics.median(times.pop('python -c "import duckdb"'))
    print(f'{bare * 1000:6.0f} ms          python -c "import duckdb"')
    for name, measured in times.items():
        median = statistics.median(measured)
        limit = f"   (limit {LIMIT} x)" if name == LIMITED else ""
        print(f"{median * 1000:6.0f} ms  {median / bare:5.2f} x  {name}{limit}")
    print(f"imported of what is too heavy: {', '.join(heavy_imports()) or 'nothing'}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak RSS: {peak:.0f} MB")


def heavy_imports() -> list[str]:
    """The packages of TOO_HEAVY that `imagewave sql "select 1"` imports."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True
    )
    return sorted(set(done.stderr.split()) & set(TOO_HEAVY))


if __name__ == "__main__":
    main()
