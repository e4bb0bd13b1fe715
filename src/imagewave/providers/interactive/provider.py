"""Single calls, as they are registered: a lane to every provider that has a caller and a key."""

from imagewave.providers.protocol import Lane
from imagewave.providers.provider import Environ, Provider
from imagewave.storage.store import Store


def _calls(store: Store, environ: Environ) -> Lane:
    from imagewave.providers.interactive.lane import InteractiveLane

    return InteractiveLane.from_environment(store, environ)


PROVIDER = Provider(name="interactive", lanes={"interactive": _calls})
