"""Every way by which a lane of ours reaches a provider, over the sandbox."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.providers.gpu.rendering.stub import StubEngine

from imagewave.providers.anthropic.batch import AnthropicBatchLane
from imagewave.providers.anthropic.caller import AnthropicCaller
from imagewave.providers.gemini.batch import GeminiBatchLane
from imagewave.providers.gemini.caller import GeminiCaller
from imagewave.providers.gpu.image_server import ImageServerCaller, ImageServerLane
from imagewave.providers.gpu.lane import GpuLane
from imagewave.providers.interactive.lane import InteractiveLane
from imagewave.providers.openai.batch import OpenAIBatchLane
from imagewave.providers.openai.caller import OpenAICaller
from imagewave.providers.protocol import Lane
from imagewave.storage.requests import Status
from imagewave.storage.store import Store
from imagewave.testing import Retired, Way

SETTINGS: dict[str, Any] = {"tiny": 8, "defects": "none", "pending_s": 0.02, "running_s": 0.02}


class Sandbox:
    """The sandbox at an address, as the contract asks for a service."""

    def __init__(self, url: str) -> None:
        self.url = url

    def arm(self, **faults: Any) -> None:
        self._control("PUT", faults)

    def disarm(self) -> None:
        self._control("DELETE")

    def jobs(self) -> int:
        with urllib.request.urlopen(f"{self.url}/sandbox/jobs") as answer:
            return len(json.loads(answer.read()))

    def ledger(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/sandbox/ledger") as answer:
            return [json.loads(line) for line in answer.read().splitlines()]

    def _control(self, method: str, body: object = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/faults", data, method=method)
        with urllib.request.urlopen(request):
            pass


def _interactive_google(url: str, key: str, folder: Path) -> Lane:
    return InteractiveLane(Store.open(str(folder)), {"google": GeminiCaller(key, url)})


def _interactive_openai(url: str, key: str, folder: Path) -> Lane:
    return InteractiveLane(Store.open(str(folder)), {"openai": OpenAICaller(key, f"{url}/v1")})


def _interactive_claude(url: str, key: str, folder: Path) -> Lane:
    return InteractiveLane(Store.open(str(folder)), {"anthropic": AnthropicCaller(key, url)})


def _image_server(url: str, key: str, folder: Path) -> Lane:
    return ImageServerLane(Store.open(str(folder)), ImageServerCaller(f"{url}/gpu/v1", key))


def _render(url: str, key: str, folder: Path) -> Lane:
    return GpuLane(Store.open(str(folder)), [StubEngine()])


_GOOGLE: dict[str, Any] = {
    "model": "gemini-3.1-flash-lite-image",
    "text_model": "gemini-3.5-flash-lite",
    "retired_model": "gemini-2.5-flash-image",
}
_OPENAI: dict[str, Any] = {
    "model": "gpt-image-2",
    "text_model": "gpt-5.6-luna",
    "retired_model": "gpt-image-1",
}
_CLAUDE: dict[str, Any] = {
    "model": "claude-haiku-5-5",
    "text_model": "claude-haiku-5-5",
    "gives": Status.TEXT,
}
WAYS = {
    "gemini-batch": Way(
        lane="gemini-batch",
        make=lambda url, key, folder: GeminiBatchLane(key, url),
        partly="job_partial",
        retired=Retired.AT_CREATE,
        unknown_job="batches/nothing",
        page_size="imagewave.providers.gemini.batch.PAGE_SIZE",
        **_GOOGLE,
    ),
    "openai-batch": Way(
        lane="openai-batch",
        make=lambda url, key, folder: OpenAIBatchLane(key, f"{url}/v1"),
        partly="job_expired",
        retired=Retired.IN_THE_JOB,
        page_size="imagewave.providers.openai.batch.PAGE_SIZE",
        **_OPENAI,
    ),
    "anthropic-batch": Way(
        lane="anthropic-batch",
        make=lambda url, key, folder: AnthropicBatchLane(Store.open(str(folder)), key, url),
        partly="job_expired",
        page_size="imagewave.providers.anthropic.batch.PAGE_SIZE",
        **_CLAUDE,
    ),
    "interactive-google": Way(
        lane="interactive", make=_interactive_google, partly="call_dropped", **_GOOGLE
    ),
    "interactive-openai": Way(
        lane="interactive", make=_interactive_openai, partly="call_dropped", **_OPENAI
    ),
    "interactive-claude": Way(
        lane="interactive", make=_interactive_claude, partly="call_dropped", **_CLAUDE
    ),
    "gpu-server": Way(
        lane="gpu",
        make=_image_server,
        partly="call_dropped",
        model="flux-1-schnell",
        refuses=False,
    ),
    "gpu-render": Way(
        lane="gpu", make=_render, model="flux-1-schnell", realm="live", refuses=False
    ),
}
BATCHES = [name for name, way in WAYS.items() if way.page_size]
DRAWING = [name for name, way in WAYS.items() if way.gives is Status.IMAGE]
JUDGING = [name for name, way in WAYS.items() if way.text_model]
SERVED = [name for name, way in WAYS.items() if way.partly]
RETIRING = [name for name, way in WAYS.items() if way.retired_model]
