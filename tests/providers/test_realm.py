"""Who answers at an address: a sandbox says that it is one, nobody else does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import free_port, provider_before

from imagewave.errors import ImagewaveError
from imagewave.providers.anthropic.batch import AnthropicBatchLane
from imagewave.providers.anthropic.caller import AnthropicCaller
from imagewave.providers.caller import Caller
from imagewave.providers.gemini.batch import GeminiBatchLane
from imagewave.providers.gemini.caller import GeminiCaller
from imagewave.providers.gpu.image_server import ImageServerCaller
from imagewave.providers.interactive.lane import InteractiveLane
from imagewave.providers.openai.batch import OpenAIBatchLane
from imagewave.providers.openai.caller import OpenAICaller
from imagewave.providers.realm import realm_of
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.realms import Realm
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running.url


@pytest.fixture(scope="module")
def provider(sandbox: str) -> Iterator[str]:
    with provider_before(sandbox) as url:
        yield url


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/gpu/v1"])
def test_the_address_says_nothing_who_answers_does(sandbox: str, provider: str, path: str) -> None:
    assert realm_of(f"{sandbox}{path}") is Realm.SANDBOX
    assert realm_of(f"{provider}{path}") is Realm.LIVE
    assert realm_of(f"{sandbox}{path}".replace("//", "//user:word@")) is Realm.SANDBOX


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (None, Realm.LIVE),
        ("", Realm.LIVE),
        ("no address", Realm.LIVE),
        ("file:///etc/hosts", Realm.LIVE),
        ("http://127.0.0.1:{port}", Realm.SANDBOX),
        ("http://localhost:{port}/v1", Realm.SANDBOX),
        ("http://[::1]:{port}/v1", Realm.SANDBOX),
        ("http://no-such-host.invalid:{port}", Realm.LIVE),
        ("http://127.0.0.1:many", Realm.SANDBOX),
        ("http://[::1", Realm.LIVE),
    ],
)
def test_where_nobody_answers_only_this_machine_is_a_sandbox(
    address: str | None, expected: Realm
) -> None:
    assert realm_of(address and address.format(port=free_port())) is expected


def test_every_lane_asks(sandbox: str, provider: str, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for url, realm in ((sandbox, Realm.SANDBOX), (provider, Realm.LIVE), (None, Realm.LIVE)):
        lanes = (
            GeminiBatchLane("key", url),
            OpenAIBatchLane("key", url and f"{url}/v1"),
            AnthropicBatchLane(store, "key", url),
            GeminiCaller("key", url),
            OpenAICaller("key", url and f"{url}/v1"),
            AnthropicCaller("key", url),
            InteractiveLane(store, {"google": GeminiCaller("key", url)}),
        )
        assert {lane.realm for lane in lanes} == {realm}
    assert ImageServerCaller(f"{sandbox}/gpu/v1").realm is Realm.SANDBOX
    assert ImageServerCaller(f"{provider}/gpu/v1").realm is Realm.LIVE


def test_calls_to_a_provider_and_to_a_sandbox_do_not_go_together(
    sandbox: str, tmp_path: Path
) -> None:
    callers: dict[str, Caller] = {
        "google": GeminiCaller("key", sandbox),
        "openai": OpenAICaller("key"),
    }
    lane = InteractiveLane(Store.open(str(tmp_path)), callers)
    with pytest.raises(ImagewaveError, match="of google are the sandbox's, and those of openai"):
        _ = lane.realm
