"""A whole wave on this machine's own GPU lane, by the command line: no server, no key, no cloud."""

import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.chaos.bench import wait_until
from tests.providers.gpu.rendering.waves import MODELS, WAVE

from imagewave.storage.facts.analytics import query
from imagewave.storage.jobs.renders import RenderFolder
from imagewave.storage.store import Store

for library in ("torch", "diffusers", "accelerate"):
    pytest.importorskip(library, reason=f"{library} is not installed (extra: gpu)")

from tests.providers.gpu.rendering import tiny  # noqa: E402

# Generous: each run starts Prefect and imports torch, and the machine may be busy.
pytestmark = pytest.mark.timeout(900)


class Home:
    """A user with a GPU's worth of CPU: a folder with a wave, models, a store and a cache."""

    def __init__(self, folder: Path, wave: str = WAVE) -> None:
        self.folder = folder
        weights = tiny.save("flux", folder / "weights")
        (folder / "models.toml").write_text(MODELS.format(weights=weights))
        (folder / "wave.toml").write_text(wave)
        (folder / "output").touch()
        self.store = Store.open(str(folder / "store"))

    def start(self) -> "subprocess.Popen[bytes]":
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "IMAGEWAVE_"))}
        environment = {
            **kept,
            "HOME": str(self.folder),
            "IMAGEWAVE_MODELS": str(self.folder / "models.toml"),
            "IMAGEWAVE_GPU_USD_PER_HOUR": "2.50",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "imagewave", "run", str(self.folder / "wave.toml")]
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                [*command, "--store", self.store.url],
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def run(self) -> None:
        code = self.start().wait(240)
        assert code == 0, self.said()

    def sql(self, text: str) -> list[dict[str, Any]]:
        return query(self.store, text)

    def said(self) -> str:
        return (self.folder / "output").read_text()

    def rendering(self, running: "subprocess.Popen[bytes]", made: int) -> RenderFolder:
        """The first job of a run, once it has so many pictures."""

        def has_begun() -> bool:
            assert running.poll() is None, self.said()
            return any(RenderFolder(self.store, t).done() for t in _tokens(self.store))

        wait_until(has_begun, "the first picture", 240)
        [token] = _tokens(self.store)
        folder = RenderFolder(self.store, token)
        wait_until(lambda: len(folder.done()) >= made, f"{made} pictures", 120)
        return folder


def _tokens(store: Store) -> set[str]:
    found = (path.split("/") for path in store.list("renders"))
    return {parts[1] for parts in found if parts[-1] == "job.json"}


def test_a_wave_is_delivered_and_its_gpu_seconds_are_its_bill(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.run()
    sql = home.sql
    assert sql("SELECT brief, final FROM funnel ORDER BY brief") == [
        {"brief": "ferry", "final": 1},
        {"brief": "tulips", "final": 2},
    ]
    for row in sql("SELECT asset FROM assets"):
        with Image.open(tmp_path / "store" / row["asset"]) as picture:
            assert (picture.size, picture.format) == ((128, 128), "PNG")
    requests = sql(
        "SELECT DISTINCT kind, json_extract_string(request, '$.strength') AS strength"
        " FROM raw_requests WHERE wave = 'own' ORDER BY kind"
    )
    assert requests == [
        {"kind": "draft", "strength": None},
        {"kind": "final", "strength": "0.5"},
    ]
    [bill] = sql("SELECT sum(cost_usd) AS usd FROM costs")
    [spent] = sql("SELECT sum(gpu_seconds) AS seconds, count(*) AS n FROM raw_renders")
    [jobs] = sql("SELECT sum(captured_usd) AS usd, sum(held_usd) AS held FROM jobs")
    assert spent["n"] >= 6
    assert bill["usd"] > 0
    assert float(bill["usd"]) == pytest.approx(spent["seconds"] * 2.50 / 3600, rel=1e-6)
    assert (jobs["usd"], jobs["held"]) == (bill["usd"], Decimal(0))
    assert all(row["numerics_id"] for row in sql("SELECT numerics_id FROM raw_renders"))

    home.run()
    assert sql("SELECT sum(cost_usd) AS usd FROM costs") == [bill], "nothing is rendered twice"


MANY = WAVE.replace("want = 2", "want = 8").replace(
    '"tiny-flux"\nprobe', '"tiny-flux"\nsteps = 40\nprobe'
)


def test_a_rendering_that_is_killed_keeps_what_it_made(tmp_path: Path) -> None:
    home = Home(tmp_path, MANY)
    running = home.start()
    folder = home.rendering(running, made=4)
    renderer = folder.renderer()
    assert renderer is not None
    os.kill(renderer.pid, signal.SIGKILL)
    made = folder.done()
    assert len(made) < folder.job.count, "it was killed before its end"
    assert running.wait(240) == 0, home.said()
    [again] = home.sql("SELECT count(*) AS n FROM attempts WHERE reason = 'JOB_FAILED'")
    assert 0 < again["n"] <= folder.job.count - len(made)
    [spent] = home.sql(
        "SELECT count(*) AS rendered, count(DISTINCT request_id) AS asked FROM raw_renders"
    )
    assert spent["rendered"] == spent["asked"]
    assert home.sql("SELECT sum(final) AS n FROM funnel") == [{"n": 9}]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_rendering_outlives_the_run_that_asked_for_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    home = Home(tmp_path, MANY)
    running = home.start()
    folder = home.rendering(running, made=1)
    if how == signal.SIGKILL:
        os.killpg(running.pid, how)  # with the Prefect server that it has started
    else:
        running.send_signal(how)
    running.wait(60)
    before = len(folder.done())
    assert before < folder.job.count
    wait_until(lambda: len(folder.done()) == folder.job.count, "the rest of the pictures", 120)
    home.run()
    assert home.sql("SELECT count(*) AS n FROM attempts WHERE status <> 'image'") == [{"n": 0}]
    assert home.sql("SELECT sum(final) AS n FROM funnel") == [{"n": 9}]
