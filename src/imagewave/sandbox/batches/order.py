"""The order of lists."""

from imagewave.sandbox.batches.jobs import Job
from imagewave.sandbox.core.files import StoredFile

Place = tuple[float, str]


def newest_first(item: Job | StoredFile) -> Place:
    """An item's place in a list."""
    return -item.created, item.id
