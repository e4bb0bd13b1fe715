"""OpenAI's API, as it is registered."""

from typing import TYPE_CHECKING

from imagewave.providers.openai.access import ACCESS
from imagewave.providers.protocol import Lane
from imagewave.providers.provider import Environ, Provider
from imagewave.storage.store import Store

# It brings an HTTP client along.
if TYPE_CHECKING:
    from imagewave.providers.caller import Caller


def _batch(store: Store, environ: Environ) -> Lane:
    from imagewave.providers.openai.batch import OpenAIBatchLane

    return OpenAIBatchLane(*ACCESS.require(environ))


def _caller(key: str, base_url: str | None) -> "Caller":
    from imagewave.providers.openai.caller import OpenAICaller

    return OpenAICaller(key, base_url)


def _list_models(environ: Environ) -> list[str]:
    from imagewave.providers.openai.batch import OpenAIBatchLane

    return OpenAIBatchLane(*ACCESS.require(environ)).models()


PROVIDER = Provider(
    name="openai",
    access=ACCESS,
    lanes={"openai-batch": _batch},
    caller=_caller,
    list_models=_list_models,
)
