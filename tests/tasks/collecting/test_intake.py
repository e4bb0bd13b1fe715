"""Putting pictures into the store as they arrive."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagewave.providers.protocol import Outcome
from imagewave.storage.images import StoredImage, put_image, read_image
from imagewave.storage.requests import FailureClass, Status
from imagewave.storage.store import Store, StoreError
from imagewave.tasks.collecting import intake as intake_module
from imagewave.tasks.collecting.intake import intake


def image(number: int, size: int = 2000) -> Outcome:
    data = b"\xff\xd8\xff" + number.to_bytes(4, "big") + bytes(size)
    return Outcome(key=f"k{number}", status=Status.IMAGE, image=data)


def refusal(number: int) -> Outcome:
    return Outcome(key=f"k{number}", status=Status.REFUSED, failure=FailureClass.REFUSED)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_outcomes_keep_their_order_and_pictures_are_in_the_store(store: Store) -> None:
    outcomes = [image(n) if n % 3 else refusal(n) for n in range(40)]
    taken = list(intake(store, outcomes))
    assert [t.outcome.key for t in taken] == [o.key for o in outcomes]
    for before, after in zip(outcomes, taken, strict=True):
        assert after.outcome.image is None
        assert (after.image is None) == (before.image is None)
        if after.image:
            stored = read_image(store, after.image.sha256, after.image.format)
            assert stored == before.image
            assert after.at == store.local_path(after.image.path)


def test_what_is_in_flight_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(store: Store, data: bytes | memoryview) -> StoredImage:
        time.sleep(0.005)
        return put_image(store, data)

    monkeypatch.setattr(intake_module, "put_image", slowly)
    pulled, yielded, in_flight = 0, 0, []

    def stream() -> Iterator[Outcome]:
        nonlocal pulled
        for number in range(30):
            pulled += 1
            in_flight.append(pulled - yielded)
            yield image(number)

    for _ in intake(store, stream(), in_flight=10_000):
        yielded += 1
    assert yielded == 30
    assert max(in_flight) <= 5  # four pictures of 2007 bytes wait, and one has just arrived


def test_a_picture_larger_than_the_bound_passes_alone(store: Store) -> None:
    taken = list(intake(store, [image(1, 50_000), image(2, 50_000)], in_flight=10_000))
    assert [t.image is not None for t in taken] == [True, True]


def test_a_store_that_cannot_be_written_stops_it(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store" / "images").write_text("in the way")
    with pytest.raises(StoreError):
        list(intake(store, [image(n) for n in range(5)]))


def test_no_thread_outlives_it(store: Store) -> None:
    def stream() -> Iterator[Outcome]:
        yield image(1)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        list(intake(store, stream()))
    abandoned = intake(store, (image(n) for n in range(100)), in_flight=4000)
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("intake")]
