"""Which edition of a wave is worked at: the file's, the one named, or one that was not finished."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.tasks.waves import tell_of, wave

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.storage.facts import facts
from imagewave.storage.rounds.reruns import assets_part
from imagewave.storage.store import Store
from imagewave.storage.waves.editions import choose
from imagewave.storage.waves.handover import Handover, hand_over, handed_over, waves_left
from imagewave.storage.waves.wave import Wave


@dataclass
class Calendar:
    """A clock that shows one moment."""

    date: datetime

    def now(self) -> datetime:
        return self.date

    def steady(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture
def calendar() -> Iterator[Calendar]:
    """The last evening of 2026, which is in the 53rd week."""
    shown = Calendar(datetime(2026, 12, 31, 23, 50, tzinfo=UTC))
    before = clock.use(shown)
    yield shown
    clock.use(before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def deliver(store: Store, of: Wave) -> None:
    tell_of(store, of)
    facts.append(store, "assets", assets_part(of.name, of.revision, 0), [])


@pytest.mark.parametrize(
    ("edition", "name"),
    [
        ("", "spring"),
        ("daily", "spring.2026-12-31"),
        ("weekly", "spring.2026-w53"),
        ("monthly", "spring.2026-12"),
        ("launch", "spring.launch"),
    ],
)
def test_the_file_names_the_edition(
    store: Store, calendar: Calendar, edition: str, name: str
) -> None:
    chosen = choose(store, wave(edition=edition))

    assert (chosen.name, chosen.series) == (name, "spring")
    assert chosen.edition == name.partition(".")[2]


def test_an_edition_of_its_own_is_named_in_the_files_place(
    store: Store, calendar: Calendar
) -> None:
    assert choose(store, wave(edition="daily"), "launch").name == "spring.launch"
    assert choose(None, wave(), "monthly").name == "spring.2026-12"
    with pytest.raises(ImagewaveError, match=r"'a/b' cannot be an edition. Use daily"):
        choose(store, wave(), "a/b")


def test_an_edition_that_was_begun_is_gone_on_with_after_midnight(
    store: Store, calendar: Calendar
) -> None:
    begun = choose(store, wave(edition="daily"))
    tell_of(store, begun)
    calendar.date = datetime(2027, 1, 1, 0, 5, tzinfo=UTC)

    assert choose(store, wave(edition="daily")).name == "spring.2026-12-31"
    assert choose(store, wave(edition="daily", name="autumn")).name == "autumn.2027-01-01"
    assert choose(store, wave(edition="monthly")).name == "spring.2027-01", "another period"
    deliver(store, begun)
    assert choose(store, wave(edition="daily")).name == "spring.2027-01-01"


def test_an_edition_that_was_left_to_watch_is_not_waited_for(
    store: Store, calendar: Calendar
) -> None:
    begun = choose(store, wave(edition="daily"))
    tell_of(store, begun)
    hand_over(store, Handover(wave=begun.name, wave_file="w.toml", edition=begun.edition))
    calendar.date = datetime(2027, 1, 1, 6, tzinfo=UTC)

    assert choose(store, wave(edition="daily")).name == "spring.2027-01-01"
    [name] = waves_left(store)
    left = handed_over(store, name)
    assert left is not None
    assert left.edition == "2026-12-31"


def test_a_rerun_is_of_the_newest_edition(store: Store, calendar: Calendar) -> None:
    deliver(store, choose(store, wave(edition="daily")))
    calendar.date = datetime(2027, 1, 2, 6, tzinfo=UTC)

    assert choose(store, wave(edition="daily"), begin=False).name == "spring.2026-12-31"


def test_editions_share_no_picture_and_repeat_their_own() -> None:
    daily = wave(edition="daily")
    monday, tuesday = (choose(None, daily, day) for day in ("2026-11-30", "2026-12-01"))

    assert len({monday.salt, tuesday.salt, wave().salt}) == 3
    assert choose(None, daily, "2026-11-30").salt == monday.salt
    assert monday.revision != tuesday.revision


def test_a_file_without_an_edition_keeps_its_revision() -> None:
    assert wave(edition="").revision == wave(edition="daily").revision
