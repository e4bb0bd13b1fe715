"""A helper's run: takes its share of the jobs that a wave's run has offered, until none is left."""

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from imagewave.flows.prefect.keys import fetch_keys
from imagewave.flows.prefect.tasks import Tasks
from imagewave.flows.run import Resources, using
from imagewave.flows.settle import collect
from imagewave.flows.steps import carried_out_by
from imagewave.providers.lanes import Lanes
from imagewave.storage.jobs.folder import MISSING_HOURS
from imagewave.storage.jobs.shares import Shares
from imagewave.storage.store import Store
from imagewave.tasks.collecting.sharing import AT_ONCE, Sharing, help_out
from imagewave.tasks.screening.pool import Pool


@flow(
    name="share",
    flow_run_name="share {work}",
    task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE),  # type: ignore[arg-type]
    validate_parameters=False,
)
def share(store: str, work: str, max_pixels: int, missing_hours: float = MISSING_HOURS) -> int:
    """Collects jobs of `work` together with the run that offered them; returns how many.

    Ends when all that was offered is done, by whomever: so it takes over what another one, killed
    or cut off, has left. Pictures of more than `max_pixels` are not decoded; what a provider does
    not deliver is lost when it was looked for again for `missing_hours`.
    """
    fetch_keys()
    opened = Store.open(store, create=False)
    shares = Shares(opened, work)
    shares.look()
    if not shares.left:  # this run was late: spare the processes of the pool
        return 0
    with Pool(max_pixels=max_pixels) as pool:
        resources = Resources(
            store=opened, lanes=Lanes(opened, ""), pool=pool, missing_hours=missing_hours
        )
        with using(resources), carried_out_by(Tasks()), shares.renewing():
            return help_out(Sharing(opened, shares, collect.submit))
