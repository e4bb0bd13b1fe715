"""A helper's run: takes its share of the jobs that a wave's run has offered, until none is left."""

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from imagewave.flows.keys import fetch_keys
from imagewave.flows.run import Means, using
from imagewave.flows.settle import collect
from imagewave.storage.shares import Shares
from imagewave.storage.store import Store
from imagewave.tasks.lanes import Lanes
from imagewave.tasks.screening.pool import Pool
from imagewave.tasks.sharing import AT_ONCE, Sharing, help_out


@flow(
    name="share",
    flow_run_name="share {work}",
    task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE),  # type: ignore[arg-type]
    validate_parameters=False,
)
def share(store: str, work: str, max_pixels: int) -> int:
    """Collects jobs of `work` together with the run that offered them; returns how many.

    Ends when all that was offered is done, by whomever: so it takes over what another one, killed
    or cut off, has left. Pictures of more than `max_pixels` are not decoded.
    """
    fetch_keys()
    opened = Store.open(store, create=False)
    shares = Shares(opened, work)
    shares.look()
    if not shares.left:  # this run was late: spare the processes of the pool
        return 0
    with (
        Pool(max_pixels=max_pixels) as pool,
        using(Means(store=opened, lanes=Lanes(opened, ""), pool=pool)),
        shares.renewing(),
    ):
        return help_out(Sharing(opened, shares, collect.submit))
