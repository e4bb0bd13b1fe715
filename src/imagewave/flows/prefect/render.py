"""One job of the GPU lane, on the work pool that has the GPU."""

from functools import cache

from prefect import flow, get_run_logger

from imagewave.providers.gpu.rendering.render import Renderer, render_job
from imagewave.storage.store import Store


@flow(name="render", flow_run_name="render {token}")
def render(store: str, token: str) -> int:
    """Renders what the job still lacks; returns how many pictures those were.

    Repeated after any end, it goes on with what has no record in the store yet.
    """
    made = render_job(Store.open(store, create=False), token, _renderer())
    get_run_logger().info("%d pictures rendered", made)
    return made


@cache
def _renderer() -> Renderer:
    """The renderer of this process, with the pipelines that it has loaded."""
    from imagewave.providers.gpu.rendering.pipelines import DiffusersRenderer

    return DiffusersRenderer()
