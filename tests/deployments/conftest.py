"""One server for all tests here: it takes seconds to start."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deployments.site import SETTINGS, Site

from imagewave.sandbox.embedded import EmbeddedSandbox


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with everything deployed, its schedules paused so that tests say when to look."""
    root = tmp_path_factory.mktemp("site")
    with EmbeddedSandbox(root / "sandbox", settings=SETTINGS) as sandbox:
        site = Site(root, sandbox)
        site.start_server()
        try:
            site.imagewave("deploy", "--store", str(root / "store"))
            site.pause_schedules()
            yield site
        finally:
            site.kill_server()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Servers, workers and schedules take minutes: these tests have a target of their own."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.slow)
