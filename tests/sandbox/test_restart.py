"""The sandbox's own crashes: its state is on disk, and no line is billed twice or lost."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from google.genai import types
from tests.sandbox.conftest import FAST, LITE, Bench, client_for, request_row

from imagewave.errors import ImagewaveError
from imagewave.sandbox.core import disk
from imagewave.sandbox.embedded import EmbeddedSandbox

pytestmark = pytest.mark.heavy

_ROWS = [request_row(f"r{i}", f"a boat {i}") for i in range(40)]


def _bench(sandbox: EmbeddedSandbox, state: Path) -> Bench:
    return Bench(sandbox, state, client_for(sandbox.url))


def test_a_job_outlives_the_server_and_is_billed_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    settings = {**FAST, "running_s": 0.3}
    sandbox = EmbeddedSandbox(state, settings=settings)
    sandbox.start()
    bench = _bench(sandbox, state)
    name = bench.create(tmp_path, _ROWS)
    bench.control("PUT", "faults", {"get_500": 1})
    for delay in (0.05, 0.15, 0.3, 0.5):
        time.sleep(delay)
        sandbox.kill()
        sandbox.start()
    bench = _bench(sandbox, state)
    with pytest.raises(Exception, match="500"):
        bench.client.batches.get(name=name)
    job = bench.wait(name)
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED
    assert job.dest is not None
    lines = bench.client.files.download(file=str(job.dest.file_name)).splitlines()
    assert [json.loads(line)["key"] for line in lines] == [row["key"] for row in _ROWS]
    keys = [entry["key"] for entry in bench.control("GET", "ledger")]
    assert keys == [row["key"] for row in _ROWS]
    assert bench.control("GET", "ledger/summary")["keys_billed_again"] == 0
    sandbox.stop()


def test_a_torn_ledger_line_is_dropped_and_offered_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with EmbeddedSandbox(state, settings=FAST) as sandbox:
        bench = _bench(sandbox, state)
        name = bench.create(tmp_path, _ROWS[:3])
        bench.wait(name)
    # As a kill in the middle of billing leaves it: half a line, and the job not marked done.
    ledger = state / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    path = state / "jobs" / f"{name.removeprefix('batches/')}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "end": "", "result": ""}))
    with EmbeddedSandbox(state, settings=FAST) as sandbox:
        bench = _bench(sandbox, state)
        job = bench.wait(name)
        assert [entry["key"] for entry in bench.control("GET", "ledger")] == ["r0", "r1", "r2"]
        assert job.dest is not None
        content = bench.client.files.download(file=str(job.dest.file_name))
        assert len(content.splitlines()) == 3


def test_a_full_disk_is_told_at_once_and_the_job_goes_on_when_there_is_room(tmp_path: Path) -> None:
    state, settings = tmp_path / "state", {**FAST, "tiny": 1}
    sandbox = EmbeddedSandbox(state, settings=settings)
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        sandbox.start()  # its files may not grow beyond that: it is a disk's end, within our means
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    bench = _bench(sandbox, state)
    with pytest.raises(Exception, match=r"500.* \[Errno 27\] File too large"):
        bench.client.batches.create(
            model=LITE, src=[types.InlinedRequest(contents="a boat " * 5000)]
        )
    name = bench.create(tmp_path, _ROWS[:1])
    with pytest.raises(Exception, match=rf"400.*{state}/jobs broke off: \[Errno 27\] File too lar"):
        bench.wait(name)
    sandbox.stop()
    with EmbeddedSandbox(state, settings=settings) as again:
        assert _bench(again, state).wait(name).state == types.JobState.JOB_STATE_SUCCEEDED


def test_the_server_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from imagewave.sandbox.embedded import EmbeddedSandbox\n"
        "sandbox = EmbeddedSandbox(Path(sys.argv[1]))\n"
        "sandbox.start()\n"
        "print(sandbox.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    # The folder is free again exactly when the child is gone.
    disk.lock_folder(tmp_path).close()


def test_a_state_folder_has_one_server_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedSandbox(tmp_path, settings=FAST) as sandbox:
        monkeypatch.setattr(disk, "_LOCK_PATIENCE_S", 0.1)
        with pytest.raises(disk.FolderInUse, match=f"process {sandbox.pid} already serves"):
            disk.lock_folder(tmp_path)


def test_a_second_run_is_told_who_has_the_sandbox(tmp_path: Path) -> None:
    with disk.lock_folder(tmp_path), pytest.raises(ImagewaveError) as told:
        EmbeddedSandbox(tmp_path, settings=FAST).start()

    assert f"Another run uses this store's sandbox: process {os.getpid()} already" in str(
        told.value
    )
    assert "`imagewave sandbox serve`" in told.value.fix
    assert "FolderInUse" not in str(told.value)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ImagewaveError, match="unknown setting 'tini'"):
        EmbeddedSandbox(tmp_path, settings={"tini": 1}).start()
    (tmp_path / "file").touch()
    with pytest.raises(ImagewaveError, match=r"cannot write to .*/file/state: Not a directory\."):
        EmbeddedSandbox(tmp_path / "file" / "state").start()
