"""Hands a job to its provider exactly once, whatever is killed, dropped or repeated.

The order is: requests written, job claimed, money held, input uploaded, provider asked, answer
recorded. Only the owner of the newest claim does any of this, so it happens once at a time. Once a
claim stands, the provider may have the job, and only its list can tell: a claim without an answer
is resolved by adoption, and only a job that is provably absent is asked for again.

What remains is said in docs/reliability.md: a claimer that is frozen for longer than its lease
between its last look at the clock and the first byte of the call.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.killpoints import reached
from imagewave.providers.protocol import JobState, Lane, Rejected, Unavailable, Unsure
from imagewave.storage.facts import analytics
from imagewave.storage.images import read_image
from imagewave.storage.jobs import events as job_events
from imagewave.storage.jobs.folder import Accepted, Intent, JobFolder, Settled, now
from imagewave.storage.money.ledger import Budget, BudgetExceeded, Ledger
from imagewave.storage.requests import FailureClass, Request
from imagewave.storage.store import Store

SUPERSEDED = "superseded"


class Overlap(ImagewaveError):
    """An open job already carries some of these requests; its results will answer them."""

    def __init__(self, job_id: str, other: str) -> None:
        super().__init__(f"Job {job_id} waits for job {other}, which has some of its requests.")
        self.other = other


class Quarantined(ImagewaveError):
    """Several provider jobs carry this job's token; a person must choose."""

    def __init__(self, job_id: str, provider_jobs: Sequence[str]) -> None:
        super().__init__(
            f"The provider has {len(provider_jobs)} jobs for job {job_id}: "
            f"{', '.join(provider_jobs)}.",
            "Cancel or delete all but one of them there and run the wave again"
            " (docs/reliability.md).",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionTimes:
    """How long it takes to be sure that a provider does not have a job.

    `lease_s`: a claim of which nothing more is known is dead after so many seconds. It must exceed
    `fresh_s`, the age up to which a claim may be used for `create`, by the time that a call of
    `create` can take. `list_lag_s`: a job accepted now is in the provider's list after at most so
    many seconds.
    """

    lease_s: float = 180.0
    fresh_s: float = 20.0
    list_lag_s: float = 30.0


@dataclass(slots=True)
class Memory:
    """What one process knows of the jobs that it has tried to hand over.

    `unanswered` are tokens with which it has asked, without a clear answer. `uploads` are the
    handles of inputs that a provider has, and that no job was made of yet, by store, lane and job.
    """

    unanswered: set[str] = field(default_factory=set)
    uploads: dict[tuple[str, str, str], str] = field(default_factory=dict)


PROCESS = Memory()
"""That of this process."""


def submit(
    store: Store,
    job_id: str,
    lane: Lane,
    *,
    budget: Budget,
    adoption: AdoptionTimes,
    siblings: Collection[str] = (),
    memory: Memory = PROCESS,
) -> Accepted | Settled:
    """Gets a planned job to the provider, or finds it there.

    `siblings` are jobs that one cut made together with this one: they share no request with it.
    `memory` is that of the calling process: after a clean no, its next call uploads nothing anew.

    Repeating this after any interruption, or from several processes at once, creates one provider
    job and holds its money once; whoever is not the claimer waits for the claimer's answer. A job
    of whose requests some were answered meanwhile settles as superseded, unsent: what it lacks
    goes into the next attempt.

    Raises:
        BudgetExceeded: the estimate does not fit a budget; nothing was sent.
        Overlap: an open job will answer some of these requests; nothing was sent.
        Rejected: a clean no; claim and hold were given back.
        Quarantined: more than one provider job carries the job's tokens.
        Unavailable: the provider cannot be asked for now.
    """
    return _Submission(store, job_id, lane, adoption, memory).submit(budget, siblings)


def resolve(
    store: Store, job_id: str, lane: Lane, *, adoption: AdoptionTimes, memory: Memory = PROCESS
) -> Accepted | None:
    """Finds out what became of a job, without ever creating it.

    None: the provider does not have it. Unless it is settled, its hold was given back then; whoever
    still wants it holds anew.

    Raises:
        Quarantined, Unavailable: as for `submit`.
    """
    return _Submission(store, job_id, lane, adoption, memory).resolve()


def look_for(store: Store, job_id: str, lane: Lane) -> list[str]:
    """The provider's jobs that the job's claims have led to, as its list has them now.

    Raises:
        Undecided: only time can tell.
        Unavailable: the provider cannot be asked for now.
    """
    folder = JobFolder(store, job_id)
    claims = folder.standing(folder.intents())
    return [name for claim in claims for name in lane.find(claim.token)]


class _Submission:
    """One process's dealings with one job until the provider has it."""

    def __init__(
        self, store: Store, job_id: str, lane: Lane, adoption: AdoptionTimes, memory: Memory
    ) -> None:
        self.store = store
        self.folder = JobFolder(store, job_id)
        self.lane = lane
        self.adoption = adoption
        self.ledger = Ledger(store)
        self.plan = self.folder.plan()
        self.label = f"{self.plan.wave}-{self.plan.kind}-{self.plan.round}.{self.plan.attempt}"
        self.memory = memory
        self.upload = (store.id, lane.name, job_id)
        self.claimed_at = 0.0
        self.owned: int | None = None
        """The job's hold as this process owns it: who has taken it over since, owns another."""
        self.seen: dict[str, float] = {}

    def submit(self, budget: Budget, siblings: Collection[str]) -> Accepted | Settled:
        while True:
            if settled := self.folder.settled():
                return settled
            accepted, claims = self._locate()
            if accepted:
                return accepted
            reached("submit.before_claim")
            intent = self._claim(claims)
            if intent is None:
                continue
            reached("submit.after_claim")
            if not self._hold(intent, budget, siblings):
                continue
            reached("submit.after_hold")
            if accepted := self._create(intent):
                return accepted

    def resolve(self) -> Accepted | None:
        while not self.folder.settled():
            accepted, claims = self._locate()
            if accepted:
                return accepted
            # Without our own claim, its owner may be about to create the job.
            if intent := self._claim(claims):
                if hold := self.ledger.take(self.folder.job_id):
                    self.owned = hold.owner
                self._give_back(intent, "not with the provider")
                return None
        return None

    def _claim(self, claims: Sequence[Intent]) -> Intent | None:
        # Others see the claim from the moment it is written, however long the answer takes.
        self.claimed_at = clock.steady()
        return self.folder.claim(
            label=self.label,
            lane=self.lane.name,
            held_usd=self.plan.estimate_usd,
            after=claims,
        )

    def _locate(self) -> tuple[Accepted | None, list[Intent]]:
        """The provider's job if there is one, and the claims of which that is known.

        Waits for claims whose owners may still be at work.
        """
        while True:
            if accepted := self.folder.accepted():
                return self._recorded(accepted), []
            if quarantined := self.folder.quarantined():
                return self._recorded(self._chosen(quarantined)), []
            claims = self.folder.intents()
            standing = self.folder.standing(claims)
            if not standing:
                return None, claims
            if not self._is_over(standing[-1]):
                clock.sleep(min(1.0, self.adoption.lease_s / 10))
                continue
            return self._adopt(standing), claims

    def _is_over(self, claim: Intent) -> bool:
        """Whether nothing more can come of the claim than what the provider's list shows."""
        since = self.seen.setdefault(claim.token, clock.steady())
        expired = clock.steady() - since > self.adoption.lease_s
        return claim.token in self.memory.unanswered or claim.claimer.known_dead() or expired

    def _adopt(self, standing: Sequence[Intent]) -> Accepted | None:
        """The provider's job that one of the claims led to; None if there provably is none."""
        deadline = clock.steady() + self.adoption.list_lag_s
        while True:
            found = {name: claim for claim in standing for name in self.lane.find(claim.token)}
            if len(found) > 1:
                self.folder.quarantine({name: claim.token for name, claim in found.items()})
                raise Quarantined(self.folder.job_id, sorted(found))
            for provider_job, claim in found.items():
                return self._recorded(self.folder.accept(claim.token, provider_job, adopted=True))
            left = deadline - clock.steady()
            if left <= 0:
                return None
            clock.sleep(min(left, max(0.2, self.adoption.list_lag_s / 10)))

    def _chosen(self, quarantined: dict[str, str]) -> Accepted:
        """The one provider job that a person has left, of several; the first if none was left.

        Where all that are left have ended, nothing can be saved by a choice: one is the job's, and
        the others are found as its seconds.
        """
        left = {
            name: state
            for name in sorted(quarantined)
            if (state := self._state_of(name))
            not in (JobState.CANCELLED, JobState.FAILED, JobState.EXPIRED, JobState.GONE)
        }
        if len(left) > 1 and not all(state.done for state in left.values()):
            raise Quarantined(self.folder.job_id, list(left))
        name = next(iter(left), min(quarantined))
        return self.folder.accept(quarantined[name], name, adopted=True)

    def _state_of(self, provider_job: str) -> JobState:
        try:
            return self.lane.poll(provider_job).state
        except Rejected:  # deleted there
            return JobState.GONE

    def _hold(self, intent: Intent, budget: Budget, siblings: Collection[str]) -> bool:
        """Holds the job's money and makes sure that no other job has its requests.

        Holds are totally ordered and a job's hold outlives the recording of its results, so of two
        jobs that share a request the later one sees the earlier one here: as an open hold, or as
        results. False: the job is not to be created; its folder says why.
        """
        job_id = self.folder.job_id
        try:
            hold = self.ledger.own(job_id, self.plan.wave, Decimal(self.plan.estimate_usd), budget)
        except BudgetExceeded:
            self._give_back(intent, "")
            raise
        if hold is None:  # captured: somebody has collected it meanwhile
            self.folder.release(intent)
            return False
        self.owned = hold.owner
        earlier = [
            other.job_id
            for other in self.ledger.open_holds()
            if other.seq < hold.seq and other.job_id not in siblings
        ]
        for other in _sharing(self.store, job_id, earlier):
            self._give_back(intent, f"waits for job {other}")
            raise Overlap(job_id, other)
        if not analytics.answered(self.store, (r.id for r in self.folder.requests())):
            return True
        if not self.ledger.release(job_id, self.owned):
            return False  # taken over meanwhile: its new owner finds out
        settled = Settled(
            state=SUPERSEDED,
            message="answered by another job",
            counts={},
            captured_usd="0",
            at=now(),
        )
        job_events.settled(self.folder, settled)
        self.folder.settle(settled)
        return False

    def _create(self, intent: Intent) -> Accepted | None:
        """Asks the provider for the job; None where that left doubt."""
        job_events.claimed(self.folder, intent)
        kept = self.memory.uploads.get(self.upload)
        handle = kept or self._upload(intent)
        self.memory.uploads[self.upload] = handle
        reached("submit.after_upload")
        while clock.steady() - self.claimed_at > self.adoption.fresh_s:
            # What came between took long: others may hold this claim for dead.
            renewed = self._claim(self.folder.intents()[: intent.generation])
            if renewed is None:
                return None
            intent = renewed
        try:
            provider_job = self.lane.create(handle, self.plan.model, intent.token)
        except Rejected as refusal:
            self._give_back(intent, str(refusal))
            if refusal.failure is not FailureClass.TRANSIENT:
                self.memory.uploads.pop(self.upload, None)
                if kept:  # it may have lapsed since: the next claim uploads anew
                    return None
            raise
        except Unsure:
            self.memory.unanswered.add(intent.token)
            return None
        reached("submit.after_create")
        self.memory.uploads.pop(self.upload, None)
        accepted = self.folder.accept(intent.token, provider_job, adopted=False)
        if accepted.provider_job != provider_job:
            # Others held this claim for dead and created the job anew. One of the two is one too
            # many: stop ours before it costs, and let a person see that it happened.
            self.folder.quarantine(
                {accepted.provider_job: accepted.token, provider_job: intent.token}
            )
            with suppress(Rejected, Unavailable):  # what it brings then is found by `sweep`
                self.lane.cancel(provider_job)
            raise Quarantined(self.folder.job_id, [accepted.provider_job, provider_job])
        reached("submit.after_accept")
        return self._recorded(accepted)

    def _upload(self, intent: Intent) -> str:
        requests = self.folder.requests()
        try:
            return self.lane.prepare(
                requests,
                _reader(self.store, requests),
                f"{self.label}-{self.folder.job_id[:12]}",
            )
        except ImagewaveError as error:
            self._give_back(intent, str(error))
            raise

    def _give_back(self, intent: Intent, reason: str) -> None:
        """Gives back hold and claim, in this order: a claim that stands protects the hold."""
        newest = self.folder.intents()[-1]
        taken_over = newest.token != intent.token and not self.folder.settled()
        if taken_over and self.folder.standing([newest]):
            return  # hold and claim are the new owner's, who is not done
        if self.owned is not None:
            # Not what was taken over between the look above and here.
            self.ledger.release(self.folder.job_id, self.owned)
            self.owned = None
        self.folder.release(intent)
        if reason:
            job_events.released(self.folder, intent, reason)

    def _recorded(self, accepted: Accepted) -> Accepted:
        """The job as accepted, with SQL told of it: whoever accepted it may have died before."""
        job_events.accepted(self.folder, accepted)
        return accepted


def _reader(store: Store, requests: Sequence[Request]) -> Callable[[str], bytes]:
    """Reads the reference images of these requests by their addresses."""
    references = {sha256 for request in requests for sha256 in request.references}
    rows = (
        analytics.query(
            store,
            "SELECT image, format FROM images WHERE image IN (SELECT unnest(?::VARCHAR[]))",
            [list(references)],
        )
        if references
        else []
    )
    formats = {row["image"]: row["format"] for row in rows}
    return lambda sha256: read_image(store, sha256, formats[sha256])


def _sharing(store: Store, job_id: str, others: Sequence[str]) -> list[str]:
    """Those of the other jobs that share a request with the job, in their order."""
    if not others:
        return []
    rows = analytics.query(
        store,
        "SELECT DISTINCT job_id FROM raw_submissions WHERE job_id IN (SELECT unnest(?::VARCHAR[]))"
        " AND request_id IN (SELECT request_id FROM raw_submissions WHERE job_id = ?)",
        [list(others), job_id],
    )
    sharing = {row["job_id"] for row in rows}
    return [other for other in others if other in sharing]
