"""One wave, end to end: the whole flow on the sandbox, over HTTP, with the official client."""

import json
from pathlib import Path

import pytest
from tests.flows.conftest import Bench

pytestmark = pytest.mark.heavy

LENIENT = """
[screen]
min_blur = 0
min_brightness = 0
max_brightness = 1
max_cast = 1
duplicate_distance = 0
[judge]
min_score = 0.0
min_brief_fit = 0.0
"""
WAVE = (
    """
[wave]
name = "garden"
[draft]
probe = 2
[final]
size = "1K"
[[brief]]
id = "tulips"
text = "Red tulips in the rain"
want = 2
aspect_ratio = "3:2"
[[brief]]
id = "bench"
text = "A wooden bench under a cherry tree"
"""
    + LENIENT
)


def test_a_wave_becomes_delivered_images_with_a_report(bench: Bench) -> None:
    report = bench.run(WAVE)

    assert "<html" in Path(bench.store_url, report).read_text()
    assert bench.sql("SELECT brief, final FROM funnel ORDER BY brief") == [
        {"brief": "bench", "final": 1},
        {"brief": "tulips", "final": 2},
    ]
    assets = bench.sql("SELECT * FROM assets ORDER BY asset")
    assert [asset["asset"] for asset in assets] == [
        "assets/garden/bench/bench-1.jpg",
        "assets/garden/tulips/tulips-1.jpg",
        "assets/garden/tulips/tulips-2.jpg",
    ]
    for asset in assets:
        file = Path(bench.store_url, asset["asset"])
        assert file.stat().st_size == asset["bytes"]
        manifest = json.loads(file.with_suffix(".json").read_text())
        assert manifest["brief"] == asset["brief"]
        assert manifest["image"] == asset["image"]


def test_every_cent_that_the_provider_billed_is_in_the_costs(bench: Bench) -> None:
    bench.run(WAVE)

    (costs,) = bench.sql("SELECT sum(cost_usd) AS usd, count(*) AS lines FROM costs")
    assert costs["usd"] == bench.bill()
    assert costs["lines"] == len(bench.billed())
    (jobs,) = bench.sql("SELECT sum(captured_usd) AS usd, sum(held_usd) AS held FROM jobs")
    assert jobs == {"usd": bench.bill(), "held": 0}


def test_a_second_run_asks_for_nothing(bench: Bench) -> None:
    bench.run(WAVE)
    billed = bench.billed()

    bench.run(WAVE)

    assert bench.billed() == billed


@pytest.mark.slow
def test_another_wave_with_the_same_briefs_pays_nothing(bench: Bench) -> None:
    bench.run(WAVE)
    billed = bench.billed()

    bench.run(WAVE.replace('"garden"', '"other-garden"'))

    assert bench.billed() == billed
    assert bench.sql("SELECT count(*) AS n FROM assets WHERE wave = 'other-garden'") == [{"n": 3}]
    assert bench.sql("SELECT bool_and(reused) AS r FROM requests WHERE wave = 'other-garden'") == [
        {"r": True}
    ]


@pytest.mark.slow
def test_cache_refresh_asks_anew(bench: Bench) -> None:
    bench.run(WAVE)
    before = {line["key"] for line in bench.billed()}

    bench.run(WAVE.replace('name = "garden"', 'name = "fresh"\ncache = "refresh"'))

    fresh = bench.sql("SELECT request_id FROM requests WHERE wave = 'fresh'")
    assert fresh
    assert not before & {row["request_id"] for row in fresh}
    assert len(bench.billed()) == len(before) + len(fresh)


@pytest.mark.slow
def test_a_changed_file_is_a_new_revision_that_pays_for_what_is_new(bench: Bench) -> None:
    bench.run(WAVE)
    before = {line["key"] for line in bench.billed()}

    more = WAVE + '\n[[brief]]\nid = "gate"\ntext = "An old garden gate"\n'
    bench.run(more)

    new = [line for line in bench.billed() if line["key"] not in before]
    assert len(bench.billed()) == len(before) + len(new)
    (gate,) = bench.sql("SELECT final FROM funnel WHERE brief = 'gate'")
    assert gate == {"final": 1}
    assert bench.sql("SELECT count(DISTINCT revision) AS n FROM raw_waves") == [{"n": 2}]

    bench.run(WAVE)  # changed back: the first revision is current again

    assert bench.sql("SELECT brief FROM briefs ORDER BY brief") == [
        {"brief": "bench"},
        {"brief": "tulips"},
    ]


@pytest.mark.slow
def test_defects_end_as_rejects_with_reasons_and_never_as_assets(bench: Bench) -> None:
    bench.configure(defects={"blank": 0.3, "block_safety": 0.2, "truncated": 0.2})
    wave = WAVE.replace("min_brightness = 0\n", "").replace("want = 2", "want = 4")

    bench.run(wave)

    rejected = bench.sql("SELECT reason FROM decisions WHERE decision = 'rejected'")
    assert rejected
    assert all(row["reason"] for row in rejected)
    bad = bench.sql(
        "SELECT asset FROM assets JOIN screens ON screens.image = assets.image"
        " WHERE verdict = 'fail' AND check_name IN ('decodes', 'contrast')"
    )
    assert bad == []


def test_a_final_carries_its_draft_as_reference(bench: Bench) -> None:
    bench.run(WAVE)

    finals = bench.sql("SELECT request, reference FROM requests WHERE kind = 'final'")
    assert len(finals) == 3
    for final in finals:
        assert json.loads(final["request"])["references"] == [final["reference"]]
    lineage = bench.sql("SELECT brief_text, draft_image, final_image, asset_image FROM lineage")
    assert {row["draft_image"] for row in lineage} == {final["reference"] for final in finals}
    assert all(row["final_image"] == row["asset_image"] for row in lineage)


def test_accept_delivers_the_drafts_themselves(bench: Bench) -> None:
    bench.run(WAVE.replace("[final]", '[final]\ncarry = "accept"'))

    assets = bench.sql("SELECT image, draft_image FROM assets")
    assert len(assets) == 3
    assert all(asset["image"] == asset["draft_image"] for asset in assets)
    assert {line["outcome"] for line in bench.billed()} == {"image", "text"}
    assert bench.sql("SELECT count(*) AS n FROM requests WHERE kind = 'final'") == [{"n": 0}]


def test_a_text_model_writes_prompts_once(bench: Bench) -> None:
    wave = WAVE + '\n[expand]\nmode = "model"\ncount = 2\n'
    bench.run(wave)

    prompts = bench.sql("SELECT brief, text, source FROM prompts")
    assert len(prompts) == 4
    assert {prompt["source"] for prompt in prompts} == {"model"}
    drafts = bench.sql("SELECT DISTINCT prompt_id FROM requests WHERE kind = 'draft'")
    assert len(drafts) > 2


def test_delivery_converts_where_asked(bench: Bench) -> None:
    bench.run(WAVE + '\n[deliver]\nformat = "webp"\n')

    assets = bench.sql("SELECT asset, format FROM assets")
    assert {asset["format"] for asset in assets} == {"webp"}
    for asset in assets:
        assert Path(bench.store_url, asset["asset"]).read_bytes()[8:12] == b"WEBP"


@pytest.mark.slow
def test_finals_of_one_draft_are_no_duplicates_of_each_other(bench: Bench) -> None:
    bench.run(WAVE.replace("duplicate_distance = 0", "duplicate_distance = 6"))
    larger = WAVE.replace("duplicate_distance = 0", "duplicate_distance = 6").replace("1K", "2K")

    bench.run(larger.replace('"garden"', '"larger"'))

    assert bench.sql("SELECT brief, final FROM funnel WHERE wave = 'larger' ORDER BY brief") == [
        {"brief": "bench", "final": 1},
        {"brief": "tulips", "final": 2},
    ]


@pytest.mark.slow
def test_a_rejected_final_does_not_stand_in_the_way_of_the_next(bench: Bench) -> None:
    wave = WAVE.replace("duplicate_distance = 0", "duplicate_distance = 6")
    wave = wave.replace("min_score = 0.0", "min_score = 0.6")
    wave = wave.replace(
        "A wooden bench under a cherry tree", "A bench [[sandbox:blurred@reference]]"
    )

    bench.run(wave)

    rejected = bench.sql(
        "SELECT reason FROM decisions"
        " WHERE brief = 'bench' AND tier = 'final' AND decision = 'rejected'"
    )
    assert len(rejected) > 1
    assert all(row["reason"].startswith("judge") for row in rejected)


@pytest.mark.slow
def test_a_draft_that_no_final_can_be_made_of_is_replaced(bench: Bench) -> None:
    """Each request, draft or final, is refused with a probability of one half."""
    bench.configure(defects={"block_safety": 0.5})
    header, _, _ = WAVE.replace(
        "probe = 2", "probe = 1\nmax_oversample = 20\nmax_rounds = 20"
    ).partition("[[brief]]")
    briefs = "".join(
        f'[[brief]]\nid = "{id}"\ntext = "A {id} by the sea"\n'
        for id in ("bench", "boat", "bridge", "gate", "house", "lamp", "mill", "tree")
    )

    bench.run(header + briefs + LENIENT.partition("[judge]")[0] + "[judge]\nenabled = false\n")

    refused = bench.sql(
        "SELECT DISTINCT brief FROM requests JOIN results USING (request_id)"
        " WHERE requests.kind = 'final' AND status = 'refused'"
    )
    assert refused
    # A brief whose only prompt was turned down before it drew anything is beyond help.
    short = bench.sql(
        "SELECT brief, reason FROM funnel LEFT JOIN stops USING (wave, brief)"
        " WHERE final < funnel.want"
    )
    assert {row["reason"] for row in short} <= {"refused"}
    assert not {row["brief"] for row in refused} & {row["brief"] for row in short}


@pytest.mark.slow
def test_drafts_are_replaced_within_the_cap_and_once(bench: Bench) -> None:
    refused = "A bench [[sandbox:block_safety@reference]]"
    wave = WAVE.replace("A wooden bench under a cherry tree", refused)

    bench.run(wave)

    counts = "SELECT kind, count(*) AS n FROM requests WHERE brief = 'bench' GROUP BY 1 ORDER BY 1"
    asked = {row["kind"]: row["n"] for row in bench.sql(counts)}
    assert (asked["draft"], asked["final"]) == (4, 4), "max_oversample is 4"
    (stop,) = bench.sql("SELECT reason, tried FROM stops WHERE brief = 'bench'")
    assert stop == {"reason": "cap", "tried": 4}
    assert bench.sql("SELECT brief, final FROM funnel ORDER BY brief") == [
        {"brief": "bench", "final": 0},
        {"brief": "tulips", "final": 2},
    ]
    billed = bench.billed()

    bench.run(wave)

    assert bench.billed() == billed
