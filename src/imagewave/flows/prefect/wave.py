"""A wave as a flow of Prefect's: for a server, its workers and its UI."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from imagewave.flows.prefect.artifacts import showing
from imagewave.flows.prefect.helpers import crew
from imagewave.flows.prefect.keys import fetch_keys
from imagewave.flows.prefect.labels import flow_run_name, label_run
from imagewave.flows.prefect.tasks import Tasks
from imagewave.flows.run import Run
from imagewave.flows.settle import Waiting, helped_by
from imagewave.flows.steps import carried_out_by
from imagewave.flows.wave import run_wave
from imagewave.storage.money.ledger import BudgetExceeded
from imagewave.tasks.collecting.sharing import AT_ONCE


@flow(
    name="wave",
    flow_run_name=flow_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE),  # type: ignore[arg-type]
    validate_parameters=False,
)
def wave(
    wave_file: str,
    store: str,
    wait: bool = True,
    lane: str | None = None,
    rerun: str | None = None,
    helpers: int = 0,
    edition: str | None = None,
) -> str | State[str | BudgetExceeded]:
    """Runs the wave of a file to its end, or as far as it goes without waiting.

    The parameters are those of `run_wave`. With `wait=False` the run ends in a state named Waiting
    once only provider jobs are left. Returns the path of the wave's report in the store, "" while
    it waits.

    Raises:
        BudgetExceeded: a budget is used up; raise it and run again.
    """
    fetch_keys()
    try:
        return run_wave(
            wave_file,
            store,
            wait=wait,
            lane=lane,
            rerun=rerun,
            helpers=helpers,
            edition=edition,
            around=_on_the_server,
        )
    except Waiting as waiting:
        return Completed(name="Waiting", message=str(waiting), data="")
    except BudgetExceeded as error:
        return Failed(name="OverBudget", message=str(error), data=error)


@contextmanager
def _on_the_server(run: Run) -> Iterator[None]:
    """Has the server show the run, and its steps as task runs."""
    label_run(run)
    with carried_out_by(Tasks()), helped_by(crew), showing(run):
        yield
