"""The entries of the ledger's log, and the books: what they add up to.

Nothing here reads or writes the store; `imagewave.storage.money.ledger` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

import orjson

from imagewave.storage.store import StoreError

_ZERO = Decimal(0)
_HOUR = 60
_DAY = 24 * 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Closed jobs that the books remember; of an older one, the log itself must be asked.
CLOSED_KEPT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Money reserved for a job that is not settled yet.

    `seq` is its entry's number, and `owner` that of the entry by which it was last taken over: only
    who wrote that one gives the hold back.
    """

    seq: int
    owner: int
    job_id: str
    wave: str
    amount: Decimal
    at: datetime


class EntryKind(StrEnum):
    """What an entry does. A take makes its writer the owner of an open hold. A late entry is a cost
    that no open hold covers, a credit one that was captured too high."""

    HOLD = "hold"
    TAKE = "take"
    CAPTURE = "capture"
    RELEASE = "release"
    LATE = "late"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the log. `nonce` tells the writer its own entry from a rival's.

    `usd` is what is held, captured or given back; `settles` is the number of the hold that a
    capture closes, or of the entry whose writer has owned the hold so far: that a release closes,
    and a take takes over; `settlement` the caller's name of a late cost or a credit (empty: the
    job's own capture, which came after its hold was given back).
    """

    seq: int
    kind: EntryKind
    job_id: str
    wave: str
    usd: Decimal
    at: datetime
    nonce: str
    settles: int | None = None
    settlement: str | None = None

    def to_json(self) -> bytes:
        """The entry's file."""
        values: dict[str, object] = {
            "seq": self.seq,
            "kind": self.kind.value,
            "job_id": self.job_id,
            "wave": self.wave,
            "usd": f"{self.usd:f}",
            "at": self.at.isoformat(),
            "nonce": self.nonce,
            "settles": self.settles,
            "settlement": self.settlement,
        }
        return orjson.dumps({k: v for k, v in values.items() if v is not None})

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Reads an entry's file; ValueError, KeyError or TypeError where it is damaged."""
        raw = orjson.loads(data)
        return cls(
            seq=int(raw["seq"]),
            kind=EntryKind(raw["kind"]),
            job_id=_text(raw["job_id"]),
            wave=_text(raw["wave"]),
            usd=money(raw["usd"]),
            at=_moment(raw["at"]),
            nonce=_text(raw["nonce"]),
            settles=raw.get("settles"),
            settlement=raw.get("settlement"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A job without an open hold: it was captured, or its hold was given back."""

    wave: str
    captured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerState:
    """What the ledger says at one moment; amounts in USD.

    `seq` counts its entries and `at` is the ledger's time. `captured` is by wave and for ever;
    `hour`, `day` and `month` are what was captured in those windows over the whole store.
    """

    seq: int
    at: datetime
    holds: tuple[Hold, ...]
    captured: Mapping[str, Decimal]
    hour: Decimal
    day: Decimal
    month: Decimal

    @property
    def held(self) -> Decimal:
        """Everything that is reserved and not settled."""
        return sum((hold.amount for hold in self.holds), _ZERO)

    def held_for(self, wave: str) -> Decimal:
        """What one wave has reserved and not settled."""
        return sum((hold.amount for hold in self.holds if hold.wave == wave), _ZERO)

    def captured_for(self, wave: str) -> Decimal:
        """What one wave has spent."""
        return self.captured.get(wave, _ZERO)


@dataclass(slots=True)
class Books:
    """The log, added up. The same entries always give the same books, byte for byte.

    Captures of the last day are kept by the minute (`minutes`: minutes since 1970 -> USD), so the
    books stay small however many jobs there are. `closed` remembers the last `CLOSED_KEPT` jobs.
    """

    seq: int = 0
    at: datetime = _EPOCH
    holds: dict[str, Hold] = field(default_factory=dict)
    captured: dict[str, Decimal] = field(default_factory=dict)
    minutes: dict[int, Decimal] = field(default_factory=dict)
    months: dict[str, Decimal] = field(default_factory=dict)
    late: set[tuple[str, str]] = field(default_factory=set)
    closed: dict[str, Closed] = field(default_factory=dict)

    def apply(self, entry: Entry) -> None:
        """Adds the next entry; `StoreError` where it cannot follow from those before it."""
        if entry.seq != self.seq + 1 or entry.at < self.at or not self._allows(entry):
            raise damaged(
                entry_path(entry.seq),
                f"a {entry.kind.value} cannot follow the entries before it",
            )
        self.seq, self.at = entry.seq, entry.at
        if entry.kind is EntryKind.HOLD:
            self.closed.pop(entry.job_id, None)
            self.holds[entry.job_id] = Hold(
                seq=entry.seq,
                owner=entry.seq,
                job_id=entry.job_id,
                wave=entry.wave,
                amount=entry.usd,
                at=entry.at,
            )
            return
        if entry.kind is EntryKind.TAKE:
            self.holds[entry.job_id] = replace(self.holds[entry.job_id], owner=entry.seq)
            return
        if entry.settlement:
            self.late.add((entry.job_id, entry.settlement))
        else:
            self.holds.pop(entry.job_id, None)
            self._close(entry)
        if entry.kind is EntryKind.CREDIT:
            # The windows keep it: a budget is no looser for an estimate that was too high.
            self.captured[entry.wave] -= entry.usd
        elif entry.kind is not EntryKind.RELEASE:
            self._spend(entry)

    def _allows(self, entry: Entry) -> bool:
        hold = self.holds.get(entry.job_id)
        if entry.kind is EntryKind.HOLD:
            return hold is None
        if entry.kind is EntryKind.CREDIT:
            known = self.captured.get(entry.wave, _ZERO) >= entry.usd
            return known and (entry.job_id, entry.settlement or "") not in self.late
        if entry.kind is EntryKind.LATE:
            if entry.settlement:
                return (entry.job_id, entry.settlement) not in self.late
            closed = self.closed.get(entry.job_id)
            return hold is None and not (closed and closed.captured)
        if entry.kind is EntryKind.CAPTURE:
            return hold is not None and hold.seq == entry.settles
        return hold is not None and hold.owner == entry.settles

    def _close(self, entry: Entry) -> None:
        self.closed.pop(entry.job_id, None)
        self.closed[entry.job_id] = Closed(
            wave=entry.wave, captured=entry.kind is not EntryKind.RELEASE
        )
        if len(self.closed) > CLOSED_KEPT:
            del self.closed[next(iter(self.closed))]

    def _spend(self, entry: Entry) -> None:
        minute, month = _minute(entry.at), f"{entry.at:%Y-%m}"
        self.captured[entry.wave] = self.captured.get(entry.wave, _ZERO) + entry.usd
        self.minutes[minute] = self.minutes.get(minute, _ZERO) + entry.usd
        self.months[month] = self.months.get(month, _ZERO) + entry.usd

    def state(self, at: datetime) -> LedgerState:
        """The books as seen at `at`, which must not be before the last entry."""
        return LedgerState(
            seq=self.seq,
            at=at,
            holds=tuple(self.holds.values()),
            captured=MappingProxyType(dict(self.captured)),
            hour=self._since(_minute(at) - _HOUR),
            day=self._since(_minute(at) - _DAY),
            month=self.months.get(f"{at:%Y-%m}", _ZERO),
        )

    def _since(self, minute: int) -> Decimal:
        # Inclusive: the minute on the edge still counts, so a window is up to a minute too long.
        return sum((usd for at, usd in self.minutes.items() if at >= minute), _ZERO)

    def to_json(self) -> bytes:
        """The books as a checkpoint; forgets captures that no window reaches any more."""
        oldest = _minute(self.at) - _DAY
        self.minutes = {at: usd for at, usd in self.minutes.items() if at >= oldest}
        values = {
            "seq": self.seq,
            "at": self.at.isoformat(),
            "holds": [
                [h.seq, h.job_id, h.wave, f"{h.amount:f}", h.at.isoformat(), h.owner]
                for h in self.holds.values()
            ],
            "captured": {wave: f"{usd:f}" for wave, usd in self.captured.items()},
            "minutes": {str(at): f"{usd:f}" for at, usd in self.minutes.items()},
            "months": {month: f"{usd:f}" for month, usd in self.months.items()},
            "late": sorted(self.late),
            "closed": [[job_id, c.wave, c.captured] for job_id, c in self.closed.items()],
        }
        return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Reads a checkpoint; ValueError, KeyError or TypeError where it is damaged."""
        raw = orjson.loads(data)
        return cls(
            seq=int(raw["seq"]),
            at=_moment(raw["at"]),
            holds={
                job_id: Hold(
                    seq=int(seq),
                    owner=int(owner[0] if owner else seq),  # older checkpoints do not say
                    job_id=job_id,
                    wave=wave,
                    amount=money(usd),
                    at=_moment(at),
                )
                for seq, job_id, wave, usd, at, *owner in raw["holds"]
            },
            captured={wave: money(usd) for wave, usd in raw["captured"].items()},
            minutes={int(at): money(usd) for at, usd in raw["minutes"].items()},
            months={month: money(usd) for month, usd in raw["months"].items()},
            late={(job_id, settlement) for job_id, settlement in raw["late"]},
            closed={
                job_id: Closed(wave=wave, captured=captured)
                for job_id, wave, captured in raw["closed"]
            },
        )


def entry_path(seq: int) -> str:
    """Where in the store entry number `seq` lies."""
    return f"ledger/{seq:012d}.json"


def damaged(path: str, reason: object) -> StoreError:
    """The error for an entry that cannot be what was written."""
    return StoreError(
        f"The ledger's entry {path} is damaged: {reason}.",
        "Nothing is held or spent until it is put back as it was written (from a backup).",
    )


def _minute(at: datetime) -> int:
    return int(at.timestamp() // 60)


def money(value: Any) -> Decimal:
    """An amount from its text or Decimal: finite and not negative, else a ValueError."""
    if not isinstance(value, str | Decimal):
        raise TypeError(f"{value!r} is no decimal amount")
    try:
        usd = Decimal(value)
    except ArithmeticError as error:
        raise ValueError(f"{value!r} is no decimal amount") from error
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"{value!r} is no amount of money")
    return usd


def _moment(value: str) -> datetime:
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return at.astimezone(UTC)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no name")
    return value
