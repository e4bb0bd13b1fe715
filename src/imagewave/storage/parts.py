"""Which parts make up a fact table now.

    facts/<table>/<part>.parquet            written by `facts.append`
    facts/<table>/merged-<id>.parquet       written by `facts.compact`; counts once a manifest names it
    facts/<table>/manifests/<number>.json   says which merged parts count and which parts they hold

Only the manifest with the highest number counts. Manifests are put-if-absent, so that two
compactions at once cannot both count.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from imagewave.storage.store import Store

MERGED = "merged-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The table's merged parts and the names of the parts whose rows they hold."""

    number: int = 0
    merged: tuple[str, ...] = ()
    replaced: frozenset[str] = frozenset()
    written_at: datetime | None = None


def path(table: str, part: str) -> str:
    """Where a part is in a store."""
    return f"facts/{table}/{part}.parquet"


def manifest_path(table: str, number: int) -> str:
    """Where a manifest is in a store."""
    return f"facts/{table}/manifests/{number:010d}.json"


def replaced(store: Store, table: str) -> frozenset[str]:
    """The names of the parts that count no more, because a merged one holds their rows."""
    return newest_manifest(store, table, store.list(f"facts/{table}/manifests")).replaced


def live(store: Store, table: str, files: list[str]) -> list[str]:
    """The paths of the parts that make up the table, given the files below its folder."""
    manifest = newest_manifest(store, table, files)
    merged_start = f"facts/{table}/{MERGED}"
    gone = {path(table, part) for part in manifest.replaced}
    plain = [
        file
        for file in files
        if file.endswith(".parquet") and file not in gone and not file.startswith(merged_start)
    ]
    return plain + [path(table, part) for part in manifest.merged]


def newest_manifest(store: Store, table: str, files: list[str]) -> Manifest:
    """The manifest that counts, among the files below the table's folder."""
    manifests = [file for file in files if file.endswith(".json")]
    return read_manifest(store, max(manifests)) if manifests else Manifest()


def read_manifest(store: Store, file: str) -> Manifest:
    """One manifest, by its path."""
    content = json.loads(store.read(file))
    return Manifest(
        number=content["number"],
        merged=tuple(content["merged"]),
        replaced=frozenset(content["replaced"]),
        written_at=datetime.fromisoformat(content["written_at"]),
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as its file holds it."""
    assert manifest.written_at is not None
    return json.dumps(
        {
            "number": manifest.number,
            "written_at": manifest.written_at.isoformat(),
            "merged": list(manifest.merged),
            "replaced": sorted(manifest.replaced),
        }
    ).encode()
