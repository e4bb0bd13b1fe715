"""What screening catches and what it wrongly catches: ours beside cleanvision and imagededup.

    python benchmarks/screening_quality.py                # 12 drawn pictures beside the photographs
    python benchmarks/screening_quality.py --n 2          # a quick look
    python benchmarks/screening_quality.py --peers DIR    # keep the peers' environment there

The labelled set is the tests' own (`tests/tasks/screening/labelled.py`): photographs that ship in
packages, product shots and drawn pictures, each harmed by known amounts. All read the same files
with their own defaults. Prints tables in Markdown, as they stand in `docs/screening.md`.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import screening_peers as peers  # noqa: E402
from tests.tasks.screening import labelled  # noqa: E402

from imagewave.storage.images import sniff  # noqa: E402
from imagewave.storage.waves.wave import Screen  # noqa: E402
from imagewave.tasks.screening.checks import check  # noqa: E402
from imagewave.tasks.screening.metrics import Metrics  # noqa: E402
from imagewave.tasks.screening.pool import Pool  # noqa: E402

THEIR_NAMES = {"dark": "dark", "bright": "light", "contrast": "low_information", "blur": "blurry"}
"""cleanvision's issue for each of our checks; it has none for borders and casts."""

DISTANCES = (6, 10)

DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "JPEG cut at 60 %": ("jpg", lambda data: data[: len(data) * 6 // 10]),
    "JPEG without its middle": ("jpg", lambda data: data[: len(data) // 2] + data[-2:]),
    "JPEG with 2 kB of zeros": ("jpg", lambda data: overwritten(data, bytes(2048))),
    "PNG cut at 60 %": ("png", lambda data: data[: len(data) * 6 // 10]),
    "PNG without its last 16 bytes": ("png", lambda data: data[:-16]),
    "PNG with one flipped bit": ("png", lambda data: overwritten(data, flipped(data))),
    "text called .png": ("png", lambda data: b"<html>503 Service Unavailable</html>"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=12, help="drawn pictures (default 12)")
    parser.add_argument("--peers", type=Path, help="where the peers are, or will be, installed")
    options = parser.parse_args()

    sources = {
        **labelled.photographs(),
        **labelled.product_shots(),
        **labelled.drawn(options.n),
    }
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch:
        theirs = peers.installed(options.peers or Path(scratch, "peers"))
        compare_checks(sources, theirs, Path(scratch, "faults"))
        compare_copies(sources, theirs, Path(scratch, "copies"))
        compare_damage(sources, theirs, Path(scratch, "damage"))


def compare_checks(sources: dict[str, labelled.Picture], theirs: Path, folder: Path) -> None:
    folder.mkdir()
    labels: dict[str, labelled.Labelled] = {}
    for number, item in enumerate(labelled.labelled(sources)):
        name = f"{number:05}.{sniff(item.data)}"
        (folder / name).write_bytes(item.data)
        labels[name] = item
    ours = {name: failures(metrics) for name, metrics in measured(folder)}
    peers.progress("cleanvision checks the labelled set …")
    answer = peers.run(theirs, peers.CLEANVISION, str(folder)).answer["found"]
    flagged = {
        fault: {Path(file).name for file in answer[theirs]} for fault, theirs in THEIR_NAMES.items()
    }

    clean = [name for name, item in labels.items() if not item.fault]
    print(f"{len(labels)} files from {len(sources)} pictures; {len(clean)} of them unharmed.\n")
    print("| Harm | Check | Recall, ours | Recall, cleanvision |\n|---|---|---|---|")
    for fault, harms in labelled.HARMS.items():
        for harm in harms:
            harmed = [name for name, item in labels.items() if item.harm == harm and item.fault]
            caught = share(fault in ours[name] for name in harmed)
            peer = flagged.get(fault)
            beside = share(name in peer for name in harmed) if peer is not None else "–"
            print(f"| {harm} | {fault} | {caught} | {beside} |")

    print("\n| Check | Unharmed files failed, ours | of the pictures | cleanvision | of |")
    print("|---|---|---|---|---|")
    for fault in (*labelled.HARMS, "entropy"):
        wrong = [name for name in clean if fault in ours[name]]
        cells = [f"{len(wrong) / len(clean):.1%}", named(wrong, labels), "–", "–"]
        if fault in flagged:
            wrong = [name for name in clean if name in flagged[fault]]
            cells[2:] = [f"{len(wrong) / len(clean):.1%}", named(wrong, labels)]
        print(f"| {fault} | {' | '.join(cells)} |")


def compare_copies(sources: dict[str, labelled.Picture], theirs: Path, folder: Path) -> None:
    folder.mkdir()
    for name, picture in sources.items():
        (folder / f"{name}~original.jpg").write_bytes(labelled.jpeg(picture))
        for copy, change in labelled.COPIES.items():
            path = folder / f"{name}~{slug(copy)}.jpg"
            path.write_bytes(labelled.jpeg(change(picture)))
    hashes = {name: metrics.phash for name, metrics in measured(folder)}

    columns: dict[str, set[frozenset[str]]] = {}
    for radius in DISTANCES:
        columns[f"ours, {radius}"] = {
            frozenset((a, b))
            for (a, x), (b, y) in combinations(hashes.items(), 2)
            if x is not None and y is not None and (x ^ y).bit_count() <= radius
        }
        peers.progress(f"imagededup looks for duplicates within {radius} …")
        found = peers.run(theirs, peers.IMAGEDEDUP, str(folder), str(radius)).answer["found"]
        columns[f"imagededup, {radius}"] = {
            frozenset((a, b)) for a, near in found.items() for b in near
        }
    peers.progress("cleanvision looks for duplicates …")
    sets = peers.run(theirs, peers.CLEANVISION, str(folder)).answer["sets"]
    columns["cleanvision"] = {
        frozenset((Path(a).name, Path(b).name)) for group in sets for a, b in combinations(group, 2)
    }

    print(f"\n| Copy | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for copy in labelled.COPIES:
        pairs = [
            frozenset((f"{name}~original.jpg", f"{name}~{slug(copy)}.jpg")) for name in sources
        ]
        cells = (share(pair in found for pair in pairs) for found in columns.values())
        print(f"| {copy} | {' | '.join(cells)} |")
    strangers = (
        str(len({pair for pair in found if len({source(name) for name in pair}) == 2}))
        for found in columns.values()
    )
    print(f"| pairs of different pictures | {' | '.join(strangers)} |")


def compare_damage(sources: dict[str, labelled.Picture], theirs: Path, folder: Path) -> None:
    print("\n| Damage | ours | imagededup |\n|---|---|---|")
    for damage, (kind, break_) in DAMAGE.items():
        place = folder / slug(damage)
        place.mkdir(parents=True)
        encode = labelled.png if kind == "png" else labelled.jpeg
        for name, picture in sources.items():
            (place / f"{name}.{kind}").write_bytes(break_(encode(picture)))
        caught = share(bool(metrics.error) for _, metrics in measured(place))
        hashed = peers.run(theirs, peers.IMAGEDEDUP, str(place), "6").answer["found"]
        beside = share(f"{name}.{kind}" not in hashed for name in sources)
        print(f"| {damage} | {caught} | {beside} |")


def measured(folder: Path) -> Iterator[tuple[str, Metrics]]:
    with Pool(max_pixels=Screen().max_pixels) as pool:
        yield from pool.measure((file.name, file) for file in sorted(folder.iterdir()))


def failures(metrics: Metrics) -> set[str]:
    return {verdict.check for verdict in check(metrics, Screen()) if not verdict.passed}


def share(hits: Iterable[bool]) -> str:
    every = list(hits)
    return f"{sum(every) / len(every):.0%}"


def named(files: list[str], labels: dict[str, labelled.Labelled]) -> str:
    """The pictures that the files were made from, with how many files each."""
    counts = Counter(labels[file].source for file in files)
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common(6)) or "none"


def source(file: str) -> str:
    """The picture behind a copy; the two eyes of the stereo pair are one."""
    return file.partition("~")[0].replace("motorcycle_right", "motorcycle_left")


def slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text)


def overwritten(data: bytes, patch: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + patch + data[middle + len(patch) :]


def flipped(data: bytes) -> bytes:
    return bytes([data[len(data) // 2] ^ 0x10])


if __name__ == "__main__":
    main()
