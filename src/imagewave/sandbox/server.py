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
from imagewave.sandbox.core.config import Config
from imagewave.sandbox.core.disk import write_atomically
from imagewave.sandbox.core.http import Protocol

_PARENT_CHECK_S = 0.25


def listen(host: str, port: int) -> socket.socket:
    """Takes the address; port 0 takes a free one.

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=256)


def serve(
    state: Path,
    config: Config,
    *,
    listener: socket.socket,
    on_ready: Callable[[str], None],
    exit_with_parent: bool = False,
) -> None:
    """Serves until it is told to stop; `on_ready` gets the base URL once requests are taken.

    With `exit_with_parent` it also stops when its standard input is closed or its parent is
    another one, which is what happens when the parent dies, however it dies.

    Raises:
        FolderInUse: another server works on the state folder.
    """
    # Jobs are drawn side by side; threads within one picture would only get in their way.
    cv2.setNumThreads(1)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
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
