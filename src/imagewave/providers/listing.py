"""Which models a provider lists for the key in the environment."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec


def _google(environ: Mapping[str, str]) -> list[str]:
    from imagewave.providers.gemini.batch import GeminiBatchLane

    return GeminiBatchLane.from_environment(environ).models()


def _openai(environ: Mapping[str, str]) -> list[str]:
    from imagewave.providers.openai.batch import OpenAIBatchLane

    return OpenAIBatchLane.from_environment(environ).models()


def _anthropic(environ: Mapping[str, str]) -> list[str]:
    from imagewave.providers.anthropic.batch import list_models

    return list_models(environ)


LISTINGS: Mapping[str, Callable[[Mapping[str, str]], list[str]]] = {
    "google": _google,
    "openai": _openai,
    **({"anthropic": _anthropic} if find_spec("anthropic") else {}),
}
"""For each provider that can be asked: the ids of its models, by the key and address in an
environment. Raises Rejected where the key is refused, Unavailable where nobody answers."""
