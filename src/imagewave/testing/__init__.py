"""The contract that every lane is held to, published for the authors of providers.

Subclass the contracts that fit and give each a fixture `bench`; pytest collects their tests:

    class TestEasel(LaneContract, DrawingContract, ServiceContract, BatchContract):
        @pytest.fixture
        def bench(self, service: Service, tmp_path: Path) -> Bench:
            return Bench(service, EASEL, tmp_path)

docs/providers.md says what a service that stands in for yours must be able to do.
"""

from imagewave.testing.bench import Bench, Retired, Service, Way
from imagewave.testing.contract import (
    BatchContract,
    DrawingContract,
    JudgingContract,
    LaneContract,
    RetirementContract,
    ServiceContract,
)

__all__ = [
    "BatchContract",
    "Bench",
    "DrawingContract",
    "JudgingContract",
    "LaneContract",
    "Retired",
    "RetirementContract",
    "Service",
    "ServiceContract",
    "Way",
]
