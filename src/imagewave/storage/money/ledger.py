"""The ledger of money: what is held, what was captured, and the budgets between them.

An append-only log in the store, `ledger/<seq>.json`, one small file per entry. A process reads the
log to its end, decides, and puts its entry at the next number if that number is still free; who
loses that race reads what won and decides again. So holds are serialised without a lock, on disk
and on S3, and a budget that was kept in every entry is kept by all of them.

How it is used and what can still go wrong: docs/money.md.
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.storage.money.books import (
    Books,
    Closed,
    Entry,
    EntryKind,
    Hold,
    LedgerState,
    damaged,
    entry_path,
    money,
)
from imagewave.storage.realms import Realm, money_note
from imagewave.storage.store import Store, StoreError

__all__ = ["Budget", "BudgetExceeded", "Hold", "Ledger", "LedgerState"]

# A new process starts from the newest checkpoint and reads at most about this many entries.
CHECKPOINT_EVERY = 64
_CHECKPOINTS = "ledger/checkpoints"
# A ledger whose last entry is this far ahead of the clock was written under a wrong clock.
_CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that may be captured plus held, in USD; None is no limit.

    `wave_usd` counts one wave for ever; the others count the whole store: the last 60 minutes, the
    last 24 hours and the calendar month in UTC. Open holds count in every one of them, however old.
    """

    wave_usd: Decimal | None = None
    hour_usd: Decimal | None = None
    day_usd: Decimal | None = None
    month_usd: Decimal | None = None


class BudgetExceeded(ImagewaveError):
    """A hold would pass a budget; nothing was written. Amounts in USD.

    `budget` is the key in `[budget]` of the wave file: wave_usd, hour_usd, day_usd or month_usd.
    """

    exit_code = 3

    def __init__(
        self,
        budget: str,
        *,
        limit: Decimal,
        spent: Decimal,
        held: Decimal,
        wanted: Decimal,
        note: str = "",
        realm: Realm | None = None,
    ) -> None:
        wait = {
            "hour_usd": ", or wait: what was spent more than 60 minutes ago no longer counts",
            "day_usd": ", or wait: what was spent more than 24 hours ago no longer counts",
            "month_usd": ", or wait for the next month (UTC)",
        }.get(budget, "")
        super().__init__(
            f"The budget {budget} = {limit:f} would be passed: ${spent:f} spent + ${held:f} held"
            f" + ${wanted:f} wanted = ${spent + held + wanted:f}{money_note(realm)}.",
            f"Nothing was sent. Raise {budget} in [budget] of the wave file and run it again"
            f"{wait}.{note}",
        )
        self.budget = budget
        self.limit = limit
        self.spent = spent
        self.held = held
        self.wanted = wanted
        self.note = note
        self.realm = realm

    def __reduce__(self) -> tuple[object, ...]:
        # Task runners pickle exceptions, and the default passes the message as the budget's name.
        again = partial(
            BudgetExceeded,
            limit=self.limit,
            spent=self.spent,
            held=self.held,
            wanted=self.wanted,
            note=self.note,
            realm=self.realm,
        )
        return again, (self.budget,)


class Ledger:
    """Holds, captures and releases of one store. Threads and processes may share the store.

    Amounts are USD, finite and not negative. Reads and writes raise `StoreError` where the store
    fails or an entry is damaged; a call that failed that way can be repeated.
    """

    def __init__(self, store: Store, *, clock: Callable[[], datetime] = clock.now) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._books: Books | None = None

    def require(self, wave: str, amount: Decimal, budget: Budget) -> None:
        """Raises `BudgetExceeded` where a hold of so much would; writes nothing."""
        self._check(self.state(), wave, money(amount), budget)

    def hold(self, job_id: str, wave: str, amount: Decimal, budget: Budget) -> Hold | None:
        """Reserves `amount` for a job, or raises `BudgetExceeded` and writes nothing.

        A job whose hold is open keeps that hold, whatever the new amount; one whose hold was
        released is held anew. None: the job was captured, so there is nothing left to reserve (a
        slow process meets a job that another one has finished meanwhile).
        """
        amount = money(amount)

        def decide(books: Books, at: datetime) -> Entry | None:
            closed = books.closed.get(job_id)
            if job_id in books.holds or (closed and closed.captured):
                return None
            self._check(books.state(at), wave, amount, budget)
            return _next(books, EntryKind.HOLD, job_id, wave, amount, at)

        with self._lock:
            self._append(decide)
            return self._books_so_far().holds.get(job_id)

    def own(self, job_id: str, wave: str, amount: Decimal, budget: Budget) -> Hold | None:
        """Reserves `amount` as `hold` does, and makes the caller the owner of the hold.

        An open hold is taken over, whatever the new amount: who owned it so far gives it back no
        more. None, and nothing written, where the job was captured.
        """
        amount = money(amount)

        def decide(books: Books, at: datetime) -> Entry | None:
            closed = books.closed.get(job_id)
            if job_id in books.holds:
                return _take(books, job_id, at)
            if closed and closed.captured:
                return None
            self._check(books.state(at), wave, amount, budget)
            return _next(books, EntryKind.HOLD, job_id, wave, amount, at)

        with self._lock:
            return self._books_so_far().holds[job_id] if self._append(decide) else None

    def take(self, job_id: str) -> Hold | None:
        """Makes the caller the owner of the job's open hold; None where there is none."""

        def decide(books: Books, at: datetime) -> Entry | None:
            return _take(books, job_id, at) if job_id in books.holds else None

        with self._lock:
            return self._books_so_far().holds[job_id] if self._append(decide) else None

    def capture(self, job_id: str, amount: Decimal) -> bool:
        """Records a job's metered cost, once, and gives back the rest of its hold.

        The cost may be more than was held, and the hold may have been given back meanwhile: it is
        the truth and is recorded. False, and nothing written, where the job was captured before.

        Raises:
            ValueError: the job was never held.
        """
        amount = money(amount)

        def decide(books: Books, at: datetime) -> Entry | None:
            if hold := books.holds.get(job_id):
                return _next(
                    books,
                    EntryKind.CAPTURE,
                    job_id,
                    hold.wave,
                    amount,
                    at,
                    settles=hold.seq,
                )
            closed = books.closed.get(job_id) or self._closed_long_ago(job_id, books.seq)
            if closed.captured:
                return None
            return _next(books, EntryKind.LATE, job_id, closed.wave, amount, at, settlement="")

        with self._lock:
            return self._append(decide)

    def release(self, job_id: str, owner: int | None = None) -> bool:
        """Gives a job's open hold back whole. False, and nothing written, where there is none.

        With `owner`, that of the hold as the caller has it, also where it was taken over since.
        """

        def decide(books: Books, at: datetime) -> Entry | None:
            hold = books.holds.get(job_id)
            if hold is None or owner not in (None, hold.owner):
                return None
            return _next(
                books,
                EntryKind.RELEASE,
                job_id,
                hold.wave,
                hold.amount,
                at,
                settles=hold.owner,
            )

        with self._lock:
            return self._append(decide)

    def capture_late(self, job_id: str, wave: str, amount: Decimal, settlement: str) -> bool:
        """Records a cost on top of what a job was captured at: it was given up, and billed after.

        `settlement` names the bill (say, the provider's job): the same job and settlement count
        once, and a repeat returns False. No budget refuses it: the money is spent.
        """
        amount = money(amount)
        if not settlement:
            raise ValueError("a late cost needs the name of its bill")

        def decide(books: Books, at: datetime) -> Entry | None:
            if (job_id, settlement) in books.late:
                return None
            return _next(books, EntryKind.LATE, job_id, wave, amount, at, settlement=settlement)

        with self._lock:
            return self._append(decide)

    def credit(self, job_id: str, wave: str, amount: Decimal, settlement: str) -> bool:
        """Gives back what a job was captured too high: its cost was estimated, and is known now.

        `settlement` names the occasion: the same job and settlement count once, and a repeat
        returns False. Only the wave's sum sinks; what was spent within an hour, day or month stays.

        Raises:
            ValueError: so much was never captured.
        """
        amount = money(amount)
        if not settlement:
            raise ValueError("a credit needs the name of its occasion")

        def decide(books: Books, at: datetime) -> Entry | None:
            if (job_id, settlement) in books.late:
                return None
            if books.captured.get(wave, Decimal(0)) < amount:
                raise ValueError(f"more than wave {wave!r} has spent cannot be given back")
            return _next(books, EntryKind.CREDIT, job_id, wave, amount, at, settlement=settlement)

        with self._lock:
            return self._append(decide)

    def state(self) -> LedgerState:
        """Everything above, as of now."""
        with self._lock:
            books = self._catch_up()
            return books.state(self._now(books))

    def open_holds(self) -> list[Hold]:
        """Holds neither captured nor released, oldest first."""
        return list(self.state().holds)

    def _append(self, decide: Callable[[Books, datetime], Entry | None]) -> bool:
        """Write what `decide` wants on the books of that moment; False if it wants nothing."""
        while True:
            books = self._catch_up()
            entry = decide(books, self._now(books))
            if entry is None:
                return False
            if self._store.put_if_absent(entry_path(entry.seq), entry.to_json()):
                written = entry
            else:
                # Not free, so a rival has it, or we do: an answer that was lost on the way makes
                # a client repeat a put that had succeeded. Only reading it back tells.
                found = self._read(entry.seq)
                if found is None:
                    raise StoreError(
                        f"{entry_path(entry.seq)} exists, says the store, but cannot be read.",
                        "The store must show a written file at once.",
                    )
                written = found
            books.apply(written)
            self._write_checkpoint(books)
            if written.nonce == entry.nonce:
                return True

    def _check(self, state: LedgerState, wave: str, wanted: Decimal, budget: Budget) -> None:
        ahead = state.at - self._clock()
        note = (
            f" The ledger's last entry is {ahead} ahead of this machine's clock: one of the two"
            " clocks is or was wrong."
            if ahead > _CLOCK_TOLERANCE
            else ""
        )
        for name, limit, spent, held in (
            (
                "wave_usd",
                budget.wave_usd,
                state.captured_for(wave),
                state.held_for(wave),
            ),
            ("hour_usd", budget.hour_usd, state.hour, state.held),
            ("day_usd", budget.day_usd, state.day, state.held),
            ("month_usd", budget.month_usd, state.month, state.held),
        ):
            if limit is not None and spent + held + wanted > limit:
                raise BudgetExceeded(
                    name,
                    limit=limit,
                    spent=spent,
                    held=held,
                    wanted=wanted,
                    note=note,
                    realm=self._store.realm,
                )

    def _now(self, books: Books) -> datetime:
        # Never before the last entry: a clock set back must not make spent money look unspent.
        return max(self._clock().astimezone(UTC), books.at)

    def _books_so_far(self) -> Books:
        if self._books is None:
            self._books = self._newest_checkpoint()
        return self._books

    def _catch_up(self) -> Books:
        books = self._books_so_far()
        while (entry := self._read(books.seq + 1)) is not None:
            books.apply(entry)
        return books

    def _read(self, seq: int) -> Entry | None:
        path = entry_path(seq)
        try:
            data = self._store.read(path)
        except FileNotFoundError:
            return None
        try:
            entry = Entry.from_json(data)
            if entry.seq != seq:
                raise ValueError(f"it says that it is number {entry.seq}")
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(path, error) from error
        return entry

    def _closed_long_ago(self, job_id: str, last: int) -> Closed:
        """How a job ended that the books no longer remember: the whole log is read, backwards."""
        for seq in range(last, 0, -1):
            entry = self._read(seq)
            if entry and entry.job_id == job_id and not entry.settlement:
                return Closed(wave=entry.wave, captured=entry.kind is not EntryKind.RELEASE)
        raise ValueError(f"no money was ever held for job {job_id}")

    def _newest_checkpoint(self) -> Books:
        paths = self._store.list(_CHECKPOINTS)
        if not paths:
            return Books()
        try:
            return Books.from_json(self._store.read(paths[-1]))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"The ledger's checkpoint {paths[-1]} is damaged: {error!r}.",
                "Delete that file; it is made again from the ledger's entries.",
            ) from error

    def _write_checkpoint(self, books: Books) -> None:
        if books.seq % CHECKPOINT_EVERY == 0:
            path = f"{_CHECKPOINTS}/{books.seq:012d}.json"
            self._store.put_if_absent(path, books.to_json())


def _take(books: Books, job_id: str, at: datetime) -> Entry:
    hold = books.holds[job_id]
    nothing = Decimal(0)
    return _next(books, EntryKind.TAKE, job_id, hold.wave, nothing, at, settles=hold.owner)


def _next(
    books: Books,
    kind: EntryKind,
    job_id: str,
    wave: str,
    usd: Decimal,
    at: datetime,
    *,
    settles: int | None = None,
    settlement: str | None = None,
) -> Entry:
    return Entry(
        seq=books.seq + 1,
        kind=kind,
        job_id=job_id,
        wave=wave,
        usd=usd,
        at=at,
        nonce=uuid.uuid4().hex,
        settles=settles,
        settlement=settlement,
    )
