"""Pictures from elsewhere: screened, judged, chosen and delivered like a wave's own drafts."""

import json
import os
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image
from tests.flows.conftest import Bench

from imagewave.errors import ImagewaveError
from imagewave.sandbox.answers.pictures import Recipe, draw, encode
from imagewave.storage.catalog import find_model
from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks.drafting.imports import Imported, bring_in, find_source, waiting
from imagewave.tasks.upkeep import retain

pytestmark = pytest.mark.slow

WAVE = """
[wave]
name = "garden"
[judge]
min_score = 0.0
min_brief_fit = 0.0
[final]
size = "1K"
[[brief]]
id = "tulips"
text = "Red tulips in the rain"
want = 2
aspect_ratio = "3:2"
"""


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A folder with two good pictures of tulips."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for nonce in ("a", "b"):
        recipe = Recipe(model="mj", prompt="red tulips", nonce=nonce, width=1264, height=848)
        (folder / f"{nonce}.jpg").write_bytes(encode(draw(recipe)))
    return folder


def bring(bench: Bench, *files: Path, usd: str = "0", source: str = "midjourney") -> Imported:
    path = bench.folder / "wave.toml"
    path.write_text(WAVE)
    return bring_in(
        Store.open(bench.store_url),
        load_wave(path),
        "tulips",
        files,
        source=find_source(source),
        usd_each=Decimal(usd),
    )


def drafts_asked(bench: Bench) -> int:
    """Drafts that a model was asked for."""
    rows = bench.sql("FROM requests WHERE kind = 'draft' AND model <> 'midjourney'")
    return len(rows)


def test_good_pictures_are_delivered_and_no_draft_is_paid_for(bench: Bench, drawn: Path) -> None:
    assert bring(bench, *drawn.iterdir(), usd="0.04").new == 2
    billed = len(bench.billed())

    bench.run(WAVE)

    assert drafts_asked(bench) == 0
    kinds = [line["model"] for line in bench.billed()[billed:]]
    assert find_model("nano-banana-2-lite").id not in kinds
    lineage = bench.sql("SELECT * FROM lineage")
    assert [row["draft_model"] for row in lineage] == ["midjourney", "midjourney"]
    assert all(row["screens"].startswith("passed") and row["judge_score"] for row in lineage)
    assert {row["draft_cost_usd"] for row in lineage} == {Decimal("0.04")}
    # Finals carry the imported pictures on.
    imported = {row["image"] for row in bench.sql("FROM imports")}
    finals = bench.sql("SELECT request FROM requests WHERE kind = 'final'")
    carried = {image for row in finals for image in json.loads(row["request"])["references"]}
    assert carried == imported
    # What was paid elsewhere counts for the picture's cost, though no provider here billed it.
    (costs,) = bench.sql("SELECT sum(cost_usd) AS usd FROM costs")
    (ours,) = bench.sql("SELECT sum(captured_usd) AS usd FROM jobs")
    assert costs["usd"] == ours["usd"] + Decimal("0.08")


def test_one_good_picture_is_one_draft_less(bench: Bench, drawn: Path) -> None:
    one = next(drawn.iterdir())
    bring(bench, one)

    bench.run(WAVE)

    # Without history two are probed; one of the two that are wanted is there.
    (step,) = bench.sql("SELECT * FROM steps WHERE drafts > 0")
    assert (step["drafts"], step["accepted"], step["tried"]) == (1, 1, 0)
    assert drafts_asked(bench) == 1
    (funnel,) = bench.sql("FROM funnel")
    assert (funnel["requested"], funnel["accepted"], funnel["final"]) == (2, 2, 2)
    # It is no draft of the wave's own words, and says nothing of the model that made the other one.
    templates = bench.sql("SELECT template FROM trials WHERE tier = 'draft' ORDER BY 1")
    assert [row["template"] for row in templates] == ["(imported)", "(template)"]
    trials = bench.sql("SELECT model, tried FROM trials WHERE tier = 'draft' ORDER BY model")
    assert [row["tried"] for row in trials] == [1, 1]


def test_bad_pictures_are_rejected_with_their_reasons_and_others_told(bench: Bench) -> None:
    blank, tiny = bench.folder / "blank.png", bench.folder / "tiny.jpg"
    Image.new("RGB", (1264, 848), (127, 127, 127)).save(blank)
    Image.effect_mandelbrot((60, 40), (-3, -2.5, 2, 2.5), 90).save(tiny)
    notes, broken = bench.folder / "notes.txt", bench.folder / "broken.jpg"
    notes.write_text("these are the good ones")
    broken.write_bytes(tiny.read_bytes()[:300])
    missing = bench.folder / "missing.png"

    found = bring(bench, blank, tiny, notes, broken, missing)

    assert found.new == 2
    assert {Path(file).name for file in found.refused} == {"notes.txt", "broken.jpg", "missing.png"}
    assert "none of jpeg, png" in found.refused[str(notes)]
    bench.run(WAVE)
    rows = bench.sql(
        "SELECT reason FROM decisions JOIN imports USING (wave, brief, request_id) ORDER BY file"
    )
    assert "contrast" in rows[0]["reason"]
    assert "size" in rows[1]["reason"]
    assert drafts_asked(bench) >= 2
    (funnel,) = bench.sql("FROM funnel")
    assert funnel["final"] == 2


def test_a_camera_s_portrait_stands_upright_in_a_portrait_brief(bench: Bench) -> None:
    """The camera stored it lying on its side, and says so."""
    turned = Image.Exif()
    turned[0x0112] = 6
    recipe = Recipe(model="mj", prompt="red tulips", nonce="a", width=1264, height=848)
    photograph = bench.folder / "portrait.jpg"
    Image.fromarray(draw(recipe)[:, :, ::-1].copy()).save(photograph, quality=95, exif=turned)
    wave = WAVE.replace("3:2", "2:3").replace("want = 2", "want = 1")
    path = bench.write(wave)
    bring_in(
        Store.open(bench.store_url),
        load_wave(path),
        "tulips",
        [photograph],
        source=find_source("midjourney"),
        usd_each=Decimal(0),
    )

    bench.run(wave)

    (picture,) = bench.sql("SELECT width, height FROM images JOIN imports USING (image)")
    assert (picture["width"], picture["height"]) == (848, 1264)
    (aspect,) = bench.sql(
        "SELECT verdict FROM screens JOIN imports USING (image) WHERE check_name = 'aspect'"
    )
    assert aspect["verdict"] == "pass"
    assert drafts_asked(bench) == 0


def test_a_name_that_is_no_utf_8_loses_no_picture(bench: Bench, drawn: Path) -> None:
    odd = os.fsencode(drawn) + b"/caf\xe9.jpg"
    next(drawn.iterdir()).rename(os.fsdecode(odd))

    found = bring(bench, *drawn.iterdir())

    assert (found.new, found.refused) == (2, {})
    names = {Path(row["file"]).name for row in bench.sql("FROM imports")}
    assert "caf\\xe9.jpg" in names


def test_bringing_in_again_changes_nothing(bench: Bench, drawn: Path) -> None:
    store = Store.open(bench.store_url)
    bring(bench, *drawn.iterdir(), usd="0.04")
    before = store.list("facts")
    again = bring(bench, *drawn.iterdir(), usd="0.09")
    assert (again.new, again.known) == (0, 2)
    retain(store, drafts_days=0, grace=timedelta(0))
    assert not bench.sql("FROM every_sweeps"), "they wait to be looked at"
    assert store.list("facts") == before
    wave = load_wave(bench.folder / "wave.toml")
    assert waiting(store, wave) == {"tulips": 2}
    bench.run(WAVE)
    assert waiting(store, wave) == {}
    # Another wave of the same pictures pays nothing for them, and this one did.
    (request,) = bench.sql("SELECT DISTINCT reused FROM requests WHERE model = 'midjourney'")
    assert request["reused"] is False
    (paid,) = bench.sql("SELECT sum(cost_usd) AS usd FROM costs WHERE model = 'midjourney'")
    assert paid["usd"] == Decimal("0.08")


def test_a_wave_that_is_done_takes_no_more_until_it_wants_more(bench: Bench, drawn: Path) -> None:
    first, second = drawn.iterdir()
    bring(bench, first)
    path = bench.folder / "wave.toml"
    bench.run(WAVE)
    wave = load_wave(path)
    store, source = Store.open(bench.store_url), find_source("midjourney")
    with pytest.raises(ImagewaveError, match="made its last drafts"):
        bring_in(store, wave, "tulips", [second], source=source, usd_each=Decimal(0))
    path.write_text(path.read_text().replace("want = 2", "want = 3"))
    wave = load_wave(path)
    bring_in(store, wave, "tulips", [second], source=source, usd_each=Decimal(0))
    asked = drafts_asked(bench)

    bench.run(WAVE.replace("want = 2", "want = 3"))

    (funnel,) = bench.sql("FROM funnel")
    assert funnel["final"] == 3
    assert drafts_asked(bench) == asked, "what was imported stood in for a draft"


def test_a_seed_cannot_be_carried_on_from_a_picture(bench: Bench, drawn: Path) -> None:
    path = bench.folder / "wave.toml"
    path.write_text(WAVE.replace('size = "1K"', 'size = "1K"\ncarry = "seed"'))
    with pytest.raises(ImagewaveError, match="carry"):
        bring_in(
            Store.open(bench.store_url),
            load_wave(path),
            "tulips",
            list(drawn.iterdir()),
            source=find_source("midjourney"),
            usd_each=Decimal(0),
        )


def test_what_a_lane_reaches_is_no_source() -> None:
    with pytest.raises(ImagewaveError, match=r"Sources of imports are .*midjourney"):
        find_source("gpt image")
