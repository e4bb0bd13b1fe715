"""Runs the sandbox as a process of its own: a port, a word when ready, an end with its parent."""

import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import orjson
import uvicorn

from imagewave.sandbox.app import build_app
from imagewave.sandbox.config import Config
from imagewave.sandbox.disk import write_atomically
from imagewave.sandbox.http import Protocol

_PARENT_CHECK_S = 0.25


def serve(
    state: Path,
    config: Config,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None] = print,
    exit_with_parent: bool = False,
) -> None:
    """Serves until it is told to stop; `on_ready` gets the base URL once requests are taken.

    With `exit_with_parent` it also stops when its standard input is closed or its parent is
    another one, which is what happens when the parent dies, however it dies.
    """
    # Jobs are drawn side by side; threads within one picture would only get in their way.
    cv2.setNumThreads(1)
    listener = socket.create_server((host, port), backlog=256)
    host_in_url = f"[{host}]" if ":" in host else host
    url = f"http://{host_in_url}:{listener.getsockname()[1]}"
    settings = uvicorn.Config(
        build_app(state, config),
        http=Protocol,
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(settings, lambda: on_ready(url))
    if exit_with_parent:
        threading.Thread(target=_stop_with_parent, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


def write_ready_file(path: Path, url: str) -> None:
    """Tells a waiting parent where the server is."""
    write_atomically(path, orjson.dumps({"url": url, "pid": os.getpid()}))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def _stop_with_parent(server: uvicorn.Server) -> None:
    # The pipe alone will not do: a forked child of the parent may hold it open for longer.
    parent = os.getppid()
    while os.getppid() == parent:
        readable, _, _ = select.select([sys.stdin], [], [], _PARENT_CHECK_S)
        if readable and not os.read(sys.stdin.fileno(), 1024):
            break
    server.should_exit = True
