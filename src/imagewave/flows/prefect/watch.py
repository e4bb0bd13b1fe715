"""Goes on with the waves that were handed over, as soon as a job they wait for has ended.

Two of these at once do no harm: a run is started under a key that names what is known of the
wave's jobs, and a wave that runs twice all the same spends nothing twice. Looks that were asked for
(by a webhook, the schedule or a person) before a look began are covered by it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
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
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.states import Completed

from imagewave.errors import ImagewaveError
from imagewave.flows.prefect.keys import fetch_keys
from imagewave.flows.prefect.labels import run_tags
from imagewave.providers.lanes import Lanes
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Screen
from imagewave.tasks.jobs.handed_over import Due, Survey, survey, take_in
from imagewave.tasks.screening.pool import Pool
from imagewave.words import legible

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


class NotSentOn(ImagewaveError):
    """Prefect did not start the runs of some waves; the others were sent on."""


@flow(name="watch", flow_run_name="watch {store}")
def watch(store: str, deployment: str = "wave") -> dict[str, str]:
    """Polls all open jobs of the store once and starts a run for each wave that can move.

    A wave with a deployment of its own (`wave/<wave>`) runs by that, any other by `deployment`.
    Returns, by wave, what was done about it. A job or provider that does not answer is a warning:
    the next look asks it again.

    Raises:
        NotSentOn: Prefect did not start the runs of some waves.
    """
    fetch_keys()
    opened = Store.open(store, create=False)
    logger = get_run_logger()
    refused = {}
    with get_client(sync_client=True) as client:
        asked_for = _asked_for(client, store)
        found = survey(opened, Lanes(opened).named)
        trouble = [*found.trouble, *_taken_in(opened, found)]
        done = dict.fromkeys(
            (left.wave for left in found.leftovers), "took in what nobody waits for"
        )
        done |= dict.fromkeys(found.waiting, "waits for its jobs")
        for due in found.due:
            wave = due.handover.wave
            try:
                done[wave] = _send_on(client, opened, due, deployment)
            except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound) as error:
                refused[wave] = f"{wave}: {type(error).__name__}: {error}"
        for wave, what in done.items():
            logger.info("%s: %s", wave, legible(what))
        for what in trouble:
            logger.warning("%s", legible(what, lines=True))
        if refused:
            raise NotSentOn(
                f"Prefect did not start a run: {'; '.join(refused.values())}.",
                "`imagewave deploy` puts the deployments there again.",
            )
        _cover(client, asked_for)
    return done


def _taken_in(store: Store, found: Survey) -> list[str]:
    if not found.leftovers:  # spare the processes of the pool
        return []
    with Pool(max_pixels=Screen().max_pixels) as pool:
        return take_in(store, found.leftovers, pool)


def _asked_for(client: SyncPrefectClient, store: str) -> list[FlowRun]:
    """The looks at this store that are due and have not begun, but for this very one.

    Those to come by the schedule are not due yet.
    """
    found = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["watch"])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            expected_start_time=_by_now(),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
    )
    return [
        run
        for run in found
        if run.parameters.get("store") == store and str(run.id) != str(flow_run.id)
    ]


def _cover(client: SyncPrefectClient, looks: Iterable[FlowRun]) -> None:
    """Ends looks that were asked for before this one began: it has seen what they would see.

    At its end, so that none is lost where this one dies; and unless they have begun meanwhile.
    """
    for run in looks:
        now = client.read_flow_run(run.id)
        if now.state and now.state.is_scheduled():
            covered: State[Any] = Completed(name="Covered", message=f"By the look {flow_run.name}.")
            client.set_flow_run_state(run.id, covered)


def _send_on(client: SyncPrefectClient, store: Store, due: Due, deployment: str) -> str:
    """Starts a run of the wave, unless one is under way, a person has stopped it, or it was tried
    too recently."""
    handover = due.handover
    tags = run_tags(store, handover.wave)
    if (active := _under_way(client, tags)) is not None:
        if active.state_type is StateType.PAUSED:
            return f"is {_in_words(active.state_name)}; resume or cancel that run"
        return "has a run under way"
    latest = _latest(client, tags)
    if latest and (stopped := _stopped_by_a_person(client, latest)):
        return stopped
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
            "edition": handover.edition or None,
        },
        tags=tags,
        idempotency_key=keys[len(tried)],
        timeout=0,
        as_subflow=False,
    )
    return f"sent on: {', '.join(due.reasons)}"


def _under_way(client: SyncPrefectClient, tags: list[str]) -> FlowRun | None:
    """A run of the wave that is under way, or late; what a schedule plans for later is not."""
    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=tags),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ACTIVE)),
            expected_start_time=_by_now(),
        ),
        limit=1,
    )
    return found[0] if found else None


def _stopped_by_a_person(client: SyncPrefectClient, latest: FlowRun) -> str:
    """What a person did to the wave's latest run that still holds; "" where nobody did anything.

    The process of a run that was suspended or is being cancelled may end in any way, and its
    silence is taken for a crash: what the person said last counts. A run that was declared crashed
    while it was suspended is suspended again, so that it can be resumed.
    """
    history = sorted(client.read_flow_run_states(latest.id), key=lambda state: state.timestamp)
    ends = []
    while history and history[-1].is_final():
        ends.append(history.pop())
    if any(state.is_cancelled() for state in ends) or (history and history[-1].is_cancelling()):
        return "was cancelled; run it by hand to go on"
    if not history or not history[-1].is_paused():
        return ""
    suspended = history[-1]
    if latest.state_type is not StateType.CRASHED:
        return f"was {_in_words(suspended.name)}, and has ended since; run it by hand to go on"
    again = State(
        type=suspended.type,
        name=suspended.name,
        message=suspended.message,
        state_details=suspended.state_details,
    )
    client.set_flow_run_state(latest.id, again, force=True)
    return f"is {_in_words(suspended.name)}; resume or cancel that run"


def _in_words(name: str | None) -> str:
    return f"{(name or 'paused').lower()} in Prefect"


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
    series = wave.partition(".")[0]
    own = client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["wave"])),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[series])),
        limit=1,
    )
    return series if own else otherwise
