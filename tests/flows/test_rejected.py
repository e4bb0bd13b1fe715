"""Briefs whose drafts were all screened out are drawn again when a person says so."""

from decimal import Decimal
from pathlib import Path

import pytest
from tests.flows.conftest import Bench

from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks.rerun import condition, failures, price

pytestmark = pytest.mark.slow

WAVE = """
[wave]
name = "fog"
[draft]
probe = 2
max_oversample = 2
[screen]
duplicate_distance = 0
[final]
size = "1K"
[judge]
min_score = 0.0
min_brief_fit = 0.0
[[brief]]
id = "fog"
text = "Nothing but fog [[sandbox:blank]]"
[[brief]]
id = "lamp"
text = "A street lamp"
"""
REJECTED = condition(rejected=True)


def drafts(bench: Bench) -> list[tuple[int, str]]:
    """(sample, request id) of the drafts of the brief that was screened out."""
    rows = bench.sql(
        "SELECT sample, request_id FROM requests WHERE brief = 'fog' AND kind = 'draft'"
        " ORDER BY sample"
    )
    return [(row["sample"], row["request_id"]) for row in rows]


def test_further_samples_are_drawn_as_priced_and_the_same_each_time(
    bench: Bench, tmp_path: Path
) -> None:
    bench.run(WAVE)
    before, billed = drafts(bench), bench.bill()
    assert [sample for sample, _ in before] == [0, 1]
    store, wave = Store.open(bench.store_url), load_wave(bench.write(WAVE))
    picked = failures(store, wave.name, wave.revision, REJECTED)
    told = price(picked, wave)
    assert {failure.redo.brief for failure in picked} == {"fog"}

    bench.run(WAVE, rerun="")
    assert bench.bill() == billed, "nothing failed, and what was rejected was not named"
    bench.run(WAVE, rerun=REJECTED)

    after = drafts(bench)
    assert [sample for sample, _ in after] == [0, 1, 2, 3]
    assert told.all is not None
    spent = bench.bill() - billed
    # Blank pictures pass no screen, so that nothing was judged.
    assert spent == pytest.approx(told.requests, rel=Decimal("0.05"))
    assert spent < told.all
    bench.run(WAVE)
    assert drafts(bench) == after

    # The same, from nothing, in another store: to the last id.
    elsewhere = Bench(tmp_path / "elsewhere", bench.sandbox)
    elsewhere.folder.mkdir()
    elsewhere.run(WAVE)
    elsewhere.run(WAVE, rerun=REJECTED)
    assert drafts(elsewhere) == after


def test_what_passes_then_is_rendered_and_delivered(bench: Bench) -> None:
    bench.configure(defects={"blank": 1.0})
    plain = WAVE.replace(" [[sandbox:blank]]", "")
    bench.run(plain)
    assert bench.sql("SELECT sum(final)::INTEGER AS n FROM funnel") == [{"n": 0}]
    bench.configure(defects="none")

    bench.run(plain, rerun=REJECTED)

    assert bench.sql("SELECT brief, final FROM funnel ORDER BY brief") == [
        {"brief": "fog", "final": 1},
        {"brief": "lamp", "final": 1},
    ]
