"""The steps of a wave as tasks of Prefect's."""

from functools import cache
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.utilities.annotations import quote

from imagewave.flows.prefect.labels import job_task_name, stage_task_name
from imagewave.flows.run import current_resources
from imagewave.flows.steps import Step
from imagewave.tasks.collecting.sharing import Started

P = ParamSpec("P")
R = TypeVar("R")


class Tasks:
    """Carries out steps as task runs of the flow run that calls them.

    What a step on a job returned is kept, so that a repeated flow run skips it. That of a stage is
    not: what it decided stands in the facts, and repeating it reads that.
    """

    def call(self, step: Step[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the step's task."""
        return cast(R, task_of(step)(*_whole(args), **kwargs))

    def submit(self, step: Step[P, R], *args: P.args, **kwargs: P.kwargs) -> Started:
        """Has the flow's task runner run the step's task."""
        return task_of(step).submit(*_whole(args), **kwargs)


@cache
def task_of(step: Step[Any, Any]) -> Task[..., Any]:
    """The task that the step is."""
    if step.of_job:
        return task(
            name=step.name,
            task_run_name=job_task_name,
            cache_key_fn=_cache_key,
            persist_result=True,
            result_serializer="json",
        )(step.fn)
    return task(name=step.name, task_run_name=stage_task_name, cache_policy=NO_CACHE)(step.fn)


def _whole(args: tuple[Any, ...]) -> list[Any]:
    # Prefect would look for futures in the thousands of parts of the others; runs are named for
    # those that are words and numbers.
    return [arg if isinstance(arg, str | int) else quote(arg) for arg in args]


def _cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    # The store's id keeps the results of a deleted store out.
    return f"{context.task.name}-v1-{current_resources().store.id}-{parameters['job_id']}"
