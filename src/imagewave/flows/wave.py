"""One wave, from briefs to delivered images.

It reads like the list in the design. Every stage first looks at what the facts already say and
does what is missing, so a run may be killed, repeated or run twice at once.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import count

from imagewave.flows.progress import Progress, tell
from imagewave.flows.run import Run, current_run, open_run
from imagewave.flows.settle import harvest, settle
from imagewave.flows.steps import step
from imagewave.killpoints import reached
from imagewave.storage.money.ledger import BudgetExceeded
from imagewave.storage.requests import Kind
from imagewave.storage.rounds import reruns as rerunning
from imagewave.storage.rounds.reruns import Rerun
from imagewave.storage.rounds.rounds import Answer, Ask, Round, load, record
from imagewave.storage.store import Store
from imagewave.storage.waves.editions import choose, current
from imagewave.storage.waves.handover import Handover, absolute, hand_over, take_back
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks import select as selecting
from imagewave.tasks.delivery import deliver as delivering
from imagewave.tasks.drafting import expand as expanding
from imagewave.tasks.drafting.draft import Prompts, draft_asks
from imagewave.tasks.drafting.fallback import fallback_asks
from imagewave.tasks.drafting.imports import import_asks
from imagewave.tasks.final import drafts_used_up, final_asks
from imagewave.tasks.judging import judge as scoring
from imagewave.tasks.judging.judge import Judgement
from imagewave.tasks.reporting import report as reporting
from imagewave.tasks.rerun import again, order, replace_drafts
from imagewave.tasks.screening import screen as screening
from imagewave.tasks.select import Candidate, Decision

Asked = dict[tuple[str, str], Ask]

_LOG = logging.getLogger(__name__)


def run_wave(
    wave_file: str,
    store: str,
    *,
    wait: bool = True,
    lane: str | None = None,
    rerun: str | None = None,
    helpers: int = 0,
    edition: str | None = None,
    around: Callable[[Run], AbstractContextManager[object]] = nullcontext,
) -> str:
    """Runs the wave of a file to its end, or as far as it goes without waiting.

    `rerun` has what failed made again, and nothing else: all of it (""), or what an SQL condition
    over the failed requests picks. `lane` takes the place of the wave file's. With `wait=False`
    the wave is left to `watch`. Finished jobs are collected together with up to `helpers` runs of
    the deployment `share`. `edition` names one in the wave file's place. `around` is entered for
    the time of the work. Returns the path of the wave's report in the store.

    Raises:
        Waiting: only provider jobs are left, and it was told not to wait for them.
        BudgetExceeded: a budget is used up; raise it and run again.
    """
    opened, of_file = Store.open(store), load_wave(wave_file)
    loaded = choose(opened, of_file, edition, begin=rerun is None)
    if rerun is None and not edition and loaded.edition != current(of_file):
        _LOG.warning("Goes on with %s, which was begun and not finished.", loaded.name)
    with (
        open_run(opened, loaded, wait=wait, lane=lane, helpers=helpers) as run,
        around(run),
    ):
        if not wait:
            path = absolute(wave_file)
            handover = Handover(
                wave=run.wave.name,
                wave_file=path,
                lane=lane,
                helpers=helpers,
                edition=run.wave.edition,
            )
            hand_over(run.store, handover)
        try:
            if rerun is not None:
                order(run.store, run.wave, rerun)
            written, open_jobs = stages(run)
        except BudgetExceeded as error:
            run.note("over budget", error.budget, str(error))
            raise
        if not open_jobs:  # else `watch` sends the wave on once more, when they have ended
            take_back(run.store, run.wave.name)
        return written


def stages(run: Run) -> tuple[str, list[str]]:
    """All that a wave is, in order.

    Returns the path of its report, and the jobs that were given up and may still bring something.
    """
    harvest(run)
    prompts = expand(run)
    while True:
        reruns = rerunning.load(run.store, run.wave.name, run.wave.revision)
        drafts, draft_asked = draft(run, prompts, reruns)
        finals, final_asked, used_up = final(run, prompts, drafts, draft_asked, reruns)
        if not replace_drafts(run.store, run.wave, reruns, used_up):
            break
    deliver(finals, {**draft_asked, **final_asked}, len(reruns))
    open_jobs = harvest(run)
    return report(), open_jobs


def expand(run: Run) -> Prompts:
    """Every brief's prompts."""
    round = run.round(Kind.EXPAND, 1)
    asks = load(run.store, round)
    if asks is None:
        asks = record(
            run.store,
            round,
            expanding.expansion_asks(run.wave, lane=run.lanes.name_for(run.wave.expand.model)),
        )
    found = settle(run, round, asks, "expand").answers
    return write_prompts(asks, found)


def draft(run: Run, prompts: Prompts, reruns: Sequence[Rerun]) -> tuple[list[Decision], Asked]:
    """Rounds of drafts, until every brief has enough accepted ones or is given up.

    Pictures that were imported make a round of their own before others are asked for.
    Each rerun adds one round, of the drafts that it makes again; or, where it is to replace drafts,
    such rounds as before.
    """
    seen: dict[tuple[str, str], Candidate] = {}
    decisions: list[Decision] = []
    waiting = list(reruns)
    redo: Rerun | None = None  # first come the wave's own rounds
    shown = 0  # rounds that ask for nothing are not told
    for number in count(1):
        round = run.round(Kind.DRAFT, number)
        asks = load(run.store, round)
        if asks is None:
            if redo and named(redo):
                planned = again(run.store, run.wave, redo, Kind.DRAFT)
            else:
                planned = [] if redo else import_asks(run.store, run.wave, number, prompts)
                planned = planned or draft_asks(
                    run.store,
                    run.wave,
                    number,
                    prompts,
                    lane=run.lanes.name_for(run.wave.draft.model),
                    used_up=redo.used_up if redo else None,
                )
            asks = record(run.store, round, planned, by_name=named(redo))
        if asks:
            shown += 1
            assessed = run_round(run, round, asks, f"draft {shown}", by_name=named(redo))
            seen |= by_request(assessed)
            candidates = list(seen.values())
            decisions = select("draft", number, candidates, run.wave.judge.enabled)
        if not asks or named(redo):
            if not waiting:
                return decisions, {key: candidate.ask for key, candidate in seen.items()}
            redo = waiting.pop(0)
    raise AssertionError("rounds are counted without end")


def final(
    run: Run,
    prompts: Prompts,
    drafts: Sequence[Decision],
    drawn: Asked,
    reruns: Sequence[Rerun],
) -> tuple[list[Decision], Asked, dict[str, int]]:
    """Rounds of finals: the accepted drafts', then others where a final fails.

    Each rerun begins with the finals that it makes again; then, as before, come those that lack.
    What is returned last are the drafts to replace, by brief.
    """
    if run.wave.final.carry == "accept":
        return [draft for draft in drafts if draft.decision == "accepted"], {}, {}
    seen: dict[tuple[str, str], Candidate] = {}
    decisions: list[Decision] = []
    waiting = list(reruns)
    redo: Rerun | None = None
    shown = 0
    for number in count(1):
        round = run.round(Kind.FINAL, number)
        asks = load(run.store, round)
        if asks is None:
            if redo:
                planned = again(run.store, run.wave, redo, Kind.FINAL)
            else:
                planned = final_asks(
                    run.wave,
                    prompts,
                    drafts,
                    list(seen.values()),
                    decisions,
                    lane=run.lanes.name_for(run.wave.final.model),
                    drawn=drawn,
                )
            asks = record(run.store, round, planned, by_name=named(redo))
        if asks:
            reached("final.planned")
            shown += 1
            assessed = run_round(run, round, asks, f"final {shown}", by_name=named(redo))
            seen |= by_request(assessed)
            judged = run.wave.judge.enabled and run.wave.final.judge
            decisions = select("final", number, list(seen.values()), judged)
        elif not redo:
            if not waiting:
                asked = {key: candidate.ask for key, candidate in seen.items()}
                lost = drafts_used_up(run.wave, drafts, list(seen.values()), decisions)
                return decisions, asked, lost
            redo = waiting.pop(0)
            if named(redo):
                continue
        redo = None
    raise AssertionError("rounds are counted without end")


def named(rerun: Rerun | None) -> bool:
    """Whether a person named what the round asks for, which sends even what was refused."""
    return rerun is not None and bool(rerun.requests)


def by_request(candidates: Sequence[Candidate]) -> dict[tuple[str, str], Candidate]:
    """The candidates by brief and request: one that was made again takes its old place."""
    return {(c.ask.brief, c.ask.request.id): c for c in candidates}


def run_round(
    run: Run, round: Round, asks: Sequence[Ask], stage: str, *, by_name: bool
) -> list[Candidate]:
    """Has a round of pictures made, screened and judged."""
    asks, found = make(run, round, asks, stage)
    checked = screen(stage, round, asks, found)
    judgements = judge(run, round, asks, found, checked.passed, stage, by_name=by_name)
    return [
        Candidate(
            ask=ask,
            answer=found.get(ask.request.id),
            failed_checks=checked.failed.get((ask.brief, ask.request.id), ()),
            judgement=judgements.get((ask.brief, ask.request.id)),
        )
        for ask in asks
    ]


def make(
    run: Run, round: Round, asks: Sequence[Ask], stage: str
) -> tuple[list[Ask], Mapping[str, Answer]]:
    """Has the pictures made, by the fallback model where the job for them was given up."""
    outcome = settle(run, round, asks, stage)
    other = run.wave.fallback_model(round.kind)
    stuck = [ask for ask in asks if ask.request.id in outcome.given_up]
    if not stuck or not other:
        return list(asks), outcome.answers
    second = replace(round, fallback=True)
    moved = load(run.store, second)
    if moved is None:
        moved = record(
            run.store, second, fallback_asks(stuck, other, lane=run.lanes.name_for(other))
        )
    found = settle(run, second, moved, f"{stage} by {other}")
    kept = [ask for ask in asks if ask.request.id not in outcome.given_up]
    return [*kept, *moved], {**outcome.answers, **found.answers}


def judge(
    run: Run,
    round: Round,
    asks: Sequence[Ask],
    found: Mapping[str, Answer],
    passed: set[tuple[str, str]],
    stage: str,
    *,
    by_name: bool,
) -> dict[tuple[str, str], Judgement]:
    """Has what passed the screens scored, where the wave asks for it."""
    wanted = run.wave.judge.enabled and (round.kind is Kind.DRAFT or run.wave.final.judge)
    if not wanted:
        return {}
    judging = run.round(Kind.JUDGE, 2 * round.number - (round.kind is Kind.DRAFT))
    if not run.wave.judge.asks_model:
        return judge_locally(stage, judging, asks, found, passed)
    judge_requests = load(run.store, judging)
    if judge_requests is None:
        planned = scoring.judge_asks(
            run.wave, asks, found, passed, lane=run.lanes.name_for(run.wave.judge.model)
        )
        judge_requests = record(run.store, judging, planned, by_name=by_name)
    scored = settle(run, judging, judge_requests, f"judge {stage}").answers
    return write_judgements(stage, judging, judge_requests, scored)


@step("prompts")
def write_prompts(asks: Sequence[Ask], found: Mapping[str, Answer]) -> Prompts:
    """Records every brief's prompts."""
    run = current_run()
    return expanding.write_prompts(run.store, run.wave, asks, found)


@step("screen")
def screen(
    stage: str, round: Round, asks: Sequence[Ask], found: Mapping[str, Answer]
) -> screening.Screened:
    """Holds the round's pictures against the wave's thresholds."""
    run = current_run()
    tell(Progress(stage=f"screen {stage}"))
    return screening.screen(run.store, run.wave, round, asks, found)


@step("judge")
def write_judgements(
    stage: str, judging: Round, asks: Sequence[Ask], found: Mapping[str, Answer]
) -> dict[tuple[str, str], Judgement]:
    """Records what the judge said."""
    run = current_run()
    reached("judge.before_facts")
    return scoring.write_judgements(run.store, run.wave, judging, asks, found)


@step("judge")
def judge_locally(
    stage: str,
    judging: Round,
    asks: Sequence[Ask],
    found: Mapping[str, Answer],
    passed: set[tuple[str, str]],
) -> dict[tuple[str, str], Judgement]:
    """Has what passed the screens scored on this machine."""
    from imagewave.tasks.judging.local_judge import judge_locally as judging_here

    run = current_run()
    return judging_here(run.store, run.wave, judging, asks, found, passed)


@step("select")
def select(tier: str, number: int, candidates: Sequence[Candidate], judged: bool) -> list[Decision]:
    """Decides which pictures are accepted."""
    run = current_run()
    return selecting.select(
        run.store, run.wave, tier=tier, number=number, candidates=candidates, judged=judged
    )


@step("deliver")
def deliver(finals: Sequence[Decision], asked: Asked, rerun: int) -> int:
    """Writes the accepted finals where their users look for them; returns how many."""
    run = current_run()
    tell(Progress(stage="deliver"))
    return len(delivering.deliver(run.store, run.wave, finals, asked, rerun=rerun))


@step("report")
def report() -> str:
    """Writes the wave's report; returns its path in the store."""
    run = current_run()
    tell(Progress(stage="report"))
    return reporting.write_report(run.store, run.wave.name)
