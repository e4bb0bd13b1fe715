"""Prefect's throw-away server and the process that it was started for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

# Starts the server as Prefect does, but does not wait until it answers.
_PROGRAM = """
import time
from prefect.server.api.server import SubprocessASGIServer
from imagewave.flows.throwaway import end_server_with_process
end_server_with_process()
server = SubprocessASGIServer()
server.port = server.find_available_port()
print(server._run_uvicorn_command().pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_the_server_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    own["PREFECT_HOME"] = str(tmp_path)
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, env=own) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        run.send_signal(signal.SIGKILL)
    server.wait(timeout=30)
