"""Editions of a wave: its file run once more, for another day, week or month, or under a new word.

An edition is a wave of its own, `<name>.<edition>`: its rounds, pictures, files, report and budget
are its own, and those of earlier editions stay as they are.
"""

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.storage.facts.analytics import query
from imagewave.storage.rounds.reruns import is_delivered
from imagewave.storage.store import Store
from imagewave.storage.waves.checks import edition_problem
from imagewave.storage.waves.handover import is_handed_over
from imagewave.storage.waves.wave import Wave

PERIODS = {
    "daily": ("%Y-%m-%d", r"\d{4}-\d\d-\d\d"),
    "weekly": ("%G-w%V", r"\d{4}-w\d\d"),
    "monthly": ("%Y-%m", r"\d{4}-\d\d"),
}
"""How the editions of a period are called, by the date in UTC, and what such names look like."""


def current(wave: Wave) -> str:
    """The edition that the wave's file stands for now; "" where it has none."""
    if wave.edition not in PERIODS:
        return wave.edition
    return clock.now().strftime(PERIODS[wave.edition][0])


def choose(
    store: Store | None, wave: Wave, edition: str | None = None, *, begin: bool = True
) -> Wave:
    """The edition of a wave, as its file says it, that is to be worked at.

    That is the one named as `edition`, which may be a period; else the file's current one. Where
    the newest edition was begun, and has neither ended nor been left to `watch`, it is that one: a
    run that was killed before midnight goes on with its own. Unless a new one may `begin`, it is
    the newest there is.

    Raises:
        ImagewaveError: `edition` cannot be one.
    """
    if edition and (fix := edition_problem(edition)):
        raise ImagewaveError(f"{edition!r} cannot be an edition.", fix)
    label = current(wave.model_copy(update={"edition": edition}) if edition else wave)
    if not label:
        return wave
    if not edition and store is not None and wave.edition in PERIODS:
        newest = _newest(store, wave)
        if newest and (not begin or _is_unfinished(store, *newest)):
            label = newest[0].removeprefix(f"{wave.name}.")
    return Wave(**{**dict(wave), "name": f"{wave.name}.{label}", "edition": label})


def _newest(store: Store, wave: Wave) -> tuple[str, str] | None:
    """The wave's newest edition of its period, by the calendar, and its revision."""
    rows = query(
        store,
        "SELECT wave, revision FROM waves WHERE series = ? AND regexp_full_match(edition, ?)"
        " ORDER BY edition DESC LIMIT 1",
        [wave.name, PERIODS[wave.edition][1]],
    )
    return (rows[0]["wave"], rows[0]["revision"]) if rows else None


def _is_unfinished(store: Store, wave: str, revision: str) -> bool:
    return not is_delivered(store, wave, revision) and not is_handed_over(store, wave)
