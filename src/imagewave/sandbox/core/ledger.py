"""The sandbox's books: every answered line and what it costs, append-only and synced."""

import os
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from imagewave.sandbox.core.prices import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answered line. `job` is a batch's id or, for a direct call, `calls/<n>`.

    `outcome` is image, text, refused or error; `reason` the finish reason, block reason or code.
    Errors cost nothing and stand here too, so that the books account for every line.
    """

    time: float
    job: str
    line: int
    key: str | None
    model: str
    batch: bool
    outcome: str
    reason: str
    tokens: Tokens
    usd: Decimal
    defects: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """One line of the ledger, without the newline."""
        return orjson.dumps(
            {**asdict(self), "usd": _plain(self.usd), "tokens": asdict(self.tokens)}
        )

    @classmethod
    def from_json(cls, line: bytes) -> "Entry":
        """Reads back what `to_json` wrote."""
        row = orjson.loads(line)
        row["usd"] = Decimal(row["usd"])
        row["tokens"] = Tokens(**row["tokens"])
        row["defects"] = tuple(row["defects"])
        return cls(**row)


class Ledger:
    """Entries by (job, line): each is written once, however often it is offered."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._written: set[tuple[str, int]] = set()
        self._answers: Counter[str] = Counter()
        self._billed_keys: Counter[str] = Counter()
        self._usd = Decimal(0)
        _drop_torn_line(path)
        for line in self.read().splitlines():
            self._count(Entry.from_json(line))

    def record(self, entries: Iterable[Entry]) -> None:
        """Appends those that are not in the books yet, and syncs once."""
        with self._lock, open(self._path, "ab") as file:
            for entry in entries:
                if (entry.job, entry.line) in self._written:
                    continue
                file.write(entry.to_json() + b"\n")
                self._count(entry)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> bytes:
        """The whole book as JSON Lines, oldest entry first."""
        with self._lock:
            return self._path.read_bytes() if self._path.exists() else b""

    def answers_to(self, key: str | None) -> int:
        """How often the key was answered, errors included."""
        with self._lock:
            return self._answers[key] if key else 0

    def summary(self) -> dict[str, Any]:
        """Totals: lines, billed lines, distinct billed keys, keys billed more than once, USD."""
        with self._lock:
            return {
                "lines": len(self._written),
                "billed_lines": self._billed_keys.total(),
                "billed_keys": len(self._billed_keys),
                "keys_billed_again": sum(1 for n in self._billed_keys.values() if n > 1),
                "usd": _plain(self._usd),
            }

    def _count(self, entry: Entry) -> None:
        self._written.add((entry.job, entry.line))
        if entry.key:
            self._answers[entry.key] += 1
        if entry.usd:
            self._billed_keys[entry.key or f"{entry.job}#{entry.line}"] += 1
        self._usd += entry.usd


def _drop_torn_line(path: Path) -> None:
    """A kill in the middle of a write leaves half a line; its job will offer it again."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        file.truncate(whole)


def _plain(usd: Decimal) -> str:
    return format(usd.normalize(), "f")
