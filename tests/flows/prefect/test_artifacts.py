"""What Prefect shows of a wave is an ornament: where it cannot be made, the wave goes on."""

import pytest
from tests.flows.conftest import Bench
from tests.flows.prefect.test_wave import WAVE

from imagewave.flows.prefect import artifacts
from imagewave.storage.store import Store, StoreError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


@pytest.mark.parametrize("error", [ValueError("too large"), StoreError("The facts are away.")])
def test_a_wave_is_delivered_though_nothing_of_it_can_be_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(artifacts, "create_progress_artifact", failing)
    monkeypatch.setattr(artifacts, "showcase", failing)
    report = bench.run_on_prefect(WAVE)
    assert Store.open(bench.store_url).exists(report)
