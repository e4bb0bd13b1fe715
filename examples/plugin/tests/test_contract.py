"""Easel's lane keeps what every lane of imagewave promises."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from easel import Easel
from imagewave_easel.lane import EaselBatchLane

from imagewave.testing import (
    BatchContract,
    Bench,
    DrawingContract,
    LaneContract,
    ServiceContract,
    Way,
)

WAY = Way(
    lane="easel-batch",
    model="easel-1",
    make=lambda url, key, folder: EaselBatchLane(key, url),
    partly="job_partial",
    page_size="imagewave_easel.lane.PAGE_SIZE",
)


class TestEasel(LaneContract, DrawingContract, ServiceContract, BatchContract):
    @pytest.fixture
    def bench(self, easel: Easel, tmp_path: Path) -> Iterator[Bench]:
        yield Bench(easel, WAY, tmp_path / "store")
        easel.disarm()
