"""Easel, as it is registered. Nothing heavy is imported before the lane is opened."""

from imagewave.providers.protocol import Lane
from imagewave.providers.provider import Environ, Provider
from imagewave.storage.store import Store
from imagewave_easel.access import ACCESS


def _batch(store: Store, environ: Environ) -> Lane:
    from imagewave_easel.lane import EaselBatchLane

    return EaselBatchLane(*ACCESS.require(environ))


def _list_models(environ: Environ) -> list[str]:
    from imagewave_easel.lane import EaselBatchLane

    return EaselBatchLane(*ACCESS.require(environ)).models()


PROVIDER = Provider(
    name="easel", access=ACCESS, lanes={"easel-batch": _batch}, list_models=_list_models
)
