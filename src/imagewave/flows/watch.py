"""Goes on with the waves that were handed over, as soon as a job they wait for has ended.

Two of these at once do no harm: a run is started under a key that names what is known of the
wave's jobs, and a wave that runs twice all the same spends nothing twice.
"""

from datetime import UTC, datetime, timedelta
from functools import partial

from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterIdempotencyKey,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment

from imagewave.flows.keys import fetch_keys
from imagewave.flows.labels import run_tags
from imagewave.storage.store import Store
from imagewave.tasks.lanes import open_lane
from imagewave.tasks.watch import Due, survey

# What a run that ended without moving its wave teaches: to wait, ever longer, before the next.
_FIRST_PAUSE = timedelta(minutes=10)
_LONGEST_PAUSE = timedelta(days=1)
# A crash is nobody's verdict on the wave: so many are followed by another run at once.
_CRASHES = 3
_MOST_ATTEMPTS = 50

_ACTIVE = [
    StateType.RUNNING,
    StateType.PENDING,
    StateType.SCHEDULED,
    StateType.CANCELLING,
    StateType.PAUSED,
]


@flow(name="watch", flow_run_name="watch {store}")
def watch(store: str, deployment: str = "wave") -> dict[str, str]:
    """Polls all open jobs of the store once and starts a run for each wave that can move.

    A wave with a deployment of its own (`wave/<wave>`) runs by that, any other by `deployment`.
    Returns, by wave, what was done about it. A provider that does not answer is a warning: the next
    look asks it again.
    """
    fetch_keys()
    opened = Store.open(store, create=False)
    found = survey(opened, partial(open_lane, store=opened))
    logger = get_run_logger()
    done = dict.fromkeys(found.waiting, "waits for its jobs")
    with get_client(sync_client=True) as client:
        for due in found.due:
            done[due.handover.wave] = _send_on(client, opened, due, deployment)
    for wave, what in done.items():
        logger.info("%s: %s", wave, what)
    for trouble in found.trouble:
        logger.warning("%s", trouble)
    return done


def _send_on(client: SyncPrefectClient, store: Store, due: Due, deployment: str) -> str:
    """Starts a run of the wave, unless one is under way or was tried too recently."""
    handover = due.handover
    tags = run_tags(store, handover.wave)
    if _under_way(client, tags):
        return "has a run under way"
    latest = _latest(client, tags)
    if latest and latest.state_type is StateType.CANCELLED:
        return "was cancelled; run it by hand to go on"
    keys = [f"watch-{store.id}-{due.moment}-{attempt}" for attempt in range(1, _MOST_ATTEMPTS + 1)]
    tried = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=keys)),
        sort=FlowRunSort.END_TIME_DESC,
    )
    if tried and datetime.now(UTC) < (again := _not_before(tried)):
        return f"ended without moving on; next try at {again:%Y-%m-%d %H:%M} UTC"
    if len(tried) == _MOST_ATTEMPTS:
        return f"was tried {len(tried)} times in vain; run it by hand to go on"
    run_deployment(
        f"wave/{_deployment_of(client, handover.wave, deployment)}",
        parameters={
            "wave_file": handover.wave_file,
            "store": store.url,
            "lane": handover.lane,
            "wait": False,
            "helpers": handover.helpers,
        },
        tags=tags,
        idempotency_key=keys[len(tried)],
        timeout=0,
        as_subflow=False,
    )
    return f"sent on: {', '.join(due.reasons)}"


def _under_way(client: SyncPrefectClient, tags: list[str]) -> bool:
    """Whether a run of the wave is under way, or late; what a schedule plans for later is not."""
    return bool(
        client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                tags=FlowRunFilterTags(all_=tags),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ACTIVE)),
                expected_start_time=_by_now(),
            ),
            limit=1,
        )
    )


def _latest(client: SyncPrefectClient, tags: list[str]) -> FlowRun | None:
    """The wave's run that ended last."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=tags),
            expected_start_time=_by_now(),
        ),
        sort=FlowRunSort.END_TIME_DESC,
        limit=1,
    )
    return runs[0] if runs else None


def _by_now() -> FlowRunFilterExpectedStartTime:
    return FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)})


def _not_before(tried: list[FlowRun]) -> datetime:
    """When the wave may be tried again after these runs, the newest first."""
    crashes = sum(run.state_type is StateType.CRASHED for run in tried)
    ended = [datetime.fromisoformat(str(run.end_time or run.created)) for run in tried]
    verdicts = len(tried) - min(crashes, _CRASHES)
    if not verdicts:
        return max(ended)
    return max(ended) + min(_LONGEST_PAUSE, _FIRST_PAUSE * (1 << min(verdicts - 1, 10)))


def _deployment_of(client: SyncPrefectClient, wave: str, otherwise: str) -> str:
    own = client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["wave"])),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[wave])),
        limit=1,
    )
    return wave if own else otherwise
