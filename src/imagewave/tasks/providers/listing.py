"""Which models a provider lists for the key in the environment."""

from collections.abc import Callable, Mapping


def _google(environ: Mapping[str, str]) -> list[str]:
    from imagewave.tasks.providers.gemini_batch import GeminiBatchLane

    return GeminiBatchLane.from_environment(environ).models()


def _openai(environ: Mapping[str, str]) -> list[str]:
    from imagewave.tasks.providers.openai_batch import OpenAIBatchLane

    return OpenAIBatchLane.from_environment(environ).models()


LISTINGS: Mapping[str, Callable[[Mapping[str, str]], list[str]]] = {
    "google": _google,
    "openai": _openai,
}
"""For each provider that can be asked: the ids of its models, by the key and address in an
environment. Raises Rejected where the key is refused, Unavailable where nobody answers."""
