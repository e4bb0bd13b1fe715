"""Near-duplicates among 64-bit hashes: ours against SQL, a blind scan and imagededup, all exact.

    python benchmarks/duplicates.py                 # a million hashes, ten thousand new ones
    python benchmarks/duplicates.py --n 100000      # a quick look
    python benchmarks/duplicates.py --peers DIR     # with imagededup, installed there
    python benchmarks/duplicates.py --disk 100000000  # the index on disk alone, of so many

A twentieth of the hashes lie 1 to 8 bits from another one, and a hundredth in dense clusters of a
hundred. Each contender runs in a fresh process on the same hashes and must find as many pairs:

    all pairs   ours · DuckDB joining on four 16-bit bands, each with one bit flipped
    new         ours · numpy comparing everything with everything
    imagededup  all pairs, as it does them, among a fiftieth of the hashes, and ours among the same
    disk        the index on disk, made in a process of its own and then asked; 40 of the new ones
                are compared with everything as well

Seconds are wall time without start-up; CPU is all cores', start-up and reading included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import screening_peers as peers  # noqa: E402

RADIUS = 6

_START = """
import json, sys, time
import numpy as np
hashes = np.load(sys.argv[1])
radius = int(sys.argv[3])
start = time.perf_counter()
"""
_END = """
print(json.dumps({"seconds": time.perf_counter() - start, "pairs": pairs}))
"""

OURS_ALL = (
    "from imagewave.tasks.screening.duplicates import DuplicateIndex\n"
    + _START
    + "pairs = sum(len(p.left) for p in DuplicateIndex(hashes).pairs_within(radius))"
    + _END
)

OURS_NEW = (
    "from imagewave.tasks.screening.duplicates import DuplicateIndex\nimport numpy as np, sys\n"
    "new = np.load(sys.argv[2])"
    + _START
    + "pairs = len(DuplicateIndex(hashes).query(new, radius).left)"
    + _END
)

_MAKE_ON_DISK = """
import sys
from pathlib import Path
import numpy as np
from imagewave.tasks.screening.hash_index import HashIndex
count, index, sources = int(sys.argv[2]), HashIndex(Path(sys.argv[1])), frozenset()
for start in range(0, count, 4_000_000):
    sources |= {str(start)}
    size = min(4_000_000, count - start)
    index.update(
        sources, lambda _: np.random.default_rng(start).integers(0, 2**64, size, np.uint64)
    )
"""

_ASK_ON_DISK = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from imagewave.tasks.screening.hash_index import HashIndex
count, new = int(sys.argv[2]), int(sys.argv[3])
random = np.random.default_rng(7)
asked = random.integers(0, 2**64, new, np.uint64)
# A quarter lies six bits from a stored one.
known = np.random.default_rng(0).integers(0, 2**64, min(count, 4_000_000), np.uint64)
asked[: new // 4] = known[: new // 4] ^ np.uint64(0x8001_0100_0020_0005)
del known
start, cpu = time.perf_counter(), time.process_time()
pairs = HashIndex(Path(sys.argv[1])).query(asked, 6)
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
# Some are compared with everything, one by one: half of those near a stored one, and half others.
some = np.concatenate([asked[:20], asked[-20:]])
blindly = set()
for start in range(0, count, 4_000_000):
    size = min(4_000_000, count - start)
    stored = np.random.default_rng(start).integers(0, 2**64, size, np.uint64)
    for one in some:
        near = stored[np.bitwise_count(stored ^ one) <= 6]
        blindly |= {(int(one), int(other)) for other in near}
found = set(zip(pairs.left.tolist(), pairs.right.tolist()))
exact = {pair for pair in found if pair[0] in set(some.tolist())} == blindly
answer = {"seconds": seconds, "cpu": cpu, "pairs": len(pairs.left), "peak": peak, "exact": exact}
print(json.dumps(answer))
"""

BLIND_NEW = (
    "import numpy as np, sys\nnew = np.load(sys.argv[2])"
    + _START
    + """
pairs = sum(int(np.count_nonzero(np.bitwise_count(hashes ^ one) <= radius)) for one in new)
"""
    + _END
)

# With at most 6 bits over four bands, one band has at most one: itself, or one of 16 flips.
SQL_ALL = (
    "import duckdb\n"
    + _START
    + """
import pyarrow
stored = pyarrow.table({"hash": hashes})
con = duckdb.connect()
con.execute("set threads = 1; set enable_progress_bar = false")
con.execute("create table h as select hash from stored")
con.execute('''
    create table flips as
    select 0::ubigint as flip union all select (1::ubigint << i) from range(16) r(i)
''')
bands = " union ".join(
    f'''
    select a.hash as x, b.hash as y
    from (select hash, xor((hash >> {16 * band}) & 65535, flip) as key from h, flips) a
    join (select hash, (hash >> {16 * band}) & 65535 as key from h) b using (key)
    where a.hash < b.hash and bit_count(xor(a.hash, b.hash)) <= {radius}
    '''
    for band in range(4)
)
pairs = con.execute(f"select count(*) from ({bands})").fetchone()[0]
"""
    + _END
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--n", type=int, default=1_000_000, help="stored hashes (default a million)"
    )
    parser.add_argument("--new", type=int, default=10_000, help="new hashes (default ten thousand)")
    parser.add_argument("--peers", type=Path, help="compare with imagededup, installed there")
    parser.add_argument("--disk", type=int, default=0, help="only the index on disk, of so many")
    options = parser.parse_args()
    if options.disk:
        ask_on_disk(options.disk, options.new)
        return

    stored = some_hashes(options.n, np.random.default_rng(1))
    new = some_hashes(options.new, np.random.default_rng(2))
    few = some_hashes(options.n // 50, np.random.default_rng(3))
    new[::4] = stored[: len(new[::4])] ^ np.uint64(0b1011)
    with tempfile.TemporaryDirectory(prefix="duplicates-") as scratch:
        files = [str(Path(scratch, f"{name}.npy")) for name in ("stored", "new", "few")]
        for file, hashes in zip(files, (stored, new, few), strict=True):
            np.save(file, np.unique(hashes))
        python = sys.executable
        print(f"{'':<34} {'seconds':>9} {'ours is':>9} {'CPU':>9} {'pairs':>9} {'peak RSS':>9}")
        compare(
            f"all pairs among {options.n:,}",
            ("ours", python, OURS_ALL, files),
            ("DuckDB", python, SQL_ALL, files),
        )
        compare(
            f"{options.new:,} new against {options.n:,}",
            ("ours", python, OURS_NEW, files),
            ("numpy, blind", python, BLIND_NEW, files),
        )
        if options.peers:
            theirs = peers.installed(options.peers)
            compare(
                f"all pairs among {options.n // 50:,}",
                ("ours", python, OURS_ALL, files[2:] * 2),
                ("imagededup", str(theirs), peers.IMAGEDEDUP_HASHES, files[2:] * 2),
            )


def ask_on_disk(count: int, new: int) -> None:
    """Makes an index of so many hashes on disk, then asks it for the neighbours of new ones."""
    with tempfile.TemporaryDirectory(prefix="duplicates-") as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", _MAKE_ON_DISK, folder, str(count)], check=True)
        print(f"made an index of {count:,} hashes in {time.perf_counter() - start:.0f} s")
        command = [sys.executable, "-c", _ASK_ON_DISK, folder, str(count), str(new)]
        for name in ("first", "again"):
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            answer = json.loads(done.stdout)
            if answer["pairs"] < new // 4 or not answer["exact"]:
                raise SystemExit(f"{answer['pairs']} pairs, and not all that there are")
            print(
                f"{new:,} new against {count:,}, {name}: {answer['seconds']:.2f} s,"
                f" {answer['cpu']:.2f} s of CPU, {answer['pairs']:,} pairs,"
                f" peak {answer['peak']} MB"
            )


def compare(title: str, *contenders: tuple[str, str, str, list[str]]) -> None:
    """Run the contenders, ours first; they must agree on how many pairs there are."""
    print(title)
    ours: peers.Run | None = None
    for name, python, script, files in contenders:
        peers.progress(f"{title}: {name} …")
        run = peers.run(python, script, *files[:2], str(RADIUS))
        ours = ours or run
        if run.answer["pairs"] != ours.answer["pairs"]:
            raise SystemExit(f"{name} finds {run.answer['pairs']}, not {ours.answer['pairs']}")
        seconds = run.answer["seconds"]
        print(
            f"    {name:<30} {seconds:>9.2f} {seconds / ours.answer['seconds']:>8.1f}x"
            f" {run.cpu:>7.2f} s {run.answer['pairs']:>9,} {run.memory:>6} MB"
        )


def some_hashes(count: int, generator: np.random.Generator) -> NDArray[np.uint64]:
    """Random hashes; the first 6 % are 1 to 8 bits, or up to 4 bits, away from others."""
    hashes = generator.integers(0, 2**64, count, np.uint64)
    near, dense = count // 20, count // 100
    hashes[:near] = flipped(hashes[near : 2 * near], generator.integers(1, 9, near), generator)
    centres = np.repeat(hashes[-(dense // 100) - 1 :], 100)[:dense]
    clusters = flipped(centres, generator.integers(1, 5, dense), generator)
    hashes[2 * near : 2 * near + dense] = clusters
    return hashes


def flipped(
    hashes: NDArray[np.uint64], bits: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.uint64]:
    """Each hash with up to that many of its bits flipped."""
    changed = hashes.copy()
    for already in range(int(bits.max(initial=0))):
        flips = np.uint64(1) << generator.integers(0, 64, len(hashes), np.uint64)
        changed = np.where(bits > already, changed ^ flips, changed)
    return changed


if __name__ == "__main__":
    main()
