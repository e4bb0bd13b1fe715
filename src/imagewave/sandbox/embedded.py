"""The sandbox as a child process on a loopback port, for as long as a `with` block lasts."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from imagewave.errors import ImagewaveError
from imagewave.loopback import spare_loopback
from imagewave.sandbox.core.disk import EXIT_IN_USE

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0
_KEY = "any-key-will-do"


class EmbeddedSandbox:
    """`with EmbeddedSandbox(state) as sandbox:` … `sandbox.url`.

    The child ends when the block does, and also when this process dies in any way: it watches a
    pipe that only this process holds open. The state folder carries jobs over to the next start.
    """

    def __init__(
        self,
        state: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`settings` are those of `Config`, such as `{"tiny": 8, "defects": {"blank": 0.5}}`."""
        self.url = ""
        self._state = state
        self._options = {
            "state": str(state),
            "host": host,
            "port": port,
            "settings": {"defects": "mild", **(settings or {})},
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id; 0 while there is none."""
        return self._process.pid if self._process else 0

    def start(self) -> str:
        """Starts the child and returns its URL once it takes requests.

        Raises:
            ImagewaveError: it did not come up, as when another one works on the state folder, or
                nothing can be written there.
        """
        with tempfile.TemporaryDirectory(prefix="imagewave-sandbox-") as folder:
            ready = Path(folder, "ready.json")
            with self._open_log() as log:
                options = json.dumps({**self._options, "ready_file": str(ready)})
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "imagewave.sandbox", options],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C in the terminal is for the parent, which still needs the sandbox then.
                    start_new_session=True,
                )
            self.url = self._wait_until_ready(ready)
        spare_loopback([str(self._options["host"])])
        return self.url

    def environment(self) -> dict[str, str]:
        """Keys and addresses by which every provider's client finds the running child."""
        # Clients blot the key out of what they print; so it is no word of a path or a message.
        return {
            "GEMINI_API_KEY": _KEY,
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "OPENAI_API_KEY": _KEY,
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "ANTHROPIC_API_KEY": _KEY,
            "ANTHROPIC_BASE_URL": self.url,
        }

    def stop(self) -> None:
        """Ends the child; its state stays."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """Kills the child without warning, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.kill()
            process.wait()
            process.stdin.close()

    def __enter__(self) -> Self:
        """Starts the child."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the child."""
        self.stop()

    def _open_log(self) -> BinaryIO:
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            return open(self._state / "server.log", "ab")
        except OSError as error:
            raise ImagewaveError(
                f"The embedded sandbox cannot write to {self._state}: {error.strerror or error}.",
                "Make that writable, or name another store with --store.",
            ) from error

    def _wait_until_ready(self, ready: Path) -> str:
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if ready.exists():
                return str(json.loads(ready.read_bytes())["url"])
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        status = self._process.poll()
        self.stop()
        log = self._state / "server.log"
        words = log.read_text("utf-8", "replace").strip().rpartition("\n")[2]
        if status == EXIT_IN_USE:
            raise ImagewaveError(
                f"Another run uses this store's sandbox: {words}.",
                "Wait for it to end; or start `imagewave sandbox serve` and set GEMINI_API_KEY and"
                " GOOGLE_GEMINI_BASE_URL for both.",
            )
        raise ImagewaveError(
            f"The embedded sandbox did not start: {words or 'it said nothing'}.",
            f"All it said is in {log}.",
        )
