"""Opens lanes by name, with the keys that the environment holds."""

from imagewave.errors import ImagewaveError
from imagewave.tasks.providers.protocol import Lane


def open_lane(name: str) -> Lane:
    """The lane that wave files call `name`.

    Raises:
        ImagewaveError: there is no such lane, or its key is not in the environment.
    """
    if name == "gemini-batch":
        from imagewave.tasks.providers.gemini_batch import GeminiBatchLane

        return GeminiBatchLane.from_environment()
    raise ImagewaveError(f"There is no lane {name!r}.", "Lanes: gemini-batch.")
