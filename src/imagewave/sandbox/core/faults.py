"""Faults of the service itself, switched on for the next so many times."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from imagewave.sandbox.core.disk import write_atomically

# Every fault and its parameters with their defaults. Those that begin with `job_` and `result_`,
# and `list_lag`, are dealt to jobs when they are created.
KNOWN: Mapping[str, Mapping[str, float | bool | None]] = MappingProxyType(
    {
        "create_dropped": {},
        "create_unheard": {},
        "create_429": {"retry_after": None},
        "create_500": {"accepted": False},
        "create_503": {"accepted": False, "retry_after": None},
        "create_slow": {"seconds": 5.0},
        "list_lag": {"seconds": 5.0},
        "list_500": {},
        "get_500": {},
        "get_404": {},
        "output_unnamed": {},
        "upload_500": {},
        "download_dropped": {"fraction": 0.5},
        "download_stalled": {"fraction": 0.5, "seconds": 5.0},
        "download_500": {},
        "download_404": {},
        "download_short": {"fraction": 0.5},
        "download_lacks": {"lines": 1.0},
        "call_429": {"retry_after": None},
        "call_500": {},
        "call_dropped": {},
        "cancel_ignored": {},
        "job_failed": {},
        "job_cancelled": {},
        "job_expired": {},
        "job_partial": {},
        "job_stuck": {},
        "result_gone": {},
        "result_lacks": {"lines": 1.0},
        "result_truncated": {},
        "result_long_line": {"mb": 30.0},
        "result_crlf": {},
        "result_no_final_newline": {},
        "result_invalid_utf8": {},
    }
)


class UnknownFault(ValueError):
    """A switch that does not exist, or a parameter that it does not have."""


class Faults:
    """The switches, kept in a file so that a restart changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._armed: dict[str, dict[str, Any]] = (
            orjson.loads(path.read_bytes()) if path.exists() else {}
        )

    def arm(self, switches: Mapping[str, Any]) -> None:
        """Sets `{"get_500": 2, "download_dropped": {"times": 3, "fraction": 0.9}}`; 0 disarms.

        Raises:
            UnknownFault: and nothing is changed.
        """
        armed = {name: _parse(name, value) for name, value in switches.items()}
        with self._lock:
            self._armed.update(armed)
            self._armed = {n: v for n, v in self._armed.items() if v["times"] > 0}
            self._save()

    def clear(self) -> None:
        """Disarms everything."""
        with self._lock:
            self._armed = {}
            self._save()

    def armed(self) -> dict[str, dict[str, Any]]:
        """What is armed, with how many times are left."""
        with self._lock:
            return {name: dict(value) for name, value in self._armed.items()}

    def take(self, name: str) -> dict[str, Any] | None:
        """Uses the fault up once: its parameters, or None where it is not armed."""
        with self._lock:
            fault = self._armed.get(name)
            if fault is None:
                return None
            fault["times"] -= 1
            if fault["times"] == 0:
                del self._armed[name]
            self._save()
            return {**KNOWN[name], **fault}

    def _save(self) -> None:
        write_atomically(self._path, orjson.dumps(self._armed))


def _parse(name: str, value: Any) -> dict[str, Any]:
    if name not in KNOWN:
        raise UnknownFault(f"unknown fault {name!r}; known ones are {', '.join(KNOWN)}")
    fault = dict(value) if isinstance(value, Mapping) else {"times": value}
    fault.setdefault("times", 1)
    times = fault["times"]
    if not isinstance(times, int) or isinstance(times, bool) or times < 0:
        raise UnknownFault(f"{name!r} fires a whole number of times, not {times!r}")
    if unknown := fault.keys() - KNOWN[name].keys() - {"times"}:
        raise UnknownFault(f"{name!r} has no parameter {min(unknown)!r}")
    return fault
