"""A run of an edition is killed, and gone on with later: nothing is paid for twice."""

import signal
from datetime import UTC, datetime

import pytest
from tests.chaos.bench import Bench, assets, check_exactly_once, write_wave

from imagewave.storage.store import Store

pytestmark = pytest.mark.slow

# Long ago, so that the day that the file stands for is another.
YESTERDAY = "2020-02-29"


@pytest.mark.parametrize(
    ("point", "cache"),
    [
        ("submit.after_create", "reuse"),
        ("collect.midway", "refresh"),
        ("deliver.midway", "refresh"),
    ],
)
def test_a_killed_edition_is_gone_on_with_on_another_day(
    bench: Bench, point: str, cache: str
) -> None:
    folder, start = bench.folder(), len(bench.billed())
    name = f"daily-{cache}-{point.replace('.', '-')}"
    lines = f'edition = "daily"\ncache = "{cache}"'
    wave = write_wave(folder, name=name, tables={"wave": lines})
    store = str(folder / "store")

    died = bench.run(wave, store, "--edition", YESTERDAY, kill_at=point)
    gone_on = bench.run(wave, store)

    assert died.code == -signal.SIGKILL
    assert gone_on.code == 0, gone_on.err
    assert f"Going on with {name}.{YESTERDAY}, which was begun and is not finished" in gone_on.out
    opened = Store.open(store)
    assert check_exactly_once(opened, bench.billed(start)) == 1.0
    delivered = assets(opened)
    assert set(delivered) == {
        f"assets/{name}.{YESTERDAY}/{brief}/{brief}-1.jpg" for brief in ("tulips", "harbour")
    }


def test_the_next_run_makes_the_edition_of_its_own_day(bench: Bench) -> None:
    folder, start = bench.folder(), len(bench.billed())
    wave = write_wave(folder, name="next", tables={"wave": 'edition = "daily"'})
    store = str(folder / "store")
    assert bench.run(wave, store, "--edition", YESTERDAY).code == 0
    days = {datetime.now(UTC).strftime("%Y-%m-%d")}

    finished = bench.run(wave, store)

    days.add(datetime.now(UTC).strftime("%Y-%m-%d"))
    assert finished.code == 0, finished.err
    opened = Store.open(store)
    assert check_exactly_once(opened, bench.billed(start)) == 1.0
    editions = {path.split("/")[1].partition(".")[2] for path in assets(opened)}
    assert len(editions) == 2
    assert editions <= {YESTERDAY, *days}
    assert len(set(assets(opened).values())) == 4
    again = bench.run(f"next.{YESTERDAY}", store, "--dry-run", command="rerun")
    assert f"no failed request of next.{YESTERDAY} is picked" in again.out
