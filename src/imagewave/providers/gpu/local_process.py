"""Renders jobs of the GPU lane in processes on this machine, for those without a Prefect server.

Each job is a process of its own that goes on when the one that started it ends, as a provider
would. A user's take the GPU one after the other, by a lock.
"""

import socket
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from imagewave.providers.protocol import JobState, Rejected
from imagewave.storage.facts.mirror import cache_folder
from imagewave.storage.jobs.renders import RenderFolder
from imagewave.storage.requests import FailureClass

LIBRARIES = ("torch", "diffusers", "transformers", "accelerate")

_LAST_LINES = 2000  # bytes of a log whose last line says why a process has died


def render_folder() -> Path:
    """Where the processes' logs are, and the lock by which they take turns."""
    return cache_folder() / "renders"


class LocalEngine:
    """Starts, finds and stops render processes on this machine."""

    name = "local"

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def check(self) -> None:
        """Makes sure that the libraries are installed."""
        missing = [name for name in LIBRARIES if find_spec(name) is None]
        if missing:
            raise Rejected(
                f"Rendering on this machine needs {', '.join(missing)}.",
                "Install imagewave[gpu]; or have a Prefect server's work pool render: set "
                "PREFECT_API_URL, run `imagewave deploy`, and where the GPU is "
                "`prefect worker start -p gpu`.",
                FailureClass.INVALID,
            )

    def start(self, folder: RenderFolder) -> None:
        """Starts a process for the job, unless this process has; two of them would see each other.

        Whether it started shows by its claim: there is never any doubt, as the job's folder alone
        says that it is to be rendered.
        """
        with self._lock:
            if folder.token in self._children:
                return
            command = [sys.executable, "-m", "imagewave.providers.gpu.rendering"]
            render_folder().mkdir(parents=True, exist_ok=True)
            with _log(folder).open("ab") as log:
                self._children[folder.token] = subprocess.Popen(
                    [*command, folder.store.url, folder.token],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def has(self, folder: RenderFolder) -> bool:
        """True: a job in the store is one that is to be rendered."""
        return True

    def look(self, folder: RenderFolder) -> tuple[JobState, str]:
        """Where the job's process stands; one that nobody has started is started."""
        renderer = folder.renderer()
        if renderer is None:
            return self._before_claim(folder)
        if not renderer.known_dead():
            return JobState.RUNNING, ""
        return JobState.FAILED, folder.failure() or _last_words(folder)

    def stop(self, folder: RenderFolder) -> None:
        """Nothing: the process looks for itself whether the job is cancelled."""

    def _before_claim(self, folder: RenderFolder) -> tuple[JobState, str]:
        child = self._children.get(folder.token)
        if child is None:
            if folder.is_cancelled():
                return JobState.FAILED, ""
            if folder.job.host == socket.gethostname():
                self.start(folder)
        elif child.poll() is not None and folder.renderer() is None:
            return JobState.FAILED, _last_words(folder)
        return JobState.PENDING, ""


def _log(folder: RenderFolder) -> Path:
    return render_folder() / f"{folder.token}.log"


def _last_words(folder: RenderFolder) -> str:
    try:
        lines = _log(folder).read_bytes()[-_LAST_LINES:].decode(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    said = f": {lines[-1]}" if lines else ""
    return f"The render process has died{said} (its log: {_log(folder)})"
