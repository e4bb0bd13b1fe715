"""Renders one job in its own process: `python -m imagewave.providers.gpu.rendering STORE TOKEN`.

The command returns once the job is claimed. The process that renders is nobody's child: whoever
asked for it may be stopped with all that it has started. One of a user's renders at a time on this
machine; the others wait for its GPU.
"""

import fcntl
import os
import sys

from imagewave.errors import ImagewaveError
from imagewave.providers.gpu.local_process import render_folder
from imagewave.providers.gpu.rendering.render import render_job
from imagewave.storage.jobs.renders import RenderFolder
from imagewave.storage.store import Store


def main(store_url: str, token: str) -> None:
    """Has a new process claim the job and render it, unless another one has; waits for the claim.

    Ends with 1 where nobody has claimed it.
    """
    claimed, claims = os.pipe()
    if os.fork():
        os.close(claims)
        os._exit(0 if os.read(claimed, 1) else 1)
    os.close(claimed)
    folder = RenderFolder(Store.open(store_url, create=False), token)
    mine = folder.claim()
    os.write(claims, b"!")
    os.close(claims)
    if mine:
        _render(folder)


def _render(folder: RenderFolder) -> None:
    with (render_folder() / "gpu.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_cancelled():
            return
        try:
            from imagewave.providers.gpu.rendering.pipelines import DiffusersRenderer

            render_job(folder.store, folder.token, DiffusersRenderer())
        except ImagewaveError as error:
            folder.fail(str(error))
            raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(*sys.argv[1:])
