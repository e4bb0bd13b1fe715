"""The GPU lane's dealings with a real Prefect server: asking once, finding, following, stopping.

Nobody works on the pool here, so that every state can be set by hand.
"""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from tests.deployments.site import Site
from tests.providers.gpu.rendering.stub import Stub, job, line
from tests.servers import free_port

from imagewave.prefect_server import named_server
from imagewave.providers.gpu.lane import GpuLane
from imagewave.providers.gpu.prefect_pool import DEPLOYMENT, PrefectEngine
from imagewave.providers.gpu.rendering.render import render_job
from imagewave.providers.protocol import JobState, Rejected, Unavailable, Unsure
from imagewave.storage.catalog.prices import GPU_HOUR_VARIABLE
from imagewave.storage.jobs.renders import RenderFolder
from imagewave.storage.requests import Kind, Request
from imagewave.storage.store import Store

pytestmark = pytest.mark.timeout(900)


class DroppingAnswers:
    """Passes requests on to the server, and drops the answers to those that ask for a run."""

    def __init__(self, target: str) -> None:
        self.dropped = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._pass_on(None)

            def do_POST(self) -> None:
                self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

            def _pass_on(self, body: bytes | None) -> None:
                url = target + self.path
                headers = {"Content-Type": "application/json"}
                request = urllib.request.Request(url, body, headers, method=self.command)
                try:
                    with urllib.request.urlopen(request) as answer:
                        status, content = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, content = error.code, error.read()
                if self.path.endswith("create_flow_run"):
                    outer.dropped += 1
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api(site: Site) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: site.api}):
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def create(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Creates a job of two pictures with this token, by the lane that the environment gives."""
    monkeypatch.setenv(GPU_HOUR_VARIABLE, "3.60")
    requests = [
        Request(kind=Kind.DRAFT, model="sdxl", prompt="tulips", aspect_ratio="1:1", sample=n)
        for n in range(2)
    ]
    lane = GpuLane.from_environment(store)

    def create(token: str) -> str:
        handle = lane.prepare(requests, lambda sha256: b"", "input")
        return lane.create(handle, "sdxl", token)

    return create


def lane_on(store: Store) -> GpuLane:
    return GpuLane(store, [PrefectEngine()])


def set_state(site: Site, token: str, type: str, name: str, message: str = "") -> None:
    [run] = site.runs(token)
    state = {"type": type, "name": name, "message": message}
    site.call("POST", f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})


def test_asking_twice_makes_one_run(
    site: Site, api: None, store: Store, create: Callable[[str], str]
) -> None:
    lane = lane_on(store)
    assert named_server() == site.api
    lane.check_access()
    assert lane.find("twice-0001") == []
    assert create("twice-0001") == create("twice-0001") == "twice-0001"
    [run] = site.runs("twice-0001")
    assert run["parameters"] == {"store": store.url, "token": "twice-0001"}
    assert lane.find("twice-0001") == ["twice-0001"]
    assert lane.find("twice-00") == []
    assert lane.poll("twice-0001").state is JobState.PENDING


def test_a_lost_answer_is_unsure_and_the_run_is_found(
    site: Site, store: Store, monkeypatch: pytest.MonkeyPatch, create: Callable[[str], str]
) -> None:
    between = DroppingAnswers(site.api.removesuffix("/api"))
    lane = lane_on(store)
    settings = {PREFECT_API_URL: f"{between.url}/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(settings):
        folder = RenderFolder(store, job(store, [line("a")], "lost-0001", engine="prefect"))
        with pytest.raises(Unsure):
            PrefectEngine().start(folder)
    assert between.dropped >= 1
    with temporary_settings({PREFECT_API_URL: site.api}):
        assert lane.find("lost-0001") == ["lost-0001"]
        PrefectEngine().start(folder)
        assert len(site.runs("lost-0001")) == 1


@pytest.mark.parametrize(
    ("type", "name", "state"),
    [
        ("RUNNING", "Running", JobState.RUNNING),
        ("CANCELLED", "Cancelled", JobState.CANCELLED),  # by an operator
        ("FAILED", "Failed", JobState.FAILED),
        ("CRASHED", "Crashed", JobState.FAILED),
        ("COMPLETED", "Completed", JobState.FAILED),  # without its pictures
    ],
)
def test_a_job_stands_where_its_run_does(
    site: Site,
    api: None,
    store: Store,
    create: Callable[[str], str],
    type: str,
    name: str,
    state: JobState,
) -> None:
    token = create(f"stands-{name.lower()}")
    set_state(site, token, type, name, "because of the weather")
    status = lane_on(store).poll(token)
    assert (status.state, status.total, status.succeeded) == (state, 2, 0)
    if name in ("Failed", "Crashed"):
        assert "because of the weather" in status.message


def test_what_is_in_the_store_counts_whatever_prefect_believes(
    site: Site, api: None, store: Store, create: Callable[[str], str]
) -> None:
    token = create("believes-0001")
    render_job(store, token, Stub())
    set_state(site, token, "CRASHED", "Crashed")
    assert lane_on(store).poll(token).state is JobState.SUCCEEDED


def test_a_job_that_has_not_begun_is_cancelled_for_good(
    site: Site, api: None, store: Store, create: Callable[[str], str]
) -> None:
    token = create("cancelled-0001")
    lane = lane_on(store)
    lane.cancel(token)
    assert lane.poll(token).state is JobState.CANCELLED
    assert site.runs(token)[0]["state_type"] == "CANCELLED"


def test_a_run_that_was_deleted_is_a_job_that_failed(
    site: Site, api: None, store: Store, create: Callable[[str], str]
) -> None:
    token = create("deleted-0001")
    [run] = site.runs(token)
    site.call("DELETE", f"flow_runs/{run['id']}")
    status = lane_on(store).poll(token)
    assert status.state is JobState.FAILED
    assert "does not know" in status.message


def test_without_the_deployment_it_says_how_to_make_it(
    site: Site, api: None, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagewave.providers.gpu.prefect_pool.DEPLOYMENT", "render/nowhere")
    folder = RenderFolder(store, job(store, [line("a")], "none-0001", engine="prefect"))
    for ask in (PrefectEngine().check, lambda: PrefectEngine().start(folder)):
        with pytest.raises(Rejected, match=r"imagewave deploy.*prefect worker start -p gpu"):
            ask()
    assert DEPLOYMENT == "render/render"


def test_a_server_that_is_away_is_no_answer(store: Store) -> None:
    folder = RenderFolder(store, job(store, [line("a")], "away-0001", engine="prefect"))
    away = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: away, PREFECT_CLIENT_MAX_RETRIES: 0}):
        with pytest.raises(Unavailable, match="PREFECT_API_URL"):
            lane_on(store).poll("away-0001")
        with pytest.raises(Unsure):
            PrefectEngine().start(folder)
