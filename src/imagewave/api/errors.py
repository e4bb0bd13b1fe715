"""The errors that callers may want to tell apart. Each is an `ImagewaveError`."""

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import Rejected, Unavailable
from imagewave.storage.catalog.prices import UnknownPrice
from imagewave.storage.facts.analytics import UnknownWave
from imagewave.storage.money.ledger import BudgetExceeded
from imagewave.storage.store import NoStore, StoreError
from imagewave.storage.waves.wave_file import WaveFileError

__all__ = [
    "BudgetExceeded",
    "ImagewaveError",
    "NoStore",
    "Rejected",
    "SandboxWarning",
    "StoreError",
    "Unavailable",
    "UnknownPrice",
    "UnknownWave",
    "WaveFileError",
]


class SandboxWarning(UserWarning):
    """No key is set: the pictures are the embedded sandbox's stand-ins, and nothing is billed."""
