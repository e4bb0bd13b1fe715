"""One prompt, at once: a wave of one brief, whose drafts are delivered as they come.

The facts are those of any wave, so the same pictures asked for again cost nothing; without
Prefect, whose start would take longer than the pictures.
"""

import time
from collections.abc import Callable
from decimal import Decimal
from itertools import count

from pydantic import ValidationError

from imagewave.errors import ImagewaveError
from imagewave.flows.run import Run, open_run
from imagewave.storage import rounds
from imagewave.storage.briefs import Brief, slug
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.jobs import Accepted
from imagewave.storage.requests import Kind, Request, digest
from imagewave.storage.rounds import Ask, Round
from imagewave.storage.store import Store
from imagewave.storage.wave import Budget, Draft, Final, Judge, Screen, Wave
from imagewave.storage.wavecheck import brief_faults, validation_fault
from imagewave.storage.wavemodels import ModelCheck
from imagewave.tasks.collect import collect
from imagewave.tasks.deliver import deliver
from imagewave.tasks.draft import seed
from imagewave.tasks.report import write_report
from imagewave.tasks.select import Candidate, select
from imagewave.tasks.shard import given_up, shard
from imagewave.tasks.submit import submit

BRIEF = "once"
_PAUSE_S = 0.2


def once_wave(
    prompt: str,
    *,
    model: str,
    n: int,
    aspect_ratio: str,
    size: str | None,
    quality: str | None,
    lane: str,
    max_usd: Decimal | None,
) -> Wave:
    """The wave that asks for `n` pictures of a prompt; its name is made from all of these.

    Raises:
        ImagewaveError: the model does not exist any more, is not reached by the lane, or does not
            draw this; the prompt says nothing, or the limit is none.
    """
    check = ModelCheck(lane, None)
    draft = check.draft(Draft(model=model, size=size, quality=quality))
    check.ratio_fault(aspect_ratio, ("aspect-ratio",))
    for fault in check.faults:
        raise ImagewaveError(f"--{fault.path[-1]}: {fault.message}", fault.fix)
    brief = Brief(id=BRIEF, text=prompt, want=n, aspect_ratio=aspect_ratio)
    for fault in brief_faults([brief]):
        raise ImagewaveError(f"The prompt cannot be used: {fault.message}", fault.fix)
    try:
        budget = Budget(wave_usd=max_usd)
    except ValidationError as error:
        fault = validation_fault(error.errors(include_url=False)[0], Budget, (), None)
        raise ImagewaveError(f"--max-usd: {fault.message}", fault.fix) from None
    asked = [prompt, draft.model, draft.size, draft.quality, n, aspect_ratio]
    return Wave(
        name=f"once-{slug(prompt)[:32].strip('-') or 'picture'}-{digest(asked)[:8]}",
        lane=lane,
        budget=budget,
        draft=draft,
        screen=Screen(duplicate_distance=0),
        judge=Judge(enabled=False),
        final=Final(carry="accept"),
        briefs=(brief,),
        warnings=tuple(check.warnings),
    )


def once(
    store: Store, wave: Wave, tell: Callable[[int, int], None]
) -> tuple[list[str], dict[str, int]]:
    """Makes the wave's pictures, or finds them made.

    `tell(done, all)` hears how far it is. Returns the paths of the pictures in the store, and how
    often each reason kept one from coming.

    Raises:
        BudgetExceeded: the estimate does not fit; nothing was sent.
        Rejected, Unavailable: the provider says no, or nothing.
    """
    with open_run(store, wave, wait=True) as run:
        round = run.round(Kind.DRAFT, 1)
        asks = rounds.load(store, round) or rounds.record(store, round, _asks(run))
        outcome = rounds.outcome(store, round)
        if outcome is None:
            for attempt in count(1):
                jobs = shard(store, round, asks, run.lanes.for_model, attempt)
                if not jobs:
                    break
                for job_id in jobs:
                    _see_through(run, job_id, tell)
            outcome = rounds.close(store, round, asks, given_up(store, round))
        return _deliver(run, round, asks, outcome)


def _asks(run: Run) -> list[Ask]:
    wave = run.wave
    (brief,) = wave.briefs
    model = find_model(wave.draft.model)
    prompt_id = digest({"prompt": brief.text})
    cost = estimate(
        model,
        lane=run.lanes.name_for(model.id),
        size=wave.draft.size,
        quality=wave.draft.quality,
        aspect_ratio=brief.aspect_ratio,
        prompt_chars=len(brief.text),
        thinking=wave.draft.thinking,
        steps=wave.draft.steps,
    )
    requests = (
        Request(
            kind=Kind.DRAFT,
            model=model.id,
            prompt=brief.text,
            aspect_ratio=brief.aspect_ratio,
            size=wave.draft.size,
            quality=wave.draft.quality,
            thinking=wave.draft.thinking,
            sample=sample,
            seed=seed(wave, prompt_id, sample),
            steps=wave.draft.steps,
            guidance=wave.draft.guidance,
        )
        for sample in range(brief.want)
    )
    return [
        Ask(brief=brief.id, prompt_id=prompt_id, request=request, estimate_usd=cost)
        for request in requests
    ]


def _see_through(run: Run, job_id: str, tell: Callable[[int, int], None]) -> None:
    lane = run.lane_of(job_id)
    accepted = submit(run.store, job_id, lane, budget=run.budget, doubt=run.doubt)
    if not isinstance(accepted, Accepted):
        return
    while not (status := lane.poll(accepted.provider_job)).state.done:
        tell(status.succeeded or 0, status.total or 0)
        time.sleep(_PAUSE_S)
    tell(status.succeeded or 0, status.total or 0)
    collect(run.store, job_id, lane, status, run.pool)


def _deliver(
    run: Run, round: Round, asks: list[Ask], outcome: rounds.Outcome
) -> tuple[list[str], dict[str, int]]:
    candidates = [
        Candidate(
            ask=ask,
            answer=outcome.answers.get(ask.request.id),
            failed_checks=(),
            judgement=None,
        )
        for ask in asks
    ]
    decisions = select(
        run.store, run.wave, tier="draft", number=1, candidates=candidates, judged=False
    )
    asked = {(ask.brief, ask.request.id): ask for ask in asks}
    rows = deliver(run.store, run.wave, decisions, asked)
    write_report(run.store, run.wave.name)
    reasons: dict[str, int] = {}
    for candidate in candidates:
        answer = candidate.answer
        if answer is None or answer.status != "image":
            reason = answer.reason if answer else "no answer"
            reasons[reason] = reasons.get(reason, 0) + 1
    return [str(row["asset"]) for row in rows], reasons
