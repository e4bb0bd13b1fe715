"""One sandbox and one Prefect server for all tests here: starting them costs seconds."""

from collections.abc import Iterator

import pytest
from tests.chaos.bench import SETTINGS, Bench, prefect_server

from imagewave.sandbox.embedded import EmbeddedSandbox


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("chaos")
    home = root / "prefect"
    home.mkdir()
    with (
        EmbeddedSandbox(root / "sandbox", settings=SETTINGS) as sandbox,
        prefect_server(home) as prefect,
    ):
        yield Bench(root, sandbox, prefect)


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    """The bench, with every fault switched off afterwards."""
    yield shared_bench
    shared_bench.disarm()
