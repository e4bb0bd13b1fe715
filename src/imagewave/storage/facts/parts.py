"""Which parts make up a fact table now, and where the rows of those are that were merged.

    facts/<table>/<part>.parquet            written by `facts.append`
    facts/<table>/merged-<id>.parquet       written by `compaction.compact`
    facts/<table>/manifests/<number>.json   the merged parts that count, and what they replace
    moved/<table>/<xx>/<part>.json          where a part's rows are since its file was deleted

Only the manifest with the highest number counts, and a merged part counts only if that one names
it. Manifests are put-if-absent, so of two compactions at once only one counts.

A part that was deleted leaves a note in `moved`, so that looking one up takes as long at a million
merged parts as at none. The notes stand outside of `facts`, whose files each query lists.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import accumulate

from imagewave.storage.files.protocol import damaged
from imagewave.storage.store import Store

MERGED = "merged-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a part's rows are: in the merged part `merged`, `rows` of them from `start` on."""

    merged: str
    start: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the table's merged parts are.

    `merged` maps the name of each that counts to its number of rows. `replaced` are the names of
    the parts that count no more, because a merged one holds their rows, and whose files may still
    be there. `places` is empty but for manifests of earlier versions, which kept there what is in
    `moved` now.
    """

    number: int
    written_at: datetime
    merged: Mapping[str, int] = field(default_factory=dict)
    replaced: Collection[str] = ()
    places: Mapping[str, Place] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The manifest as its file holds it."""
        content = {
            "number": self.number,
            "written_at": self.written_at.isoformat(),
            "merged": self.merged,
            "replaced": sorted(self.replaced),
        }
        return json.dumps(content).encode()


def path(table: str, part: str) -> str:
    """Where a part is in a store."""
    return f"facts/{table}/{part}.parquet"


def manifest_path(table: str, number: int) -> str:
    """Where a manifest is in a store."""
    return f"facts/{table}/manifests/{number:010d}.json"


def moved_path(table: str, part: str) -> str:
    """Where the note about a part is in a store."""
    # Folders of some thousands of files are quicker than one of a million.
    shelf = hashlib.sha256(part.encode()).hexdigest()[:2]
    return f"moved/{table}/{shelf}/{part}.json"


def read_manifest(store: Store, file: str) -> Manifest:
    """One manifest, by its path."""
    data = store.read(file)
    try:
        content = json.loads(data)
        merged = content["merged"]
        places: dict[str, Place] = {}
        if "replaced" not in content:  # of an earlier version: each merged part with what it holds
            places = {
                part: place
                for name, held in merged.items()
                for part, place in places_in(name, held).items()
            }
            merged = {name: sum(held.values()) for name, held in merged.items()}
        return Manifest(
            number=content["number"],
            written_at=datetime.fromisoformat(content["written_at"]),
            merged=merged,
            replaced=frozenset(content.get("replaced", places)),
            places=places,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(file, repr(error)) from error


def manifest_among(store: Store, files: list[str]) -> Manifest | None:
    """The manifest that counts, given the files below the table's folder."""
    manifests = [file for file in files if file.endswith(".json")]
    return read_manifest(store, max(manifests)) if manifests else None


def plain(table: str, files: list[str], manifest: Manifest | None) -> list[str]:
    """The names of the parts that are not merged into others, given the files of the table."""
    start, end = f"facts/{table}/", ".parquet"
    names = (file.removeprefix(start).removesuffix(end) for file in files if file.endswith(end))
    gone = manifest.replaced if manifest else ()
    return [name for name in names if not name.startswith(MERGED) and name not in gone]


def live(store: Store, table: str, files: list[str]) -> list[str]:
    """The paths of the parts that make up the table, given the files below its folder."""
    manifest = manifest_among(store, files)
    merged = list(manifest.merged) if manifest else []
    return [path(table, part) for part in plain(table, files, manifest) + merged]


def is_moved(store: Store, table: str, part: str) -> bool:
    """Whether the part was merged and its file deleted since."""
    return store.exists(moved_path(table, part))


def move(store: Store, table: str, part: str, place: Place) -> None:
    """Notes where the part's rows are, before its file is deleted."""
    store.put_if_absent(moved_path(table, part), json.dumps(asdict(place)).encode())


def moved(store: Store, table: str, part: str) -> Place | None:
    """Where the rows of a part are whose file was deleted; None if no such part ever was.

    Merged parts are merged again: the place is in the one whose file is there now.
    """
    place = _noted(store, table, part)
    if place is None:
        newest = manifest_among(store, store.list(f"facts/{table}/manifests"))
        place = newest.places.get(part) if newest else None
    while place and (further := _noted(store, table, place.merged)):
        place = Place(merged=further.merged, start=further.start + place.start, rows=place.rows)
    return place


def places_in(merged: str, held: Mapping[str, int]) -> dict[str, Place]:
    """Where the parts are that a merged part holds, given the rows of each, in order."""
    starts = accumulate(held.values(), initial=0)
    return {
        part: Place(merged=merged, start=start, rows=rows)
        for (part, rows), start in zip(held.items(), starts, strict=False)
    }


def _noted(store: Store, table: str, part: str) -> Place | None:
    file = moved_path(table, part)
    try:
        return Place(**json.loads(store.read(file)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise damaged(file, repr(error)) from error
