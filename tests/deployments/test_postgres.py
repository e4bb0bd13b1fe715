"""The same on PostgreSQL, as a team would run the server. `make chaos` runs it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deployments.site import SETTINGS, Site, assert_delivered_once, control, release
from tests.servers import free_port

from imagewave.sandbox.embedded import EmbeddedSandbox


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a database of Debian's PostgreSQL, which does not run as root."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="imagewave-postgres-"))
    if user:
        shutil.chown(folder, user)
    data, port = str(folder / "data"), free_port()

    def run(binary: str, *arguments: str) -> None:
        command = [str(binaries[-1] / binary), "--pgdata", data, *arguments]
        subprocess.run(command, user=user, check=True, stdout=subprocess.DEVNULL, cwd=folder)

    run("initdb", "--auth=trust", "--username=prefect")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    run("pg_ctl", "--wait", "start", "--options", options, "--log", str(folder / "log"))
    try:
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "--wait", "stop", "--mode", "immediate")
        shutil.rmtree(folder)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_wave_waits_and_goes_on(database: str, tmp_path: Path) -> None:
    with EmbeddedSandbox(tmp_path / "sandbox", settings=SETTINGS) as sandbox:
        site = Site(tmp_path, sandbox, database)
        site.start_server()
        try:
            path, store = site.wave("elephant")
            site.imagewave("deploy", "--store", store.url)
            site.pause_schedules()
            control(site, "faults", {"job_stuck": 1}, "PUT")
            with site.worker():
                run = site.run_deployment("wave/wave", wave_file=str(path), store=store.url)
                assert site.wait_for(run["id"], "Waiting", "Failed", "Crashed") == "Waiting"
                release(site, store)
                look = site.run_deployment("watch/watch", store=store.url)
                assert site.wait_for(look["id"], "Completed", "Failed") == "Completed"
                sent_on = site.runs("wave:elephant")[-1]
                assert site.wait_for(sent_on["id"], "Completed", "Failed") == "Completed"
            assert_delivered_once(site, store)
        finally:
            site.kill_server()
    assert not (site.home / "prefect.db").exists(), "it was PostgreSQL that remembered"
