"""Calls on waves: what the commands of the same names do, as functions that return their results.

All of them are synchronous, and work where an event loop runs, as in a notebook.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from imagewave.api import results
from imagewave.api.errors import SandboxWarning
from imagewave.api.results import OnceResult, RerunPlan, Result
from imagewave.api.store import Store
from imagewave.errors import ImagewaveError
from imagewave.flows.progress import Progress, tell, watched_by
from imagewave.providers.lanes import providers_of
from imagewave.storage.facts.analytics import query
from imagewave.storage.store import NoStore
from imagewave.storage.store import Store as Files
from imagewave.storage.waves.checks import nearest
from imagewave.storage.waves.editions import choose
from imagewave.storage.waves.wave import Wave
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks.reporting import standing
from imagewave.tasks.stores import store_to_fill, store_to_go_on, store_unless_refused
from imagewave.words import redacted

if TYPE_CHECKING:
    from imagewave.tasks.planning.actuals import Check
    from imagewave.tasks.planning.plan import Alternative, Plan

WaveLike = Wave | str | os.PathLike[str]
StoreLike = Store | str | os.PathLike[str]
Watcher = Callable[[Progress], None]


def load(source: str | os.PathLike[str]) -> Wave:
    """Reads a wave file by path or URL, and the briefs that it names. Spends nothing.

    `warnings` of the wave are what to know before spending, `routing` is why models were chosen
    that the file does not name.

    Raises:
        WaveFileError: anything is wrong; its `problems` are all that was found, each with its file,
            line, key and fix.
    """
    return load_wave(os.fspath(source))


def plan(wave: WaveLike, *, store: StoreLike | None = None, edition: str = "") -> "Plan":
    """What a wave will cost: a mean with a range, stage by stage. Spends nothing, needs no key.

    A wave that was changed since it was loaded is planned as it is. The rates are those that the
    store has measured; there need not be a store.

    Raises:
        WaveFileError: the wave file cannot be used.
        UnknownPrice: a price is not known.
    """
    from imagewave.tasks.planning.plan import plan_wave

    loaded = _loaded(wave)
    history = _history(store, loaded)
    return plan_wave(history, choose(history, loaded, edition))


def compare(
    wave: WaveLike, models: Sequence[str], *, store: StoreLike | None = None, edition: str = ""
) -> list["Alternative"]:
    """The plan with each of these models for the drafts; `model@lane` goes by that lane.

    Where there is no plan with a model, `problem` says why.

    Raises:
        WaveFileError: the wave file cannot be used.
    """
    from imagewave.tasks.planning import plan as planning

    loaded = _loaded(wave)
    history = _history(store, loaded)
    return planning.compare(history, choose(history, loaded, edition), models)


def check_plan(
    wave: WaveLike, *, store: StoreLike | None = None, edition: str = ""
) -> list["Check"]:
    """A wave that was run, stage by stage beside the plan of it.

    Raises:
        ImagewaveError: the store knows nothing of the wave.
        NoStore: there is no store.
        WaveFileError: the wave file cannot be used.
    """
    from imagewave.tasks.planning.actuals import check
    from imagewave.tasks.planning.plan import plan_wave

    loaded = _loaded(wave)
    place = store_to_go_on(_url(store), providers_of(loaded))
    chosen = choose(place, loaded, edition, begin=False)
    return check(place, chosen, plan_wave(place, chosen, fresh=True))


def run(
    wave: WaveLike,
    *,
    store: StoreLike | None = None,
    wait: bool = True,
    edition: str = "",
    progress: Watcher | None = None,
) -> Result:
    """Runs a wave: briefs in, accepted images out. Returns what it has come to.

    A wave that is delivered already costs nothing and returns at once. With `wait=False` it returns
    when only provider jobs are left; calling it again, or `imagewave watch`, goes on. `edition`
    makes new pictures, as the wave file's key of that name does. Where the surroundings name a
    Prefect server, the run is a flow run there. Without a key the pictures are the embedded
    sandbox's stand-ins, which a `SandboxWarning` says.

    `progress` is called in this thread with how far each stage is. An exception in it is logged and
    does not end the wave. An interrupt (Ctrl-C, a notebook's stop button) does: it loses nothing,
    single calls under way are waited for, and the next call goes on from there.

    Raises:
        WaveFileError: the wave file cannot be used. Nothing was spent.
        BudgetExceeded: a budget is used up; what was paid for is kept.
        Rejected: a provider refuses the key.
        Unavailable: a provider does not answer.
        StoreError: the store cannot be used, or holds pictures of another realm.
    """
    of_file = _as_its_file_says(wave)
    place = store_to_fill(_url(store), providers_of(of_file))
    chosen = choose(place, of_file, edition)
    before = standing.paid(place, chosen.name)
    if not standing.is_done(place, chosen) or standing.owed(place, chosen.name):
        _launch(place, chosen, of_file.file, wait, progress)
    return results.result_of(place, chosen.name, before=before)


def plan_rerun(
    wave: WaveLike,
    *,
    briefs: Sequence[str] = (),
    refused: bool = False,
    rejected: bool = False,
    where: str = "",
    store: StoreLike | None = None,
    edition: str = "",
) -> RerunPlan:
    """What `rerun` with these arguments would make again, and its price. Sends nothing.

    Raises:
        ImagewaveError: there is no such brief, or `where` is no condition.
        NoStore: there is no store.
        WaveFileError: the wave file cannot be used.
    """
    return _picked(wave, briefs, refused, rejected, where, store, edition).plan


def rerun(
    wave: WaveLike,
    *,
    briefs: Sequence[str] = (),
    refused: bool = False,
    rejected: bool = False,
    where: str = "",
    store: StoreLike | None = None,
    wait: bool = True,
    edition: str = "",
    progress: Watcher | None = None,
) -> Result:
    """Makes again what failed in a wave, for briefs that lack pictures, and nothing else.

    `wave` may be the name of a wave of the store. `briefs` narrows it to these. `refused` sends
    what was refused again, word for word; `rejected` draws a further sample for each draft that was
    rejected. `where` is an SQL condition over the failed requests, in place of these three. `wait`
    and `progress` are as for `run`.

    Raises:
        ImagewaveError: there is no such brief, or `where` is no condition.
        NoStore: there is no store.
        BudgetExceeded: a budget is used up; what was paid for is kept.
        WaveFileError, Rejected, Unavailable, StoreError: as for `run`.
    """
    from imagewave.tasks.rerun import under_way

    picked = _picked(wave, briefs, refused, rejected, where, store, edition)
    place, chosen = picked.place, picked.wave
    before = standing.paid(place, chosen.name)
    # One that was killed goes on, though it has made again all that it picked.
    if picked.plan.requests or under_way(place, chosen, picked.where):
        _launch(place, chosen, picked.file, wait, progress, rerun=picked.where)
    return results.result_of(place, chosen.name, before=before)


def once(
    prompt: str,
    *,
    model: str = "nano-banana-2-lite",
    n: int = 1,
    aspect_ratio: str = "1:1",
    size: str | None = None,
    quality: str | None = None,
    max_usd: Decimal | float | str | None = None,
    lane: str = "interactive",
    store: StoreLike | None = None,
    progress: Watcher | None = None,
) -> OnceResult:
    """Makes a few pictures of one prompt, now, at the full price. What was made before is free.

    `max_usd` is the most that they may cost; above it nothing is sent.

    Raises:
        BudgetExceeded: they would cost more than `max_usd`.
        ImagewaveError: the model does not draw this, or an argument cannot be used.
        Rejected: the provider refuses.
        Unavailable: the provider does not answer.
        StoreError: the store cannot be used, or holds pictures of another realm.
    """
    from imagewave.flows.once import once_wave, require_budget

    wave = once_wave(
        prompt,
        model=model,
        n=n,
        aspect_ratio=aspect_ratio,
        size=size,
        quality=quality,
        lane=lane,
        max_usd=None if max_usd is None else _usd(max_usd),
        spelled=str,
    )
    with store_unless_refused(_url(store), providers_of(wave)) as place:
        require_budget(place, wave)
        before = standing.paid(place, wave.name)
        missing = _make(place, wave, progress)
    return results.once_result_of(place, wave.name, before=before, missing=missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picked:
    """What a rerun works on."""

    place: Files
    wave: Wave
    file: str
    where: str
    plan: RerunPlan


def _picked(
    wave: WaveLike,
    briefs: Sequence[str],
    refused: bool,
    rejected: bool,
    where: str,
    store: StoreLike | None,
    edition: str,
) -> _Picked:
    from imagewave.tasks.rerun import condition, failures, price

    if where and (briefs or refused or rejected):
        raise ImagewaveError("`where` stands in the place of briefs, refused and rejected.")
    place, of_file, its_edition = _found(store, wave)
    chosen = choose(place, of_file, edition or its_edition, begin=False)
    ids = [brief.id for brief in chosen.briefs]
    for id in briefs:
        if id not in ids:
            raise ImagewaveError(f"{chosen.name} has no brief {id!r}.", nearest(id, ids))
    where = where or condition(briefs=briefs, refused=refused, rejected=rejected)
    found = tuple(failures(place, chosen.name, chosen.revision, where))
    planned = RerunPlan(wave=chosen.name, requests=found, price=price(found, chosen))
    return _Picked(place=place, wave=chosen, file=of_file.file, where=where, plan=planned)


def _found(store: StoreLike | None, wave: WaveLike) -> tuple[Files, Wave, str]:
    """The store, and the wave as its file says it: the file that is given, or the one that a wave
    of that name was run from; and its edition, "" for none."""
    name = "" if isinstance(wave, Wave) else os.fspath(wave)
    if not name or "://" in name or (Path(name).exists() and not Path(name).is_dir()):
        of_file = _as_its_file_says(wave)
        return store_to_go_on(_url(store), providers_of(of_file)), of_file, ""
    place = store_to_go_on(_url(store))
    rows = query(place, "SELECT file, edition FROM waves WHERE wave = ?", [name])
    if not rows:
        raise ImagewaveError(
            f"There is no file {redacted(name)!r}, and no wave of that name in {place.url}.",
            "Name the wave file, or see Store.status() for the waves.",
        )
    return place, _as_its_file_says(rows[0]["file"]), rows[0]["edition"]


def _loaded(wave: WaveLike) -> Wave:
    return wave if isinstance(wave, Wave) else load(wave)


def _as_its_file_says(wave: WaveLike) -> Wave:
    """The wave as its file says it now, which is what a run reads; a loaded wave must be the same.

    Raises:
        ImagewaveError: it is not, so what was looked at is not what would be paid for.
    """
    if not isinstance(wave, Wave):
        return load(wave)
    if not wave.file:
        raise ImagewaveError(
            f"The wave {wave.name} was read from no file, and only what a file says can be run.",
            "Write a wave file and load it.",
        )
    of_file = load(wave.file)
    # Warnings and routing may change with the date.
    names = Wave.model_fields.keys() - {"warnings", "routing"}
    changed = sorted(name for name in names if getattr(of_file, name) != getattr(wave, name))
    if changed:
        raise ImagewaveError(
            f"{redacted(wave.file)} and the wave that was loaded from it differ now:"
            f" {', '.join(changed)}.",
            "Nothing was spent. Make changes in the file, and load it again.",
        )
    return of_file


def _launch(
    place: Files,
    wave: Wave,
    file: str,
    wait: bool,
    progress: Watcher | None,
    rerun: str | None = None,
) -> None:
    from imagewave.flows.launch import launch
    from imagewave.flows.stand_in import stand_in

    with stand_in(place, providers_of(wave)) as missing, _watched(progress):
        _warn(missing)
        launch(file, place.url, wait=wait, rerun=rerun, edition=wave.edition or None)


def _make(place: Files, wave: Wave, progress: Watcher | None) -> Mapping[str, int]:
    """Makes the pictures of a prompt; returns how often each reason kept one from coming."""
    from imagewave.flows.once import once
    from imagewave.flows.stand_in import stand_in

    def told(done: int, of: int) -> None:
        tell(Progress(stage="draft", requests=of, requests_done=done))

    with stand_in(place, providers_of(wave)) as missing, _watched(progress):
        _warn(missing)
        return once(place, wave, told)[1]


def _warn(missing: Sequence[str]) -> None:
    """Says that keys are missing, in the name of whoever has called `run` or its like."""
    if missing:
        warnings.warn(
            f"No {' and no '.join(missing)}: running on the embedded sandbox, whose pictures are"
            " stand-ins.",
            SandboxWarning,
            stacklevel=4,
        )


def _watched(progress: Watcher | None) -> AbstractContextManager[None]:
    return watched_by(progress) if progress else nullcontext()


def _history(store: StoreLike | None, wave: Wave) -> Files | None:
    """The store whose measurements a plan rests on; None where there is none."""
    try:
        return store_to_go_on(_url(store), providers_of(wave))
    except NoStore:
        return None


def _url(store: StoreLike | None) -> str | None:
    """The store that is named, if any."""
    if isinstance(store, Store):
        return store.url
    return None if store is None else os.fspath(store)


def _usd(amount: Decimal | float | str) -> Decimal:
    try:
        return Decimal(str(amount))
    except ArithmeticError as error:
        raise ImagewaveError(f"max_usd: {amount!r} is no amount.", "Try 0.10.") from error
