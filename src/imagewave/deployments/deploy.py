"""Sets up a Prefect server for imagewave. Everything here may be repeated."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from importlib import resources
from typing import cast

import httpx
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    StateType,
)
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState, DoNothing, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.schedules import Schedule
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from imagewave.errors import ImagewaveError
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.words import redacted

POOLS = ("default", "gpu")

# Three heartbeats, as `prefect.env` sets them.
_SILENCE = timedelta(seconds=90)
_Labels = dict[str, str | list[str]]
_FLOWS: _Labels = {
    "prefect.resource.role": "flow",
    "prefect.resource.name": ["wave", "watch", "upkeep", "share", "render"],
}
_RUN: _Labels = {"prefect.resource.id": "prefect.flow-run.*"}
_ENDS = (
    *("Completed", "Waiting", "Failed", "OverBudget", "Crashed", "Cancelled", "Cancelling"),
    # Where a person put the run, whose process may end silently then. If it said that it lives
    # after that, it is declared crashed all the same, and `watch` puts it back.
    *("Suspended", "Paused"),
)


class NoServer(ImagewaveError):
    """There is no Prefect server to deploy to."""


def require_server() -> str:
    """The URL of the Prefect server that answers.

    Raises:
        NoServer: none is named, or it does not answer.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise NoServer(
            "PREFECT_API_URL is not set: there is no Prefect server to deploy to.",
            "Start one with `prefect server start`, then "
            "`export PREFECT_API_URL=http://127.0.0.1:4200/api`.",
        )
    with get_client(sync_client=True, httpx_settings={"timeout": 10}) as client:
        trouble = client.api_healthcheck()
    if trouble is not None:
        raise NoServer(
            f"The Prefect server at {url} does not answer: {trouble}.",
            "Start it, or set PREFECT_API_URL to the one that runs.",
        )
    return str(url)


def deploy(store: Store, *, notify: str | None = None, helpers: int = 0) -> list[str]:
    """Creates or updates work pools, deployments and automations; returns what there is now.

    `notify` names the notification block ("slack-webhook/ops") to tell of failures. A run of
    `wave/wave` may have so many `helpers`.

    Raises:
        NoServer: there is none.
        ImagewaveError: Prefect refuses a deployment, or there is no such block.
    """
    require_server()
    with get_client(sync_client=True) as client:
        for pool in POOLS:
            _make_pool(client, pool)
        deployments = _deploy_file(store)
        general = client.read_deployment_by_name("wave/wave")
        parameters = {**general.parameters, "helpers": helpers}
        client.update_deployment(general.id, DeploymentUpdate(parameters=parameters))
        automations = [
            _put_automation(client, automation) for automation in _automations(client, notify)
        ]
    return [
        *(f"work pool {pool}" for pool in POOLS),
        *(f"deployment {name}" for name in deployments),
        *(f"automation {name}" for name in automations),
    ]


def deploy_wave(
    store: Store, wave: Wave, wave_file: str, schedule: Schedule | None, *, helpers: int = 0
) -> str:
    """Creates or updates the deployment of one wave; returns its name.

    At most one run of it at a time. Later ones queue: what they find done costs nothing, while a
    run cancelled by a collision would leave its wave standing until `watch` tries again.
    """
    from imagewave.flows.prefect.labels import run_tags
    from imagewave.flows.prefect.wave import wave as flow

    require_server()
    made = flow.to_deployment(
        name=wave.name,
        description=redacted(f"The wave {wave.name} of {wave_file}."),
        schedule=schedule,
        parameters={
            "wave_file": wave_file,
            "store": store.url,
            "wait": False,
            "helpers": helpers,
        },
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
        tags=["imagewave", *run_tags(store, wave.name), f"lane:{wave.lane}"],
        work_pool_name="default",
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    cast(RunnerDeployment, made).apply()
    return f"wave/{wave.name}"


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        try:
            client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        except ObjectAlreadyExists:  # somebody else deploys too
            return


def _deploy_file(store: Store) -> Sequence[str]:
    """Deploys prefect.yaml as an operator would; returns the deployments' names."""
    path = resources.files("imagewave.deployments").joinpath("prefect.yaml")
    command = [
        *(sys.executable, "-m", "prefect", "--no-prompt"),
        *("deploy", "--all", "--prefect-file", str(path)),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "IMAGEWAVE_STORE": store.url, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise ImagewaveError(f"`prefect deploy` failed: {words}", f"Its input was {path}.")
    return ("wave/wave", "share/share", "watch/watch", "upkeep/upkeep", "render/render")


def _put_automation(client: SyncPrefectClient, automation: Automation) -> str:
    """Creates the automation, or brings the one of its name up to date."""
    standing = client.read_automations_by_name(automation.name)
    if standing:
        automation.id = standing[0].id
        automation.update()
    else:
        automation.create()
    return automation.name


def _automations(client: SyncPrefectClient, notify: str | None) -> list[Automation]:
    return [
        Automation(
            name="imagewave: zombies",
            description="A run whose process fell silent is declared crashed, so that watch can "
            "send its wave on.",
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat"}
                | {f"prefect.flow-run.{name}" for name in _ENDS},
                match=_RUN,
                match_related=_FLOWS,
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=_SILENCE,
            ),
            actions=[
                ChangeFlowRunState(
                    name="Crashed",
                    force=False,
                    state=StateType.CRASHED,
                    message="No heartbeat: its process is gone, or cannot reach the server.",
                )
            ],
        ),
        Automation(
            name="imagewave: failures",
            description="A run failed or crashed.",
            trigger=_at_end_in("Failed", "Crashed"),
            actions=[_telling(client, notify, "ended as {{ flow_run.state.name }}")],
        ),
        Automation(
            name="imagewave: budget stops",
            description="A wave stopped because a budget is used up.",
            trigger=_at_end_in("OverBudget"),
            actions=[_telling(client, notify, "stopped: a budget is used up")],
        ),
    ]


def _at_end_in(*states: str) -> EventTrigger:
    return EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in states},
        match=_RUN,
        match_related=_FLOWS,
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
    )


def _telling(
    client: SyncPrefectClient, notify: str | None, what: str
) -> SendNotification | DoNothing:
    """Sends a message to the block; without one, the event feed alone says that it happened."""
    if notify is None:
        return DoNothing()
    kind, _, name = notify.partition("/")
    try:
        block = client.read_block_document_by_name(name=name, block_type_slug=kind)
    except (ObjectNotFound, httpx.HTTPStatusError):
        raise ImagewaveError(
            f"There is no notification block {notify!r}.",
            "Name one as type/name; `prefect block ls` lists them.",
        ) from None
    return SendNotification(
        block_document_id=block.id,
        subject=f"imagewave: {{{{ flow_run.name }}}} {what}",
        body="{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
    )
