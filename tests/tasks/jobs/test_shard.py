"""How a round is cut into jobs."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from tests.tasks.waves import round_of, wave

from imagewave.providers.gpu.lane import GpuLane
from imagewave.storage.catalog import find_model
from imagewave.storage.jobs.folder import JobFolder
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import Ask
from imagewave.storage.store import Store
from imagewave.tasks.jobs.shard import shard

Cut = Callable[..., list[int]]


@pytest.fixture
def sizes(tmp_path: Path) -> Cut:
    """Cuts so many drafts by a model; gives the jobs' numbers of requests."""
    store = Store.open(str(tmp_path))
    lane = GpuLane(store, [])

    def cut(model: str, count: int, **fields: object) -> list[int]:
        asks = [
            Ask(
                brief="tulips",
                prompt_id="p",
                request=Request(
                    kind=Kind.DRAFT,
                    model=model,
                    prompt="p",
                    sample=n,
                    **fields,  # type: ignore[arg-type]
                ),
                estimate_usd=Decimal(0),
            )
            for n in range(count)
        ]
        round = round_of(wave(name=f"w{model[:4]}{len(fields)}"), Kind.DRAFT)
        jobs = shard(store, round, asks, lambda model: lane, 1)
        return [JobFolder(store, job).plan().requests for job in jobs]

    return cut


def test_a_job_for_own_gpus_is_worth_loading_the_model_for(sizes: Cut) -> None:
    seconds = find_model("sdxl").gpu_seconds["1K"]
    first, *_ = found = sizes("sdxl", 1000)
    assert 400 < first * seconds <= 480
    assert sum(found) == 1000
    # Half the steps take half the time.
    assert sizes("sdxl", 1000, steps=15)[0] == pytest.approx(2 * first, abs=1)
    assert sizes("qwen-image-2512", 40)[0] == 15


def test_without_known_seconds_it_is_cut_like_any_other(sizes: Cut) -> None:
    assert sizes("sd-3.5-large", 600) == [250, 250, 100]
