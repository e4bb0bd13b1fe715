"""Stores to test on: a folder, and a bucket of a real S3-compatible server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import make_bucket, s3_environment, start_moto

from imagewave.storage.store import Store


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The endpoint of an S3-compatible server that runs as long as the tests do."""
    with start_moto() as endpoint:
        yield endpoint


@pytest.fixture
def s3_url(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix in a new bucket, with the environment set so that S3 clients find it."""
    for name, value in s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IMAGEWAVE_CACHE_DIR", str(tmp_path / "cache"))
    return f"s3://{make_bucket(s3_endpoint)}/my bucket/waves"


@pytest.fixture(params=["local", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a place for a store, on disk and in a bucket: such tests run on both."""
    if request.param == "local":
        return str(tmp_path / "a [store]")
    url: str = request.getfixturevalue("s3_url")
    return url


@pytest.fixture
def store(store_url: str) -> Store:
    """A new store, on disk and in a bucket: such tests run on both."""
    return Store.open(store_url)


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    """A new store on disk."""
    return Store.open(str(tmp_path / "store"))
