"""The copy of a remote store's parts on this machine."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from imagewave.storage.facts import mirror
from imagewave.storage.store import Store, StoreError

pytestmark = pytest.mark.heavy

PARTS = [f"facts/images/part-{number}.parquet" for number in range(5)]


@pytest.fixture
def remote(s3_url: str) -> Store:
    """A store in a bucket, with five parts."""
    store = Store.open(s3_url)
    for path in PARTS:
        store.write(path, path.encode())
    return store


def cached(store: Store) -> list[Path]:
    return sorted(path for path in (mirror.cache_folder() / store.id).rglob("*") if path.is_file())


def test_a_local_stores_files_are_used_where_they_are(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    assert mirror.local_files(store, PARTS) == [tmp_path / "store" / path for path in PARTS]


def test_parts_are_copied_in_the_order_asked_for(remote: Store) -> None:
    asked = [PARTS[3], PARTS[0]]
    files = mirror.local_files(remote, asked)
    assert [file.read_bytes() for file in files] == [path.encode() for path in asked]
    assert cached(remote) == sorted(files)


def test_only_new_parts_are_fetched(remote: Store) -> None:
    mirror.local_files(remote, PARTS[:3])
    for path in PARTS[:3]:
        remote.delete(path)
    assert len(mirror.local_files(remote, PARTS)) == 5


def test_an_empty_copy_is_fetched_again(remote: Store) -> None:
    [file] = mirror.local_files(remote, PARTS[:1])
    file.write_bytes(b"")
    mirror.local_files(remote, PARTS[:1])
    assert file.read_bytes() == PARTS[0].encode()


def test_copies_no_longer_asked_for_go_after_a_day(remote: Store) -> None:
    remote.write("facts/jobs/part.parquet", b"another table")
    old, young, wanted, other = mirror.local_files(remote, [*PARTS[:3], "facts/jobs/part.parquet"])
    yesterday = time.time() - 25 * 3600
    for file in (old, wanted, other):
        os.utime(file, (yesterday, yesterday))
    mirror.local_files(remote, PARTS[2:3])
    assert cached(remote) == sorted([young, wanted, other])


def test_a_store_made_anew_at_the_same_url_shares_no_copies(remote: Store) -> None:
    mirror.local_files(remote, PARTS)
    for path in remote.list(""):
        remote.delete(path)
    again = Store.open(remote.url)
    again.write(PARTS[0], b"another")
    [file] = mirror.local_files(again, PARTS[:1])
    assert file.read_bytes() == b"another"


def test_processes_copy_at_once(remote: Store) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        answers = pool.starmap(mirror.local_files, [(remote, PARTS)] * 6, chunksize=1)
    assert all(answer == answers[0] for answer in answers)
    assert [file.read_bytes() for file in answers[0]] == [path.encode() for path in PARTS]
    assert cached(remote) == sorted(answers[0])


def test_a_cache_that_cannot_be_written_is_named(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IMAGEWAVE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="IMAGEWAVE_CACHE_DIR"):
        mirror.local_files(remote, PARTS)


def test_copies_go_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWAVE_CACHE_DIR", str(tmp_path / "here"))
    assert mirror.cache_folder() == tmp_path / "here"
    monkeypatch.delenv("IMAGEWAVE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert mirror.cache_folder() == tmp_path / "there" / "imagewave"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mirror.cache_folder() == tmp_path / ".cache" / "imagewave"
