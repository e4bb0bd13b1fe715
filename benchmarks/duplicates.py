"""Near-duplicates among 64-bit hashes: ours against SQL, a blind scan and imagededup, all exact.

    python benchmarks/duplicates.py                 # a million hashes, ten thousand new ones
    python benchmarks/duplicates.py --n 100000      # a quick look
    python benchmarks/duplicates.py --peers DIR     # with imagededup, installed there

A twentieth of the hashes lie 1 to 8 bits from another one, and a hundredth in dense clusters of a
hundred. Each contender runs in a fresh process on the same hashes and must find as many pairs:

    all pairs   ours · DuckDB joining on four 16-bit bands, each with one bit flipped
    new         ours · numpy comparing everything with everything
    imagededup  all pairs, as it does them, among a fiftieth of the hashes, and ours among the same

Seconds are wall time without start-up; CPU is all cores', start-up and reading included.
"""

import argparse
import sys
import tempfile
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
    options = parser.parse_args()

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
