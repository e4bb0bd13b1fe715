"""Anthropic's Claude API, as it is registered. Batches need the extra `anthropic`."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from imagewave.providers.anthropic.access import ACCESS
from imagewave.providers.protocol import Lane
from imagewave.providers.provider import Environ, Provider
from imagewave.storage.store import Store

# It brings an HTTP client along.
if TYPE_CHECKING:
    from imagewave.providers.caller import Caller


def _batch(store: Store, environ: Environ) -> Lane:
    from imagewave.providers.anthropic.batch import AnthropicBatchLane

    return AnthropicBatchLane(store, *ACCESS.require(environ))


def _caller(key: str, base_url: str | None) -> "Caller":
    from imagewave.providers.anthropic.caller import AnthropicCaller

    return AnthropicCaller(key, base_url)


def _list_models(environ: Environ) -> list[str]:
    from imagewave.providers.anthropic.batch import list_models

    return list_models(*ACCESS.require(environ))


PROVIDER = Provider(
    name="anthropic",
    access=ACCESS,
    lanes={"anthropic-batch": _batch},
    caller=_caller,
    list_models=_list_models if find_spec("anthropic") else None,
)
