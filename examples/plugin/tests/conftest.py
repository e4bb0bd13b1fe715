"""Easel's stand-in, running; what is tried again is not waited for."""

from collections.abc import Iterator

import pytest
import stamina
from easel import Easel


@pytest.fixture(scope="session")
def easel() -> Iterator[Easel]:
    service = Easel()
    service.start()
    yield service
    service.stop()


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield
