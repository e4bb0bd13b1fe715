"""What runs and tasks are called in the Prefect UI."""

import re
from pathlib import PurePosixPath
from typing import Any

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from imagewave.flows.run import Run, current_resources, current_run
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.store import Store
from imagewave.words import redacted


def run_tags(store: Store, wave: str) -> list[str]:
    """Tags that every run of this wave on this store carries, by which `watch` finds them."""
    return [f"wave:{wave}", f"store:{store.id[:8]}"]


def flow_run_name() -> str:
    """A run's first name, before its wave file has been read."""
    parameters: dict[str, Any] = runtime.flow_run.parameters or {}
    return PurePosixPath(redacted(str(parameters["wave_file"]))).stem


def label_run(run: Run) -> None:
    """Names the flow run for its wave and tags it with wave, lane and store."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    flow_run = context.flow_run
    tags = {*flow_run.tags, *run_tags(run.store, run.wave.name), f"lane:{run.lane.name}"}
    with get_client(sync_client=True) as client:
        client.update_flow_run(
            flow_run.id, name=f"{run.wave.name} {run.wave.revision}", tags=sorted(tags)
        )


def job_task_name() -> str:
    """Verb, wave, stage and job of a task run that is about one job."""
    job_id = str(runtime.task_run.parameters["job_id"])
    plan = JobFolder(current_resources().store, job_id).plan()
    verb = str(runtime.task_run.task_name)
    return f"{plan.wave} {plan.kind} {plan.round}.{plan.attempt} {verb} {job_id[:8]}"


def stage_task_name() -> str:
    """Wave, stage and verb of a task run that is about all pictures of a stage."""
    parameters = runtime.task_run.parameters
    stage = parameters.get("stage") or " ".join(
        str(parameters[name]) for name in ("tier", "number") if name in parameters
    )
    words = (current_run().wave.name, stage, runtime.task_run.task_name)
    return " ".join(str(word) for word in words if word)


def artifact_key(wave: str, what: str) -> str:
    """An artifact's key: Prefect takes lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{wave}-{what}").strip("-")
