"""A sandbox without defects, served over HTTP, and the official client pointed at it."""

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import types

from imagewave.sandbox.embedded import EmbeddedSandbox

LITE = "gemini-3.1-flash-lite-image"
FAST = {"defects": "none", "pending_s": 0.02, "running_s": 0.02, "tiny": 8}
_DONE = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")


@dataclass(frozen=True)
class Bench:
    """A running sandbox and the official client; `state` is its folder."""

    sandbox: EmbeddedSandbox
    state: Path
    client: genai.Client

    def control(self, method: str, path: str, body: object = None) -> Any:
        """One call of a control endpoint."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.sandbox.url}/sandbox/{path}", data=data, method=method
        )
        with urllib.request.urlopen(request) as response:
            text = response.read()
        if path == "ledger":
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text)

    def upload(self, folder: Path, rows: list[dict[str, Any]]) -> str:
        """Uploads request lines; returns the file's name."""
        path = folder / "requests.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = types.UploadFileConfig(mime_type="application/jsonl")
        name = self.client.files.upload(file=path, config=config).name
        assert name
        return name

    def create(self, folder: Path, rows: list[dict[str, Any]], model: str = LITE) -> str:
        """Uploads and creates a job; returns its name."""
        job = self.client.batches.create(
            model=model, src=self.upload(folder, rows), config={"display_name": "test"}
        )
        assert job.name
        return job.name

    def wait(self, name: str) -> types.BatchJob:
        """Polls until the job is done."""
        while True:
            job = self.client.batches.get(name=name)
            assert job.state is not None
            if job.state.value.endswith(_DONE):
                return job
            time.sleep(0.03)

    def run(self, folder: Path, rows: list[dict[str, Any]], model: str = LITE) -> list[Any]:
        """Runs a job to its end; returns its result lines."""
        job = self.wait(self.create(folder, rows, model))
        assert job.dest is not None, job
        content = self.client.files.download(file=str(job.dest.file_name))
        return [json.loads(line) for line in content.splitlines()]


def request_row(key: str, prompt: str, **config: Any) -> dict[str, Any]:
    """One line of an image job."""
    generation = {"responseModalities": ["IMAGE"], **config}
    contents = [{"role": "user", "parts": [{"text": prompt}]}]
    return {"key": key, "request": {"contents": contents, "generationConfig": generation}}


def client_for(url: str, key: str = "any") -> genai.Client:
    """The official client, unmodified, pointed at another host."""
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url))


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    state = tmp_path_factory.mktemp("sandbox")
    with EmbeddedSandbox(state, settings=FAST) as sandbox:
        yield Bench(sandbox, state, client_for(sandbox.url))


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    """The shared sandbox, with its switches put back after the test."""
    yield shared_bench
    shared_bench.control("DELETE", "faults")
    shared_bench.control(
        "PUT", "config", {**FAST, "seed": 0, "max_jobs": 100, "file_ttl_s": 172800}
    )
