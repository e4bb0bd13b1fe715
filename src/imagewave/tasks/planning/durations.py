"""How long a stage of a wave takes, by its lane: waits for batches, calls, or seconds of a GPU."""

from dataclasses import dataclass

from imagewave.storage.catalog import Model
from imagewave.storage.catalog.lanes import on_your_gpus
from imagewave.storage.catalog.limits import time_of
from imagewave.storage.catalog.prices import UnknownPrice, gpu_seconds
from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store

CALLS_AT_ONCE = 16
"""Calls that the interactive lane has under way, once it has found that the provider takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """Seconds that a stage is expected to take, that its provider aims at, and takes at the most.

    None where nobody knows; `basis` says where the first of them comes from.
    """

    expected_s: float | None
    limit_s: float | None
    basis: str
    aim_s: float | None = None


def duration(
    store: Store | None,
    wave: str,
    lane: str,
    model: Model,
    *,
    size: str | None,
    steps: int | None,
    waits: int,
    requests: float,
) -> Duration:
    """How long a stage takes whose requests go by this lane in so many rounds.

    The store's own jobs tell, those of `wave` excepted; without any, the catalog does.
    """
    if not requests:
        return Duration(expected_s=0.0, limit_s=0.0, basis="nothing to ask for")
    published = time_of(lane)
    if on_your_gpus(lane):
        try:
            each = gpu_seconds(model, size, steps)
        except UnknownPrice as error:
            return Duration(expected_s=None, limit_s=None, basis=error.message)
        basis = f"{each} s a picture on one GPU, by the catalog"
        return Duration(expected_s=float(each) * requests, limit_s=None, basis=basis)
    if published and published.call_s:
        measured = _measured(store, wave, lane, "/ requests")
        basis = f"{published.call_s} s a call, {CALLS_AT_ONCE} at once ({published.source.grade})"
        each_s = published.call_s / CALLS_AT_ONCE
        if measured is not None:
            each_s, basis = measured, f"{measured:.1f} s a call, as measured here"
        return Duration(expected_s=requests * each_s, limit_s=None, basis=basis)
    limit = published.limit_s * waits if published and published.limit_s else None
    aim = published.aim_s * waits if published and published.aim_s else None
    per_round = _measured(store, wave, lane, "")
    basis = f"nothing is known of {lane}"
    if per_round is not None:
        basis = f"{waits} × the median of this lane's jobs here"
    elif published and published.typical and published.typical_s:
        per_round = published.typical_s
        source = published.typical
        basis = f"{waits} × what nearly all such batches take ({source.grade}, {source.date})"
    expected = None if per_round is None else per_round * waits
    return Duration(expected_s=expected, limit_s=limit, basis=basis, aim_s=aim)


def seconds_per_wait(store: Store | None, wave: str, lane: str) -> float | None:
    """How long a job of the lane usually was with its provider; None: none was seen."""
    return _measured(store, wave, lane, "")


def _measured(store: Store | None, wave: str, lane: str, per: str) -> float | None:
    if store is None:
        return None
    (row,) = query(
        store,
        f"SELECT median(epoch(settled_at - accepted_at) {per}) AS seconds FROM jobs"
        " WHERE event = 'settled' AND lane = ? AND wave <> ?",
        [lane, wave],
    )
    seconds: float | None = row["seconds"]
    return seconds
