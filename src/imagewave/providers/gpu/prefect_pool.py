"""Renders jobs of the GPU lane on a Prefect work pool: a flow run of the deployment `render` each.

This module is one of the few that know Prefect, because here Prefect is the provider.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from imagewave.providers.protocol import JobState, Rejected, Unavailable, Unsure
from imagewave.storage.jobs.renders import RenderFolder
from imagewave.storage.requests import FailureClass

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

DEPLOYMENT = "render/render"
POOL = "gpu"

_HOW = "Run `imagewave deploy`, and where the GPU is `prefect worker start -p gpu`."


class PrefectEngine:
    """Asks the Prefect server for flow runs. A run carries its job's token as idempotency key, so
    that asking twice makes one, and as a tag, by which it is found."""

    name = "prefect"

    def check(self) -> None:
        """Makes sure that the deployment is there."""
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        with _answering(), get_client(sync_client=True) as client:
            try:
                client.read_deployment_by_name(DEPLOYMENT)
            except ObjectNotFound:
                raise Rejected(
                    f"Prefect has no deployment {DEPLOYMENT!r}.", _HOW, FailureClass.INVALID
                ) from None

    def start(self, folder: RenderFolder) -> None:
        """Asks for the flow run; the same token makes one, however often it is asked for."""
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

        token = folder.token
        try:
            with get_client(sync_client=True) as client:
                deployment = client.read_deployment_by_name(DEPLOYMENT)
                client.create_flow_run_from_deployment(
                    deployment.id,
                    name=f"render {token}",
                    parameters={"store": folder.store.url, "token": token},
                    idempotency_key=token,
                    tags=["imagewave", token],
                )
        except ObjectNotFound:
            raise Rejected(
                f"Prefect has no deployment {DEPLOYMENT!r}.", _HOW, FailureClass.INVALID
            ) from None
        except PrefectHTTPStatusError as error:
            said = f"The Prefect server answered {error.response.status_code}: {error}"
            if 400 <= error.response.status_code < 500:
                raise Rejected(said, "", FailureClass.INVALID) from error
            raise Unsure(said) from error
        except (httpx.HTTPError, RuntimeError) as error:
            raise Unsure(f"No answer from the Prefect server: {error}") from error

    def has(self, folder: RenderFolder) -> bool:
        """Whether Prefect has a run with the job's token."""
        return bool(_runs(folder.token))

    def look(self, folder: RenderFolder) -> tuple[JobState, str]:
        """Where the flow run stands, the newest of them where an operator has made more."""
        from prefect.client.schemas.objects import StateType

        runs = _runs(folder.token)
        if not runs:
            return JobState.FAILED, "Prefect does not know its flow run any more."
        states = {
            None: JobState.PENDING,
            StateType.SCHEDULED: JobState.PENDING,
            StateType.PENDING: JobState.PENDING,
            StateType.COMPLETED: JobState.SUCCEEDED,
            StateType.FAILED: JobState.FAILED,
            StateType.CRASHED: JobState.FAILED,
            StateType.CANCELLED: JobState.CANCELLED,
        }
        found = [(states.get(run.state_type, JobState.RUNNING), run) for run in runs]
        for state, _ in found:
            if not state.done:
                return state, ""
        state, newest = found[-1]
        message = (newest.state.message or "") if newest.state else ""
        return state, f"The flow run {newest.name!r} is {newest.state_name}: {message}"

    def stop(self, folder: RenderFolder) -> None:
        """Cancels what has not begun; what has looks for itself whether the job is cancelled."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.objects import StateType
        from prefect.states import Cancelled

        for run in _runs(folder.token):
            if run.state_type in (StateType.SCHEDULED, StateType.PENDING):
                with _answering(), get_client(sync_client=True) as client:
                    client.set_flow_run_state(run.id, Cancelled(message="The job was cancelled."))


def _runs(token: str) -> "list[FlowRun]":
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
    from prefect.client.schemas.sorting import FlowRunSort

    with _answering(), get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[token])),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        )


@contextmanager
def _answering() -> Iterator[None]:
    """Turns a server that does not answer into Unavailable."""
    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        raise Unavailable(
            f"No proper answer from the Prefect server: {error}",
            "Check PREFECT_API_URL and the server.",
        ) from error
