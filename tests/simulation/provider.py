"""A provider of batches with books of its own, and the lane by which processes reach it.

It does what the real ones were seen to do: takes a job and drops the answer, carries it out later
than it was asked, shows it late in its list and later still by name, fails, expires, brings lines
out of order, twice, broken or not at all, drops downloads, and bills when it is done. Its books
say when a call was made, when it arrived and when the job was listed, so that whoever reads them
can tell the few cases that docs/reliability.md leaves open.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import cache

from tests.simulation.scheduler import World

from imagewave.providers.protocol import (
    JobState,
    JobStatus,
    NoResults,
    Outcome,
    Rejected,
    ResultsGone,
    Unavailable,
    Unsure,
)
from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import Usage, metered
from imagewave.storage.requests import FailureClass, Request, Status

MODEL = "gemini-3.1-flash-lite-image"
OTHER_MODEL = "gemini-3.1-flash-image"
LANE = "gemini-batch"
LIST_LAG_S = 30.0
LONGEST_CALL_S = 30.0
"""A call of `create` ends after so many seconds of silence, as the real client's does."""

USAGE = Usage(2, 1120, 0, 0)
_UNBILLED = Decimal(0)
_DAY = date(2026, 3, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One request as the provider did it: what it delivers and what it bills.

    `good` says that a picture was drawn that can be used, so that nobody need ask again.
    """

    request_id: str
    outcomes: tuple[Outcome, ...]
    usd: Decimal
    good: bool = False
    sha256: str = ""
    what: str = "picture"


@dataclass(eq=False, slots=True, kw_only=True)
class ProviderJob:
    """One job in the provider's books; moments are seconds of the virtual clock."""

    name: str
    token: str
    requests: tuple[Request, ...]
    called_at: float
    accepted_at: float
    listed_at: float
    known_at: float
    ends_at: float
    state: JobState
    lines: tuple[Line, ...] = ()
    billed: bool = False
    results_from: float = 0.0
    lost: bool = False
    cancelled: bool = False
    deleted: bool = False
    notes: set[str] = field(default_factory=set)

    @property
    def usd(self) -> Decimal:
        """What it bills, once it has ended."""
        return sum((line.usd for line in self.lines), _UNBILLED)


class Provider:
    """The service: its jobs, its inputs, its bills."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs: dict[str, ProviderJob] = {}
        self.inputs: dict[str, tuple[Request, ...]] = {}
        self.on_accept: Callable[[ProviderJob], None] = lambda job: None
        self.on_bill: Callable[[ProviderJob], None] = lambda job: None

    def accept(
        self,
        handle: str,
        token: str,
        called_at: float,
        *,
        lag_left: float,
        notes: Iterable[str] = (),
    ) -> ProviderJob:
        """Takes a job; decides here and now what will become of it.

        `lag_left` is for how long it may be missing in the list.
        """
        world, weather = self.world, self.world.weather
        requests = self.inputs[handle]
        lag = world.seconds(lag_left) if world.chance(weather.lag, "list lagged") else 0.0
        if world.chance(weather.remains, "list lagged too long"):
            lag = LIST_LAG_S + world.seconds(1800.0, 1.0)
        unknown = (
            world.seconds(120.0) if world.chance(weather.hidden, "not found for a while") else 0
        )
        ends = world.now + world.seconds(3600.0, 10.0)
        if world.chance(weather.fate / 4, "stuck"):
            ends += 2.2 * 86_400.0
        job = ProviderJob(
            name=f"batches/{len(self.jobs) + 1}",
            token=token,
            requests=requests,
            called_at=called_at,
            accepted_at=world.now,
            listed_at=world.now + lag,
            known_at=world.now + unknown,
            ends_at=ends,
            state=JobState.SUCCEEDED,
            notes=set(notes),
        )
        self._decide(job)
        self.jobs[job.name] = job
        world.note(f"accepted {job.name} {token}")
        world.at(ends, lambda: self._end(job))
        self.on_accept(job)
        return job

    def cancel(self, job: ProviderJob) -> None:
        """Stops a job; the lines that were done by then are delivered and billed."""
        now = self.world.now
        if now >= job.ends_at or job.cancelled:
            return
        share = (now - job.accepted_at) / max(job.ends_at - job.accepted_at, 1.0)
        done = len(job.lines) if job.ends_at - now < 10.0 else int(share * len(job.lines))
        job.lines = job.lines[:done]
        job.cancelled = True
        job.state = JobState.CANCELLED
        job.ends_at = now
        self._end(job)

    def _end(self, job: ProviderJob) -> None:
        if job.billed or self.world.now < job.ends_at:
            return
        job.billed = True
        self.world.note(f"ended {job.name} {job.state} {job.usd}")
        self.on_bill(job)

    def _decide(self, job: ProviderJob) -> None:
        world, weather = self.world, self.world.weather
        lines = [self._line(job, request) for request in job.requests]
        world.random.shuffle(lines)
        if world.chance(weather.fate, "job did not succeed"):
            job.state = world.random.choice(
                (JobState.FAILED, JobState.EXPIRED, JobState.PARTIAL, JobState.CANCELLED)
            )
            keep = 0 if job.state is JobState.FAILED else world.random.randrange(len(lines) + 1)
            lines = lines[:keep]
        job.lines = tuple(lines)
        if world.chance(weather.download, "results late"):
            job.results_from = job.ends_at + world.seconds(3600.0, 1.0)
        job.lost = world.chance(weather.lost, "results lost")

    def _line(self, job: ProviderJob, request: Request) -> Line:
        world = self.world
        usd = price(request.model, LANE)
        image = picture(f"{job.name} {request.id}")
        drawn = Outcome(
            key=request.id, status=Status.IMAGE, image=image, mime="image/png", usage=USAGE
        )
        line = Line(
            request_id=request.id,
            outcomes=(drawn,),
            usd=usd,
            good=True,
            sha256=hashlib.sha256(image).hexdigest(),
        )
        if not world.chance(world.weather.line, "odd line"):
            return line
        what = world.random.choice(
            ("twice", "no usage", "broken", "cut", "refused", "error", "no key", "stranger", "kept")
        )
        line = replace(line, what=what)
        if what == "kept":  # billed, and in no file
            return replace(line, outcomes=(), good=False)
        if what == "twice":
            return replace(line, outcomes=(drawn, drawn))
        if what == "no usage":
            return replace(line, outcomes=(replace(drawn, usage=None),))
        if what == "broken":
            image = picture(f"{job.name} {request.id} broken")
            sha256 = hashlib.sha256(image).hexdigest()
            return replace(line, outcomes=(replace(drawn, image=image),), good=False, sha256=sha256)
        if what == "no key":
            return replace(line, outcomes=(replace(drawn, key=None),), good=False)
        if what == "stranger":
            return replace(line, outcomes=(replace(drawn, key="nobody"),), good=False)
        outcome = {
            "cut": replace(
                drawn,
                status=Status.FAILED,
                failure=FailureClass.BROKEN,
                reason="INVALID_JSON",
                image=None,
                usage=None,
            ),
            "refused": replace(
                drawn,
                status=Status.REFUSED,
                failure=FailureClass.REFUSED,
                reason="SAFETY",
                image=None,
                usage=None,
            ),
            "error": replace(
                drawn,
                status=Status.FAILED,
                failure=FailureClass.TRANSIENT,
                reason="INTERNAL",
                image=None,
                usage=None,
            ),
        }[what]
        billed = usd if what == "cut" else _UNBILLED
        return replace(line, outcomes=(outcome,), usd=billed, good=False, sha256="")


class Client:
    """One process's way to the provider (imagewave.providers.protocol.Lane)."""

    name = LANE
    realm = "sandbox"
    max_requests = 2
    max_bytes = 1_000_000

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._world = provider.world

    def check_access(self) -> None:
        self._ask()

    def prepare(
        self,
        requests: Iterable[Request],
        read_image: Callable[[str], bytes],
        display_name: str,
    ) -> str:
        world = self._world
        self._ask()
        if world.chance(world.weather.slow, "slow upload"):
            world.pause(world.seconds(300.0, 1.0))
        handle = f"files/{len(self._provider.inputs) + 1}"
        self._provider.inputs[handle] = tuple(requests)
        world.note(f"uploaded {handle} {display_name}")
        return handle

    def create(self, handle: str, model: str, token: str) -> str:
        world, weather, provider = self._world, self._world.weather, self._provider
        called_at = world.now
        world.point()
        if world.chance(weather.create, "create refused"):
            told = world.random.choice((None, 1.0, 60.0))
            raise Rejected("too many", "Wait.", FailureClass.TRANSIENT, told)
        if world.chance(weather.create, "create dropped"):
            raise Unsure("The connection broke.")
        if world.chance(weather.create, "create carried out later"):
            wait = world.seconds(LIST_LAG_S * 0.6)
            left = LIST_LAG_S - wait
            world.at(
                world.now + wait,
                lambda: void(provider.accept(handle, token, called_at, lag_left=left)),
            )
            raise Unsure("The connection broke.")
        if world.chance(weather.remains, "create carried out too late"):
            world.at(
                world.now + LIST_LAG_S + world.seconds(600.0, 1.0),
                lambda: void(
                    provider.accept(
                        handle, token, called_at, lag_left=1.0, notes=["carried out too late"]
                    )
                ),
            )
            raise Unsure("The connection broke.")
        job = provider.accept(handle, token, called_at, lag_left=LIST_LAG_S)
        if world.chance(weather.twin, "create carried out twice"):
            provider.accept(handle, token, called_at, lag_left=LIST_LAG_S, notes=["a twin"])
        if world.chance(weather.create, "create's answer lost"):
            world.point()
            raise Unsure("The connection broke.")
        if world.chance(weather.create, "create's answer slow"):
            seconds = world.seconds(2 * LONGEST_CALL_S)
            world.pause(min(seconds, LONGEST_CALL_S))
            if seconds > LONGEST_CALL_S:
                raise Unsure("No answer.")
        world.point()
        return job.name

    def find(self, token: str) -> list[str]:
        self._ask()
        now = self._world.now
        return [
            job.name
            for job in self._provider.jobs.values()
            if job.token == token and job.listed_at <= now and not job.deleted
        ]

    def listed(self) -> Iterator[tuple[str, str]]:
        self._ask()
        now = self._world.now
        yield from [
            (job.name, job.token)
            for job in self._provider.jobs.values()
            if job.listed_at <= now and not job.deleted
        ]

    def poll(self, name: str) -> JobStatus:
        self._ask()
        job = self._known(name)
        done = self._world.now >= job.ends_at
        drawn = sum(1 for line in job.lines if line.usd)
        return JobStatus(
            name=name,
            state=job.state if done else JobState.RUNNING,
            total=len(job.requests),
            succeeded=drawn if done else 0,
            failed=len(job.lines) - drawn if done else 0,
        )

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        world = self._world
        self._ask()
        job = self._known(name)
        if job.state is JobState.FAILED:
            raise NoResults(f"{name} has left no results.")
        if job.lost or world.now < job.results_from:
            raise ResultsGone(f"{name}: not found.")
        for line in job.lines:
            for outcome in line.outcomes:
                world.point()
                if world.chance(world.weather.download, "download dropped"):
                    raise Unavailable("The download broke off.")
                yield outcome

    def cancel(self, name: str) -> None:
        self._ask()
        self._provider.cancel(self._known(name))
        self._world.point()

    def _ask(self) -> None:
        world = self._world
        world.point()
        if world.chance(world.weather.ask, "no answer"):
            world.pause(world.seconds(60.0, 1.0))
            raise Unavailable("The provider does not answer.")

    def _known(self, name: str) -> ProviderJob:
        job = self._provider.jobs.get(name)
        if job is None or job.deleted or self._world.now < job.known_at:
            raise Rejected(f"There is no job {name}.", "", FailureClass.INVALID)
        return job


def void(_: object) -> None:
    """Nothing more."""


def picture(about: str) -> bytes:
    """A picture, as far as anybody here looks: a head that says PNG, and what it is about."""
    return b"\x89PNG\r\n\x1a\n" + about.encode()


@cache
def price(model: str, lane: str) -> Decimal:
    """USD for one picture."""
    return metered(find_model(model), USAGE, lane=lane, at=_DAY)
