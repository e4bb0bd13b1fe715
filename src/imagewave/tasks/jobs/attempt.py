"""One attempt at a round: all of its jobs on their way through send, watch and gather."""

from collections.abc import Sequence

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.killpoints import reached
from imagewave.tasks.jobs.board import Board
from imagewave.tasks.jobs.gathering import Gathering
from imagewave.tasks.jobs.sending import Sending
from imagewave.tasks.jobs.watching import Watching
from imagewave.tasks.jobs.work import Crew, Hands, Setting, Standing
from imagewave.words import counted


class Waiting(ImagewaveError):
    """Only provider jobs are left to wait for, and this run was told not to."""

    def __init__(self, jobs: Sequence[str]) -> None:
        super().__init__(
            f"With the provider: {counted(len(jobs), 'job')}, {', '.join(jobs)}.",
            "Run the wave again to go on; nothing is asked for twice.",
        )
        self.jobs = tuple(jobs)


def finish(
    run: Setting,
    hands: Hands,
    jobs: Sequence[str],
    crew: Crew | None = None,
    *,
    before: Standing | None = None,
) -> Standing:
    """Works until every job is over, or nothing more can be done now; returns how the round stands.

    `before` is how it stood after the attempts before this one. With a crew, jobs that the provider
    has ended are collected by whoever has time for them. What goes wrong with one job is raised
    only when all others are over.

    Raises:
        BudgetExceeded: not all jobs could be paid for; those that were are collected.
        Waiting: there is nothing to do but to wait, and the run does not wait.
        ImagewaveError: what keeps a job from its end.
    """
    board = Board(run.store, jobs)
    gathering = Gathering(run, hands, board, crew)
    sending = Sending(
        run, hands, board, lambda job_id: job_id in board.out or gathering.has(job_id)
    )
    watching = Watching(run, board)
    shortest, longest = run.wave.wait.poll_seconds
    pause = shortest

    def standing() -> Standing:
        return board.standing.after(before) if before else board.standing

    hands.tell(standing())
    while board.ended < len(jobs):
        ended = board.ended
        moved = sending.step()
        for job_id, status in watching.step():
            gathering.start(job_id, status)
            moved = True
        moved |= gathering.step()
        hands.tell(standing())
        if sending.unaffordable and not board.out and not gathering.busy:
            raise sending.unaffordable
        if moved or board.ended > ended:
            pause = shortest
            continue
        if not gathering.busy and not run.wait and not watching.attends():
            raise Waiting([*board.out, *board.to_send])
        reached("wait.polling")
        clock.sleep(min(0.2, pause) if gathering.busy else pause)
        pause = min(longest, pause * 1.5)
    for error in board.failed.values():
        raise error
    return standing()
