"""The lanes by which models are reached, as data: what kind each is."""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache

from imagewave.storage.catalog import CatalogError, Model
from imagewave.storage.catalog.data import lanes


class LaneKind(StrEnum):
    """How a lane works, and so what it costs."""

    BATCH = "batch"
    """A provider takes many requests as one job, at its batch price."""
    CALLS = "calls"
    """Single calls, at the standard price."""
    GPU = "gpu"
    """Your GPUs, which cost time."""


def lane_kinds() -> Mapping[str, LaneKind]:
    """Every lane that wave files may name, with its kind, in the order of the catalog.

    Raises:
        CatalogError: an installed catalog names a kind that there is not.
    """
    return _kinds()


def is_batch(lane: str) -> bool:
    """Whether the lane's requests have batch prices."""
    return _kinds().get(lane) is LaneKind.BATCH


def on_your_gpus(lane: str) -> bool:
    """Whether the lane renders on your GPUs."""
    return _kinds().get(lane) is LaneKind.GPU


def draws_on_your_gpus(model: Model) -> bool:
    """Whether the model is rendered on your GPUs: its seeds reproduce, and it costs time."""
    return any(map(on_your_gpus, model.lanes))


def batch_lane(model: Model) -> str | None:
    """The model's first lane with batch prices; None: it has none."""
    return next(filter(is_batch, model.lanes), None)


@cache
def _kinds() -> dict[str, LaneKind]:
    kinds = {}
    for lane, kind in lanes().items():
        try:
            kinds[lane] = LaneKind(kind)
        except ValueError:
            raise CatalogError(
                f"The lane {lane!r} cannot be of the kind {kind!r}.",
                f"Kinds are {', '.join(LaneKind)}.",
            ) from None
    return kinds
