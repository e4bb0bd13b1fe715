"""Your GPUs, as they are registered: renderings of ours, or an image server at an address."""

from imagewave.providers.gpu.access import ACCESS
from imagewave.providers.protocol import Lane
from imagewave.providers.provider import Environ, Provider
from imagewave.storage.store import Store


def _gpu(store: Store, environ: Environ) -> Lane:
    address = ACCESS.base_url(environ)
    if address is None:
        from imagewave.providers.gpu.lane import GpuLane

        return GpuLane.from_environment(store)
    from imagewave.providers.gpu.image_server import ImageServerCaller, ImageServerLane

    return ImageServerLane(store, ImageServerCaller(address, ACCESS.key(environ)))


def _list_models(environ: Environ) -> list[str]:
    from imagewave.providers.gpu.image_server import ImageServerCaller, served

    address = ACCESS.base_url(environ)
    return [] if address is None else served(ImageServerCaller(address, ACCESS.key(environ)))


PROVIDER = Provider(
    name="self",
    access=ACCESS,
    yours=True,
    lanes={"gpu": _gpu},
    list_models=_list_models,
)
