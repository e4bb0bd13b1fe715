"""Renders one job in a process of its own: `python -m imagewave.tasks.rendering STORE TOKEN`.

One at a time per machine: the others wait for its GPU.
"""

import fcntl
import sys

from imagewave.errors import ImagewaveError
from imagewave.storage.renders import RenderFolder
from imagewave.storage.store import Store
from imagewave.tasks.providers.gpu_local import CACHE
from imagewave.tasks.rendering.render import render_job


def main(store_url: str, token: str) -> None:
    """Claims the job, waits for its turn, and renders."""
    store = Store.open(store_url, create=False)
    folder = RenderFolder(store, token)
    if not folder.claim():
        return
    with (CACHE / "gpu.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_cancelled():
            return
        try:
            from imagewave.tasks.rendering.pipelines import DiffusersRenderer

            render_job(store, token, DiffusersRenderer())
        except ImagewaveError as error:
            folder.fail(str(error))
            raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(*sys.argv[1:])
