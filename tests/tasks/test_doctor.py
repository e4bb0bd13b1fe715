"""The doctor's checks, against real parts: the sandbox's lists, a bucket, files of models."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import openai
import pytest
from google import genai
from google.genai import types
from tests.servers import environment, free_port, make_bucket, s3_environment, start_moto

from imagewave.pictures import pixels
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.store import Store
from imagewave.tasks.doctor import Finding, State, compare, examine
from imagewave.tasks.screening import hash_index

pytestmark = pytest.mark.heavy

LITE = "gemini-3.1-flash-lite-image"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSandbox]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def changed(sandbox: EmbeddedSandbox) -> Iterator[EmbeddedSandbox]:
    """The sandbox with two models gone from its lists and two new ones in them."""
    configure(sandbox, unlisted=[LITE, "gpt-image-2"], listed=["google:gemini-9-image", "openai:x"])
    yield sandbox
    configure(sandbox, unlisted=[], listed=[])


def configure(sandbox: EmbeddedSandbox, **settings: object) -> None:
    request = urllib.request.Request(
        f"{sandbox.url}/sandbox/config", data=json.dumps(settings).encode(), method="PUT"
    )
    with urllib.request.urlopen(request):
        pass


def keys(sandbox: EmbeddedSandbox, key: str = "any") -> dict[str, str]:
    return {
        "GEMINI_API_KEY": key,
        "GOOGLE_GEMINI_BASE_URL": sandbox.url,
        "OPENAI_API_KEY": key,
        "OPENAI_BASE_URL": f"{sandbox.url}/v1",
    }


def found(store: Path | str, environ: dict[str, str], check: str) -> list[Finding]:
    return [finding for finding in examine(str(store), environ) if finding.check == check]


def test_official_clients_see_what_was_listed_and_unlisted(changed: EmbeddedSandbox) -> None:
    google = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=changed.url))
    names = {model.name for model in google.models.list()}
    assert "models/gemini-9-image" in names
    assert f"models/{LITE}" not in names
    ids = {m.id for m in openai.OpenAI(api_key="any", base_url=f"{changed.url}/v1").models.list()}
    assert "x" in ids
    assert "gpt-image-2" not in ids


def test_catalog_and_provider_agree(tmp_path: Path, sandbox: EmbeddedSandbox) -> None:
    for provider in ("google", "openai"):
        (finding,) = found(tmp_path, keys(sandbox), f"models of {provider}")
        assert finding.state is State.OK
        assert "lists every model" in finding.said


def test_what_vanished_and_what_is_new_is_told(tmp_path: Path, changed: EmbeddedSandbox) -> None:
    lost, new = found(tmp_path, keys(changed), "models of google")
    assert lost.state is new.state is State.WARN
    assert lost.said.endswith(f"alive in the catalog: {LITE}")
    assert "shutdown" in lost.fix
    assert new.said.endswith("not in the catalog: gemini-9-image")
    # What does not draw is none of the catalog's business.
    (lost,) = found(tmp_path, keys(changed), "models of openai")
    assert lost.said.endswith("alive in the catalog: gpt-image-2")


def test_dated_snapshots_and_aliases_are_known() -> None:
    listed = ["gpt-image-2-2026-04-21", "gpt-image-9", "nano-banana-2.1"]
    (_, new, *_) = compare("openai", listed, date(2026, 11, 20))
    assert new.said.endswith("not in the catalog: gpt-image-9")


def test_a_model_that_the_catalog_buried_and_the_provider_lists_is_told() -> None:
    findings = compare("openai", ["dall-e-3"], date(2026, 11, 20))
    assert any("still listed" in finding.said for finding in findings)


def test_a_refused_key_fails_and_is_not_shown(tmp_path: Path, sandbox: EmbeddedSandbox) -> None:
    findings = list(examine(str(tmp_path), keys(sandbox, "bad-sesame")))
    refused = [f for f in findings if f.state is State.FAIL]
    assert [f.check for f in refused] == ["models of google", "models of openai"]
    assert "GEMINI_API_KEY" in refused[0].fix or "apikey" in refused[0].fix
    assert "sesame" not in str(findings)


def test_a_password_in_an_address_is_not_shown(tmp_path: Path) -> None:
    nowhere = f"http://user:hidden@127.0.0.1:{free_port()}"
    named = {
        "GEMINI_API_KEY": "any",
        "GOOGLE_GEMINI_BASE_URL": nowhere,
        "OPENAI_API_KEY": "any",
        "OPENAI_BASE_URL": f"{nowhere}/v1",
        "PREFECT_API_URL": f"{nowhere}/api",
        "IMAGEWAVE_GPU_BASE_URL": f"{nowhere}/v1",
    }
    findings = list(examine(str(tmp_path), named))
    assert "hidden" not in str(findings)
    [key] = [each for each in findings if each.check == "key of openai"]
    assert key.said.endswith(f"asked at {nowhere.replace('user:hidden@', '')}/v1")


def test_the_settings_of_own_gpus_are_tried(tmp_path: Path, sandbox: EmbeddedSandbox) -> None:
    hour, address = "IMAGEWAVE_GPU_USD_PER_HOUR", "IMAGEWAVE_GPU_BASE_URL"

    def states(said: str, at: str) -> dict[str, tuple[State, str]]:
        with environment(**{hour: said}):
            findings = list(examine(str(tmp_path), {hour: said, address: at}))
        wanted = ("price of a GPU", "image server")
        return {each.check: (each.state, each.said) for each in findings if each.check in wanted}

    assert states("", "") == {}
    assert states("2.50", "") == {"price of a GPU": (State.OK, "$2.50 an hour")}
    wrong = states("abc", "nonsense")
    assert [state for state, _ in wrong.values()] == [State.FAIL, State.FAIL]
    assert "'abc'" in wrong["price of a GPU"][1]
    assert "nonsense" in wrong["image server"][1]
    right = states("2.50", f"{sandbox.url}/gpu/v1")
    assert right["image server"][0] is State.OK
    assert "black-forest-labs/FLUX.1-schnell" in right["image server"][1]


def test_an_address_without_a_key_fails(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "key of openai")
    assert finding.state is State.FAIL
    assert "OPENAI_API_KEY" in finding.fix


def test_what_is_not_compiled_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "compiled", True)
    monkeypatch.setattr(hash_index, "compiled", True)
    (finding,) = found(tmp_path, {}, "speed")
    assert finding.state is State.OK
    monkeypatch.setattr(pixels, "compiled", False)
    (finding,) = found(tmp_path, {}, "speed")
    assert (finding.state, "AVX2" in finding.fix) == (State.WARN, True)
    assert "not compiled: measuring;" in finding.said
    monkeypatch.setattr(hash_index, "compiled", False)
    (finding,) = found(tmp_path, {}, "speed")
    assert "measuring and the search for duplicates" in finding.said
    assert "C compiler" in finding.fix


def test_a_store_is_tried_and_nothing_stays(tmp_path: Path) -> None:
    absent = tmp_path / "covers" / "deep"
    (finding,) = found(absent, {}, "store")
    assert finding.state is State.OK
    assert "none yet" in finding.said
    assert list(tmp_path.iterdir()) == []
    store = Store.open(str(tmp_path / "covers"))
    before = store.list("")
    (finding,) = found(store.url, {}, "store")
    assert finding.state is State.OK
    assert "none yet" not in finding.said
    assert store.list("") == before


def test_a_folder_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    (finding,) = found(tmp_path / "taken", {}, "store")
    assert finding.state is State.FAIL
    assert finding.fix


def test_a_bucket_is_tried_and_a_missing_one_fails() -> None:
    with start_moto() as endpoint:
        bucket = make_bucket(endpoint)
        with environment(**s3_environment(endpoint)):
            (finding,) = found(f"s3://{bucket}/waves", {}, "store")
            assert finding.state is State.OK
            assert "none yet" in finding.said
            assert Store.try_out(f"s3://{bucket}/waves") is False, "no store was made"
            (finding,) = found("s3://no-such-bucket-at-all/waves", {}, "store")
            assert finding.state is State.FAIL
            assert "no such bucket" in finding.said


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def test_the_prefect_server_is_asked_how_it_is(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Healthy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/api"
    (finding,) = found(tmp_path, {"PREFECT_API_URL": url}, "prefect")
    assert finding.state is State.OK
    server.shutdown()
    server.server_close()
    gone = f"http://127.0.0.1:{free_port()}/api"
    (finding,) = found(tmp_path, {"PREFECT_API_URL": gone}, "prefect")
    assert finding.state is State.FAIL
    assert gone in finding.said


def test_retiring_models_are_told_with_what_comes_after(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    own = tmp_path / "models.toml"
    own.write_text(
        f'[[model]]\nid = "gpt-image-2"\nshutdown = {today + timedelta(days=10)}\n'
        'replacement = "gpt-image-2.5-flare"\n'
        f'[[model]]\nid = "{LITE}"\nshutdown = {today + timedelta(days=31)}\n'
    )
    with environment(IMAGEWAVE_MODELS=str(own)):
        (finding,) = found(tmp_path, {}, "retiring models")
    assert finding.state is State.WARN
    when = today + timedelta(days=10)
    assert f"gpt-image-2 on {when} (then gpt-image-2.5-flare)" in finding.said
    assert LITE not in finding.said


def test_own_models_that_no_wave_can_use_are_told(tmp_path: Path) -> None:
    own = tmp_path / "models.toml"
    own.write_text(
        '[[model]]\nid = "mine"\nprovider = "self"\nkind = "image"\nlanes = ["gpo"]\n'
        "usd_per_image = { any = 0.01 }\n"
        '[[model]]\nid = "dear"\nprovider = "google"\nkind = "image"\n'
        'lanes = ["interactive"]\nreplacement = "nowhere"\n'
        '[[model]]\nid = "sound"\nprovider = "google"\nkind = "image"\n'
        'lanes = ["interactive"]\nusd_per_image = { any = 0.01 }\n'
        '[[model]]\nid = "strange"\nprovider = "acme"\nkind = "image"\n'
        'lanes = ["interactive"]\nusd_per_image = { any = 0.01 }\n'
    )
    with environment(IMAGEWAVE_MODELS=str(own)):
        (finding,) = found(tmp_path, {}, "models.toml")
    assert finding.state is State.WARN
    for problem in (
        "mine names lanes that there are not: gpo",
        "prices of 'dear'",
        "'nowhere'",
        "strange names a provider that there is not: acme",
    ):
        assert problem in finding.said
    assert "sound" not in finding.said


def test_own_models_that_cannot_be_read_fail(tmp_path: Path) -> None:
    own = tmp_path / "models.toml"
    own.write_text('[[model]]\nid = "mine"\nlens = []\n')
    with environment(IMAGEWAVE_MODELS=str(own)):
        finding, unasked = list(examine(str(tmp_path), {"GEMINI_API_KEY": "any"}))[-2:]
    assert (finding.check, finding.state) == ("models.toml", State.FAIL)
    assert "'lens'" in finding.said
    assert finding.fix
    assert (unasked.check, unasked.state) == ("providers", State.WARN)
