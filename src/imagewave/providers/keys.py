"""Which providers are set up in the environment, and the realm of a run from here."""

import os
from collections.abc import Collection, Mapping

from imagewave.providers.realm import realm_of
from imagewave.storage.realms import Realm

KEY_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
}
"""Environment variables that may hold a provider's key."""

OPTIONAL_KEYS = ("IMAGEWAVE_GPU_API_KEY",)
"""Those of keys that not everybody's servers want."""

ADDRESSES: Mapping[str, str] = {
    "google": "GOOGLE_GEMINI_BASE_URL",
    "openai": "OPENAI_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
}
"""Environment variables that point a provider's clients elsewhere, as at the sandbox."""

OWN = "self"
"""The provider, in the catalog, of models on your GPUs; it needs no key."""

OWN_ADDRESS = "IMAGEWAVE_GPU_BASE_URL"
"""Where your GPUs answer, if that is an image server."""


def has_key(provider: str, environ: Mapping[str, str]) -> bool:
    """Whether the environment holds a key of the provider."""
    return any(environ.get(name, "").strip() for name in KEY_VARIABLES[provider])


def has_address(provider: str, environ: Mapping[str, str]) -> bool:
    """Whether the environment points the provider's clients elsewhere."""
    return bool(environ.get(ADDRESSES.get(provider, ""), "").strip())


def realm_here(
    providers: Collection[str] | None = None, environ: Mapping[str, str] = os.environ
) -> Realm | None:
    """The realm of a run from here that needs these providers, or any of those that are set up.

    Live, where any of them is. None where none is set up: the embedded sandbox would stand in.
    """
    found = {
        realm_of(environ.get(ADDRESSES[provider], "").strip())
        for provider in KEY_VARIABLES
        if (providers is None or provider in providers)
        # An address without a key is a mistake that the lane will name, no wish for the sandbox.
        and (has_key(provider, environ) or has_address(provider, environ))
    }
    own = environ.get(OWN_ADDRESS, "").strip()
    if own if providers is None else OWN in providers:
        found.add(realm_of(own))
    return min(found, default=None)
