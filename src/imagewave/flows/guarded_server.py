"""Prefect's throw-away server with a guard. Imports Prefect's server, which takes its time."""

import subprocess
from typing import Any

from prefect.server.api.server import SubprocessASGIServer


class GuardedServer(SubprocessASGIServer):
    """Prefect stops it at exit; but a process that is killed does not get that far."""

    _guard: "subprocess.Popen[bytes] | None" = None

    def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
        server = super()._run_uvicorn_command()
        self._dismiss_guard()
        # Reads until this process, which alone can write there, is gone.
        self._guard = subprocess.Popen(
            ["sh", "-c", f"read -r _; kill {server.pid}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the others
        )
        return server

    def stop(self) -> None:
        super().stop()
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.communicate()
