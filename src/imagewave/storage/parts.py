"""Which parts make up a fact table now.

    facts/<table>/<part>.parquet            written by `facts.append`
    facts/<table>/merged-<id>.parquet       written by `compaction.compact`
    facts/<table>/manifests/<number>.json   the merged parts that count, and what each holds

Only the manifest with the highest number counts, and a merged part counts only if that one names
it. Manifests are put-if-absent, so of two compactions at once only one counts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from imagewave.storage.files import damaged
from imagewave.storage.store import Store

MERGED = "merged-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the table's merged parts hold.

    `merged` maps each one's name to the parts whose rows it holds, in order, with the number of
    rows of each.
    """

    number: int
    written_at: datetime
    merged: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def replaced(self) -> frozenset[str]:
        """The names of the parts that count no more, because a merged one holds their rows."""
        return frozenset(part for held in self.merged.values() for part in held)

    def to_json(self) -> bytes:
        """The manifest as its file holds it."""
        content = {
            "number": self.number,
            "written_at": self.written_at.isoformat(),
            "merged": self.merged,
        }
        return json.dumps(content).encode()


def path(table: str, part: str) -> str:
    """Where a part is in a store."""
    return f"facts/{table}/{part}.parquet"


def manifest_path(table: str, number: int) -> str:
    """Where a manifest is in a store."""
    return f"facts/{table}/manifests/{number:010d}.json"


def read_manifest(store: Store, file: str) -> Manifest:
    """One manifest, by its path."""
    data = store.read(file)
    try:
        content = json.loads(data)
        return Manifest(
            number=content["number"],
            written_at=datetime.fromisoformat(content["written_at"]),
            merged=content["merged"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(file, repr(error)) from error


def manifest(store: Store, table: str) -> Manifest | None:
    """The manifest that counts now; None if the table was never compacted."""
    return manifest_among(store, store.list(f"facts/{table}/manifests"))


def manifest_among(store: Store, files: list[str]) -> Manifest | None:
    """The manifest that counts, given the files below the table's folder."""
    manifests = [file for file in files if file.endswith(".json")]
    return read_manifest(store, max(manifests)) if manifests else None


def plain(table: str, files: list[str], manifest: Manifest | None) -> list[str]:
    """The names of the parts that are not merged into others, given the files of the table."""
    start, end = f"facts/{table}/", ".parquet"
    names = (file.removeprefix(start).removesuffix(end) for file in files if file.endswith(end))
    gone = manifest.replaced if manifest else frozenset()
    return [name for name in names if not name.startswith(MERGED) and name not in gone]


def live(store: Store, table: str, files: list[str]) -> list[str]:
    """The paths of the parts that make up the table, given the files below its folder."""
    manifest = manifest_among(store, files)
    merged = list(manifest.merged) if manifest else []
    return [path(table, part) for part in plain(table, files, manifest) + merged]
