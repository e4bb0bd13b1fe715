"""Editions: the same file makes new pictures again, and what older editions made stays."""

from pathlib import Path

import pytest
from tests.flows.conftest import Bench
from tests.flows.test_wave import WAVE

pytestmark = pytest.mark.slow

DAILY = WAVE.replace('name = "garden"', 'name = "garden"\nedition = "daily"')


def test_each_edition_makes_pictures_of_its_own_and_the_older_ones_stay(bench: Bench) -> None:
    first = bench.run(DAILY, edition="2026-11-30")
    once = {line["key"] for line in bench.billed()}

    second = bench.run(DAILY, edition="2026-12-01")

    lines = [line["key"] for line in bench.billed()]
    assert len(lines) == len(set(lines)), "nothing is asked for twice"
    (new,) = bench.sql(
        "SELECT list(request_id) AS ids, bool_or(reused) AS reused FROM requests WHERE wave = ?",
        "garden.2026-12-01",
    )
    assert (set(new["ids"]), new["reused"]) == (set(lines) - once, False)
    assert (first, second) == (
        "reports/garden.2026-11-30.html",
        "reports/garden.2026-12-01.html",
    )
    assert all(Path(bench.store_url, report).exists() for report in (first, second))
    assert bench.sql(
        "SELECT series, edition, count(*) AS files, count(DISTINCT image) AS pictures"
        " FROM assets JOIN waves USING (wave) GROUP BY ALL ORDER BY edition"
    ) == [
        {"series": "garden", "edition": "2026-11-30", "files": 3, "pictures": 3},
        {"series": "garden", "edition": "2026-12-01", "files": 3, "pictures": 3},
    ]
    assert bench.sql("SELECT count(DISTINCT image) AS pictures FROM assets") == [{"pictures": 6}]
    for row in bench.sql("SELECT asset FROM assets"):
        assert Path(bench.store_url, row["asset"]).exists()


def test_an_edition_that_is_repeated_costs_nothing(bench: Bench) -> None:
    bench.run(DAILY, edition="2026-11-30")
    billed = bench.bill()

    bench.run(DAILY, edition="2026-11-30")

    assert bench.bill() == billed


def test_refresh_writes_an_editions_prompts_anew(bench: Bench) -> None:
    text = DAILY + '[expand]\nmode = "model"\ncount = 1\n'
    for cache, again in (("reuse", 0), ("refresh", 2)):
        asking = text.replace("edition", f'cache = "{cache}"\nedition').replace("garden", cache)
        bench.run(asking, edition="2026-11-30")
        bench.run(asking, edition="2026-12-01")
        (asked,) = bench.sql(
            "SELECT count(*) AS n FROM requests WHERE kind = 'expand' AND NOT reused AND wave = ?",
            f"{cache}.2026-12-01",
        )
        assert asked == {"n": again}


def test_a_wave_that_was_left_to_watch_keeps_its_edition(bench: Bench) -> None:
    from imagewave.storage.store import Store
    from imagewave.storage.waves.handover import handed_over

    bench.configure(pending_s=3600)
    bench.run(DAILY, edition="2026-11-30", wait=False)

    left = handed_over(Store.open(bench.store_url), "garden.2026-11-30")
    assert left is not None
    assert (left.wave, left.edition) == ("garden.2026-11-30", "2026-11-30")
