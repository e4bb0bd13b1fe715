"""Retries happen, but nobody waits for them."""

from collections.abc import Iterator

import pytest
import stamina

from imagewave.providers.failures import POLICIES
from imagewave.storage.requests import FailureClass


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=POLICIES[FailureClass.TRANSIENT].attempts):
        yield
