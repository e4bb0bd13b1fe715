"""One prompt, at once: a wave of one brief, whose drafts are delivered as they come.

The facts are those of any wave, so the same pictures asked for again cost nothing; without
Prefect, whose start would take longer than the pictures.
"""

from collections.abc import Callable
from contextlib import nullcontext
from decimal import Decimal

from pydantic import ValidationError

from imagewave.errors import ImagewaveError
from imagewave.flows.run import Run, open_run
from imagewave.providers.lanes import lane_name
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.facts.analytics import answered
from imagewave.storage.money.ledger import Budget as LedgerBudget
from imagewave.storage.money.ledger import BudgetExceeded, Ledger
from imagewave.storage.realms import Realm, money_note
from imagewave.storage.requests import Kind, Request, digest
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.rounds import Ask, Round
from imagewave.storage.store import Store
from imagewave.storage.waves.briefs import Brief, slug
from imagewave.storage.waves.checks import brief_faults, validation_fault
from imagewave.storage.waves.model_checks import ModelCheck
from imagewave.storage.waves.wave import Budget, Draft, Final, Judge, Screen, Wait, Wave
from imagewave.tasks.delivery.deliver import deliver
from imagewave.tasks.drafting.draft import seed
from imagewave.tasks.jobs.plain import PlainHands
from imagewave.tasks.jobs.settling import settle
from imagewave.tasks.reporting.report import write_report
from imagewave.tasks.select import Candidate, select
from imagewave.words import counted

BRIEF = "once"
_POLL_S = (0.2, 1.0)


class TooDear(BudgetExceeded):
    """The pictures would cost more than `max_usd`; nothing was sent."""

    def __init__(self, exceeded: BudgetExceeded, pictures: int, realm: Realm | None) -> None:
        super().__init__(
            exceeded.budget,
            limit=exceeded.limit,
            spent=exceeded.spent,
            held=exceeded.held,
            wanted=exceeded.wanted,
        )
        before = exceeded.spent + exceeded.held
        also = f" on top of the ${before:f} that it has cost" if before else ""
        self.message = (
            f"{counted(pictures, 'picture')} would cost about ${exceeded.wanted:f}{also}, and the"
            f" limit, max_usd or --max-usd, is ${exceeded.limit:f}{money_note(realm)}."
        )
        self.fix = "Nothing was sent. Raise it, or ask for fewer pictures or a cheaper model."
        self.args = (self.message, self.fix)


def _as_option(argument: str) -> str:
    return f"--{argument.replace('_', '-')}"


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
    spelled: Callable[[str], str] = _as_option,
) -> Wave:
    """The wave that asks for `n` pictures of a prompt; its name is made from all of these.

    `spelled` says what errors call an argument.

    Raises:
        ImagewaveError: the model does not exist any more, is not reached by the lane, or does not
            draw this; the prompt says nothing, or the limit is none.
    """
    check = ModelCheck(lane, None)
    draft = check.draft(Draft(model=model, size=size, quality=quality))
    check.ratio_fault(aspect_ratio, ("aspect_ratio",))
    for fault in check.faults:
        raise ImagewaveError(f"{spelled(str(fault.path[-1]))}: {fault.message}", fault.fix)
    try:
        brief = Brief(id=BRIEF, text=prompt, want=n, aspect_ratio=aspect_ratio)
    except ValidationError as error:
        fault = validation_fault(error.errors(include_url=False)[0], Brief, (), None)
        raise ImagewaveError(f"{spelled('n')}: {fault.message}", fault.fix) from None
    for fault in brief_faults([brief]):
        raise ImagewaveError(f"The prompt cannot be used: {fault.message}", fault.fix)
    try:
        budget = Budget(wave_usd=max_usd)
    except ValidationError as error:
        fault = validation_fault(error.errors(include_url=False)[0], Budget, (), None)
        raise ImagewaveError(f"{spelled('max_usd')}: {fault.message}", fault.fix) from None
    asked = [prompt, draft.model, draft.size, draft.quality, n, aspect_ratio]
    return Wave(
        name=f"once-{slug(prompt)[:32].strip('-') or 'picture'}-{digest(asked)[:8]}",
        lane=lane,
        budget=budget,
        wait=Wait(poll_seconds=_POLL_S),
        draft=draft,
        screen=Screen(duplicate_distance=0),
        judge=Judge(enabled=False),
        final=Final(carry="accept"),
        briefs=(brief,),
        warnings=tuple(check.warnings),
    )


def require_budget(store: Store, wave: Wave) -> None:
    """Raises TooDear where the wave's unanswered pictures cost too much; writes nothing."""
    asks = {ask.request.id: ask.estimate_usd for ask in _asks(wave)}
    left = asks.keys() - answered(store, asks)
    estimate = sum((asks[id] for id in left), Decimal(0))
    try:
        Ledger(store).require(wave.name, estimate, LedgerBudget(**wave.budget.model_dump()))
    except BudgetExceeded as error:
        raise TooDear(error, wave.briefs[0].want, store.realm) from error


def once(
    store: Store, wave: Wave, tell: Callable[[int, int], None]
) -> tuple[list[str], dict[str, int]]:
    """Makes the wave's pictures, or finds them made.

    `tell(done, all)` hears how far it is. Returns the paths of the pictures in the store, and how
    often each reason kept one from coming.

    Raises:
        TooDear: the estimate does not fit; nothing was sent.
        Rejected, Unavailable: the provider says no, or nothing.
    """
    with open_run(store, wave, wait=True) as run:
        round = run.round(Kind.DRAFT, 1)
        asks = rounds.load(store, round) or rounds.record(store, round, _asks(wave), by_name=True)
        hands = PlainHands(run, lambda now: tell(now.requests_done, now.requests))
        try:
            outcome = settle(run, hands, round, asks, lambda jobs, attempt: nullcontext())
        except BudgetExceeded as error:
            raise TooDear(error, wave.briefs[0].want, store.realm) from error
        return _deliver(run, round, asks, outcome)


def _asks(wave: Wave) -> list[Ask]:
    (brief,) = wave.briefs
    model = find_model(wave.draft.model)
    prompt_id = digest({"prompt": brief.text})
    cost = estimate(
        model,
        lane=lane_name(model, wave.lane),
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
