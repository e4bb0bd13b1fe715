"""Waves that were handed over: nobody waits for their jobs, `watch` goes on with them.

    waiting/<wave>.json   what to run again until the wave is delivered

A wave that somebody runs and watches is not here, so nobody else spends its money.
"""

import os
from dataclasses import asdict, dataclass

import orjson

from imagewave.storage.records import read_record
from imagewave.storage.store import Store

_FOLDER = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A wave to go on with; `lane` is None where the wave file names it.

    `helpers` is how many other workers may share its collecting, where there are any. `edition` is
    the wave's, which may not be the one that its file stands for by now; "" where it has none.
    """

    wave: str
    wave_file: str
    lane: str | None = None
    helpers: int = 0
    edition: str = ""


def hand_over(store: Store, handover: Handover) -> None:
    """Leaves the wave to `watch`; whoever hands it over last says how to run it."""
    store.write(_path(handover.wave), orjson.dumps(asdict(handover), option=orjson.OPT_INDENT_2))


def take_back(store: Store, wave: str) -> None:
    """Ends what `hand_over` began; nothing happens to a wave that was not handed over."""
    store.delete(_path(wave))


def is_handed_over(store: Store, wave: str) -> bool:
    """Whether the wave is left to `watch`."""
    return store.exists(_path(wave))


def waves_left(store: Store) -> list[str]:
    """The names of the waves that are left to `watch`."""
    paths = store.list(_FOLDER)
    return [path.removeprefix(f"{_FOLDER}/").removesuffix(".json") for path in paths]


def handed_over(store: Store, wave: str) -> Handover | None:
    """How to go on with the wave; None where it is not left to `watch` (any more).

    Raises:
        BadRecord: what was written about it cannot be read.
    """
    try:
        return read_record(store, _path(wave), Handover)
    except FileNotFoundError:
        return None


def absolute(wave_file: str) -> str:
    """The wave file as any process on this machine finds it; URLs stand as they are."""
    return wave_file if "://" in wave_file else os.path.abspath(wave_file)


def _path(wave: str) -> str:
    return f"{_FOLDER}/{wave}.json"
