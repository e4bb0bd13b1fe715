"""The auditor: from the provider's books and the store's files alone, what must hold does hold.

It reads the ledger's entries, job folders and facts by itself and knows nothing of whoever wrote
them. What docs/reliability.md leaves open ("What remains") is told apart by the provider's books
and counted, never passed over in silence.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from tests.simulation.calls import Call, CallService
from tests.simulation.provider import LIST_LAG_S, Line, Provider, ProviderJob
from tests.simulation.scheduler import Process

_ZERO = Decimal(0)
_FROZEN_S = 160.0
"""A call that arrives so long after it was made comes from a claimer whose lease may be over."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A property that did not hold, and what shows it."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


@dataclass(slots=True)
class _Money:
    """What the ledger's entries say of one job."""

    wave: str
    held: Decimal = _ZERO
    captured: Decimal = _ZERO


@dataclass(slots=True, kw_only=True)
class Auditor:
    """Watches every effect; `violations` is what it found. `budgets` are USD by wave."""

    provider: Provider
    calls: CallService
    files: Mapping[str, bytes]
    rows: Callable[[str], list[dict[str, Any]]] = field(init=False)
    budgets: Mapping[str, Decimal] = field(default_factory=dict)
    day_usd: Decimal | None = None
    violations: list[Violation] = field(default_factory=list)
    remains: Counter[str] = field(default_factory=Counter)
    _money: dict[str, _Money] = field(default_factory=dict)
    _job_of: dict[str, str] = field(default_factory=dict)
    _of_job: dict[str, list[ProviderJob]] = field(default_factory=dict)
    _asked: dict[str, list[ProviderJob]] = field(default_factory=dict)
    _excused: set[str] = field(default_factory=set)
    _captures: list[tuple[datetime, Decimal]] = field(default_factory=list)
    _entries: int = 0
    _claims: Counter[str] = field(default_factory=Counter)
    _calls: Counter[str] = field(default_factory=Counter)
    _call_job: dict[str, str] = field(default_factory=dict)
    _answered: set[str] = field(default_factory=set)

    # At every effect

    def stored(self, path: str, data: bytes, replaced: bool) -> None:
        """A file was put there."""
        folder, _, name = path.partition("/")
        if replaced and folder != "waiting":
            self.found("written once", f"{path} was replaced")
        if folder == "ledger" and name[:1].isdigit():
            self._enter(orjson.loads(data))
        elif folder == "jobs":
            job_id, _, kind = name.partition("/")
            if kind.startswith("intent"):
                self._job_of[orjson.loads(data)["token"]] = job_id
            elif kind == "settled.json":
                self._settled(job_id, orjson.loads(data))
        elif folder == "calls" and name.endswith(".claim"):
            token, request_id = self._line(name)
            self._claims[request_id] += 1
            self._call_job[request_id] = self._job_of[token]
        elif folder == "calls" and name.endswith(".answer") and b"inlineData" in data:
            self._answered.add(self._line(name)[1])

    def deleted(self, path: str) -> None:
        """A file was removed."""
        folder, _, name = path.partition("/")
        if folder == "calls" and name.endswith(".claim"):
            self._claims[self._line(name)[1]] -= 1
        elif folder != "waiting":
            self.found("written once", f"{path} was deleted")

    def accepted(self, job: ProviderJob) -> None:
        """The provider has taken a job."""
        job_id = self._job_of.get(job.token)
        if job_id is None:
            self.found("claimed before asked", f"{job.name} carries {job.token}, nobody's claim")
            return
        if self._is_late(job):
            self._excuse(job)
        for other in self._of_job.get(job_id, ()):
            if self._is_live(other) and not self._excused_pair(other, job):
                self.found("one owner", f"{other.name} and {job.name} are both job {job_id}")
        for request in job.requests:
            if request.id in self._answered and job.name not in self._excused:
                self.found("asked once", f"{request.id[:8]} was answered by a call before")
            for other in self._asked.get(request.id, ()):
                if self._answers(other, request.id) and not self._excused_pair(other, job):
                    what = f"{request.id[:8]} in {other.name}, and again in {job.name}"
                    self.found("asked once", what)
                elif self._refused(other, request.id) and _wave(other) == _wave(job):
                    self.found("refused once", f"{request.id[:8]} is asked again in {job.name}")
            self._asked.setdefault(request.id, []).append(job)
        self._of_job.setdefault(job_id, []).append(job)
        money = self._money.get(job_id)
        if job.name not in self._excused and (money is None or not money.held):
            self.found("held before spent", f"{job.name} of job {job_id} has no open hold")

    def called(self, call: Call) -> None:
        """A single call has arrived."""
        id = call.request_id
        self._calls[id] += 1
        if self._calls[id] > self._claims[id]:
            self.found("claimed before asked", f"{id[:8]} was called without a claim of its own")
        if id in self._answered:
            self.found("asked once", f"{id[:8]} was called, and has been answered before")
        for job in self._asked.get(id, ()):
            if self._answers(job, id) and job.name not in self._excused:
                self.found("asked once", f"{id[:8]} was called, and is in {job.name}")
        job_id = self._call_job.get(id, "")
        if not self._money.get(job_id, _Money("")).held:
            self.found("held before spent", f"{id[:8]} was called for {job_id}, without a hold")

    def ended(self, process: Process) -> None:
        """A process has come to its end by itself."""
        for call in self.calls.under_way(process):
            self.found("waits for its calls", f"{call.request_id[:8]} was left under way")

    def billed(self, job: ProviderJob) -> None:
        """The provider has ended a job and bills it."""
        job_id = self._job_of.get(job.token)
        if job_id is not None:
            self._covered(job_id)

    def _enter(self, entry: Mapping[str, Any]) -> None:
        self._entries += 1
        if entry["seq"] != self._entries:
            self.found("ledger in order", f"entry {entry['seq']} came as number {self._entries}")
        job_id, usd = entry["job_id"], Decimal(entry["usd"])
        money = self._money.setdefault(job_id, _Money(entry["wave"]))
        if entry["kind"] == "hold":
            money.held = usd
            if job_id not in self._job_of.values():
                return  # a second job: the provider works on it already, and no budget refuses it
            self._in_budget(entry["wave"], datetime.fromisoformat(entry["at"]))
            return
        if entry["kind"] == "release":
            money.held = _ZERO
        elif entry["kind"] == "credit":
            money.captured -= usd
        else:
            if entry["kind"] == "capture":
                money.held = _ZERO
            money.captured += usd
            self._captures.append((datetime.fromisoformat(entry["at"]), usd))
        self._covered(job_id)

    def _in_budget(self, wave: str, at: datetime) -> None:
        mine = [money for money in self._money.values() if money.wave == wave]
        spent = sum((money.held + money.captured for money in mine), _ZERO)
        limit = self.budgets.get(wave)
        if limit is not None and spent > limit:
            self.found("within budget", f"{wave}: ${spent:f} of ${limit:f}")
        if self.day_usd is not None:
            since = at - timedelta(days=1)
            day = sum((usd for moment, usd in self._captures if moment > since), _ZERO)
            day += sum((money.held for money in self._money.values()), _ZERO)
            if day > self.day_usd:
                self.found("within budget", f"the day: ${day:f} of ${self.day_usd:f}")

    def _covered(self, job_id: str) -> None:
        billed = sum(
            (
                job.usd
                for job in self._of_job.get(job_id, ())
                if job.billed and job.name not in self._excused
            ),
            _ZERO,
        )
        money = self._money.get(job_id, _Money(""))
        if billed > money.held + money.captured:
            what = f"job {job_id}: ${billed:f} > ${money.held:f} + ${money.captured:f}"
            self.found("billed is held or captured", what)

    def _settled(self, job_id: str, settled: Mapping[str, Any]) -> None:
        money = self._money.get(job_id, _Money(""))
        if money.held or money.captured != Decimal(settled["captured_usd"]):
            what = f"job {job_id}: settled at ${settled['captured_usd']}, books say {money}"
            self.found("settled as captured", what)
        if settled["state"] == "superseded":
            return
        # Two waves that ask for the same have the same job.
        asked = {row["request_id"] for row in self._part_of("submissions", job_id)}
        rows = [row["request_id"] for row in self._part("results", job_id) or ()]
        if sorted(asked) != sorted(rows):
            what = f"job {job_id}: {len(rows)} results of {len(asked)} requests"
            self.found("one result each", what)

    # At the end

    def close(self, delivered: Collection[str]) -> None:
        """Everything has come to its end: are all pictures and all costs there?

        `delivered` are the waves that no person need look at.
        """
        for job_id, money in self._money.items():
            if money.held and money.wave in delivered and not self._has_excused(job_id):
                self.found("no hold left open", f"${money.held:f} for job {job_id}")
        for path in self.files:
            if path.startswith("rounds/"):
                self._decided(path.removeprefix("rounds/").removesuffix(".json"))
        for job in self.provider.jobs.values():
            owner = self._job_of.get(job.token)
            if owner is None or not job.billed or job.name in self._excused:
                continue
            said = self._findings(owner)
            self._all_counted(job, said)
            for line in job.lines:
                if line.sha256 and line.what != "kept" and not self._is_told(line, job, said):
                    self.found("no picture lost", f"{line.sha256[:8]} ({line.what}) of {job.name}")
        named = {finding["key"] for finding in self._rows_of("findings")} if self._calls else ()
        for call in self.calls.calls:
            if call.request_id not in named and not self._is_stored(call.sha256):
                self.found("no picture lost", f"{call.sha256[:8]} of a call for {call.request_id}")
        for job_id, jobs in self._of_job.items():
            if self._has_excused(job_id):
                continue
            if "settled.json" not in self._folder(job_id) or "quarantine.json" in self._folder(
                job_id
            ):
                continue
            billed = sum((job.usd for job in jobs if job.billed), _ZERO)
            captured = self._money[job_id].captured
            kinds = {finding["kind"] for finding in self._findings(job_id)}
            if billed != captured and not kinds & {"no usage", "results gone", "cost of nobody"}:
                what = f"job {job_id}: billed ${billed:f}, captured ${captured:f}"
                self.found("captured as billed", what)

    def _decided(self, part: str) -> None:
        """What a round goes by: every good picture that was there for its requests."""
        outcome = orjson.loads(self.files[f"rounds/{part}.json"])
        start = f"facts/submissions/{part}."
        rows = [row for p in self.files if p.startswith(start) for row in self.rows(p)]
        for row in rows:
            id, job_id = row["request_id"], row["job_id"]
            good = any(
                line.request_id == id and line.good and line.what != "twice"
                for job in self._of_job.get(job_id, ())
                if job.billed and not job.lost and not self._has_excused(job_id)
                for line in job.lines
            )
            if not good or id in outcome["given_up"]:
                continue
            answer = outcome["answers"].get(id, "")
            results = self._part("results", answer) or ()
            if not any(r["request_id"] == id and r["status"] == "image" for r in results):
                self.found("goes by what was paid", f"{part} has no picture of {id[:8]}")

    def pictures_billed(self) -> int:
        """How many pictures the provider has billed."""
        jobs = [job for job in self.provider.jobs.values() if job.billed]
        return len(self.calls.calls) + sum(1 for job in jobs for line in job.lines if line.usd)

    def double_spends(self) -> int:
        """Requests of which the provider billed more than one good picture."""
        drawn: Counter[str] = Counter()
        for job in self.provider.jobs.values():
            if job.billed:
                drawn.update(line.request_id for line in job.lines if line.good)
        return sum(count - 1 for count in drawn.values())

    # What the books say

    def _is_late(self, job: ProviderJob) -> bool:
        """Whether the job came into being in one of the documented ways that nobody can see."""
        if job.accepted_at - job.called_at > _FROZEN_S:
            job.notes.add("claimer frozen")
        if job.listed_at - job.accepted_at > LIST_LAG_S:
            job.notes.add("listed too late")
        return bool(job.notes)

    def _is_live(self, job: ProviderJob) -> bool:
        return not job.billed and not job.cancelled

    def _answers(self, job: ProviderJob, request_id: str) -> bool:
        """Whether the job will bring, or has brought, what the request asks for."""
        if job.cancelled or job.deleted:
            return False
        if not job.billed:
            return True
        if job.lost:
            return False  # whoever asks again has looked once more, and pays
        return any(line.good for line in job.lines if line.request_id == request_id)

    def _refused(self, job: ProviderJob, request_id: str) -> bool:
        """Whether the job has said so, and in time to be heard.

        Of one whose results were lost nobody heard it; of a second job only its harvest tells, when
        the next attempt may be written down already.
        """
        said = job.billed and not job.lost and job.name not in self._excused
        return said and any(
            line.what == "refused" for line in job.lines if line.request_id == request_id
        )

    def _excused_pair(self, first: ProviderJob, second: ProviderJob) -> bool:
        if first.name in self._excused or second.name in self._excused:
            self._excuse(second)
            return True
        return False

    def _has_excused(self, job_id: str) -> bool:
        return any(job.name in self._excused for job in self._of_job.get(job_id, ()))

    def _excuse(self, job: ProviderJob) -> None:
        if job.name not in self._excused:
            self._excused.add(job.name)
            self.remains[", ".join(sorted(job.notes)) or "the other of such a pair"] += 1

    def _is_told(self, line: Line, job: ProviderJob, said: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the picture is in the store, or a finding says what became of it."""
        if self._is_stored(line.sha256):
            return True
        kinds = {finding["kind"] for finding in said}
        if "results gone" in kinds:
            return job.lost  # what is merely late is looked for again
        return any(finding["key"] in (line.request_id, job.name) for finding in said)

    def _all_counted(self, job: ProviderJob, said: Sequence[Mapping[str, Any]]) -> None:
        """What is billed and in no file is known by the job's counts alone, which name no request.

        So as many findings as there are such lines must say so, whichever requests they name.
        """
        kept = [line for line in job.lines if line.what == "kept"]
        told = {finding["key"] for finding in said if finding["kind"] == "not delivered"}
        if len(told) < len(kept) and not all(self._is_told(line, job, said) for line in kept):
            what = f"{job.name} kept {len(kept)}, and {len(told)} are named"
            self.found("no picture lost", what)

    def _is_stored(self, sha256: str) -> bool:
        return f"images/{sha256[:2]}/{sha256}.png" in self.files

    def _line(self, name: str) -> tuple[str, str]:
        """The token and the request of a file of a line, such as `token/3.claim`."""
        token, _, file = name.partition("/")
        number = int(file.partition(".")[0])
        handle = orjson.loads(self.files[f"calls/{token}/job.json"])["handle"]
        line = self.files[f"calls/inputs/{handle}.jsonl"].splitlines()[number]
        return token, orjson.loads(line)["key"]

    def _folder(self, job_id: str) -> set[str]:
        start = f"jobs/{job_id}/"
        return {path.removeprefix(start) for path in self.files if path.startswith(start)}

    def _part_of(self, table: str, job_id: str) -> list[dict[str, Any]]:
        return [row for row in self._rows_of(table) if row["job_id"] == job_id]

    def _rows_of(self, table: str) -> Iterator[dict[str, Any]]:
        start = f"facts/{table}/"
        for path in self.files:
            if path.startswith(start):
                yield from self.rows(path)

    def _part(self, table: str, part: str) -> list[dict[str, Any]] | None:
        path = f"facts/{table}/{part}.parquet"
        return self.rows(path) if path in self.files else None

    def _findings(self, job_id: str) -> list[dict[str, Any]]:
        return self._part_of("findings", job_id)

    def found(self, rule: str, what: str) -> None:
        """A property does not hold."""
        self.violations.append(Violation(rule, what))


def _wave(job: ProviderJob) -> str:
    """The wave whose job it is, by its token."""
    return job.token.partition("-draft-")[0]
