"""Routing: the cheapest models that meet what a picture is for, and a reason for each choice."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from imagewave.storage.catalog import CatalogError, find_model
from imagewave.storage.catalog.routes import USER_ROUTES, NoRoute, Route, known_uses, route
from imagewave.storage.waves.wave_file import Wave, WaveFileError, load_wave
from imagewave.tasks.judging.rubrics import use_cases

TODAY = date(2026, 11, 20)
LITE, NANO, PRO = "gemini-3.1-flash-lite-image", "gemini-nano-banana-2.1", "gemini-3-pro-image"


def found(*uses: str, lane: str = "gemini-batch", ratio: str = "16:9", **options: str) -> Route:
    chosen = route(uses, lane=lane, ratios=[ratio], today=TODAY, **options)
    assert chosen is not None
    return chosen


def test_every_use_that_has_a_rubric_has_a_route() -> None:
    assert set(known_uses()) == set(use_cases())


def test_a_use_that_nobody_knows_routes_nothing() -> None:
    assert route(["of my own", ""], lane="gemini-batch", ratios=["1:1"], today=TODAY) is None


@pytest.mark.parametrize("use", ["thumbnail", "preview", "og_image"])
def test_nobody_pays_for_a_final_where_a_draft_is_large_enough(use: str) -> None:
    assert found(use).draft.model == LITE
    assert found(use).final is None


@pytest.mark.parametrize(
    ("use", "model", "size"),
    [
        ("blog_header", NANO, "2K"),
        ("product_shot", NANO, "2K"),
        ("print", NANO, "4K"),
        ("text_in_image", PRO, "2K"),
        ("subject_identity", NANO, "2K"),
    ],
)
def test_the_final_is_the_cheapest_that_meets_the_need(use: str, model: str, size: str) -> None:
    final = found(use).final
    assert final is not None
    assert (final.model, final.size) == (model, size)


def test_the_chosen_size_is_the_smallest_that_has_the_edge() -> None:
    for use, edge in (("blog_header", 1600), ("print", 4000)):
        final = found(use, ratio="1:1").final
        assert final is not None
        model = find_model(final.model)
        assert max(model.pixels["1:1", final.size]) >= edge
        smaller = model.sizes[: model.sizes.index(final.size)]
        assert all(max(model.pixels["1:1", size]) < edge for size in smaller)


def test_several_uses_add_up() -> None:
    both = found("thumbnail", "text_in_image")
    assert both.final is not None
    assert both.final.model == PRO
    assert both.max_oversample == 6


def test_a_lane_has_models_of_its_own() -> None:
    openai = found("thumbnail", lane="openai-batch")
    assert openai.draft.model.startswith("gpt-image")
    assert openai.final is None
    # The lowest quality will do for a thumbnail, and for nothing that is kept.
    social = found("social", lane="openai-batch")
    assert (social.draft.quality, social.final and social.final.quality) == ("low", "medium")


def test_a_model_is_considered_from_its_release_to_a_month_before_its_end() -> None:
    considered = []
    for day in (date(2026, 9, 20), date(2026, 10, 2), date(2026, 10, 10)):
        chosen = route(["print"], lane="gemini-batch", ratios=["1:1"], today=day)
        assert chosen is not None
        words = " ".join(chosen.explanation).replace(",", " ").split()
        considered.append({"gemini-3.1-flash-image", NANO} & set(words))
    # The one is shut down on 10-29, the other is released on 10-06.
    assert considered == [{"gemini-3.1-flash-image"}, set(), {NANO}]


def test_the_explanation_names_the_need_the_price_and_who_else_was_there() -> None:
    needed, drafts, finals = found("blog_header").explanation
    assert needed.startswith("blog_header needs 1600 pixels")
    assert drafts.startswith(f"drafts by {LITE} 1K: $0.0168, the cheapest; {NANO} 1K")
    assert f"{LITE} is too small" in finals


def test_what_nobody_can_do_says_what_each_lacks() -> None:
    with pytest.raises(NoRoute, match="gpt-image-2 is too small"):
        found("print", lane="openai-batch")


def test_a_file_of_ones_own_overrides_and_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "routes.toml"
    file.write_text("[use.blog_header]\nedge = 1000\n[use.billboard]\nedge = 4000\n", "utf-8")
    monkeypatch.setenv(USER_ROUTES, str(file))
    assert found("blog_header").final is None
    billboard = found("billboard").final
    assert billboard is not None
    assert billboard.size == "4K"
    assert found("print").final is not None  # the others are as they were
    broken = tmp_path / "broken.toml"
    broken.write_text("[use.hero]\nedge = 0\n", "utf-8")
    monkeypatch.setenv(USER_ROUTES, str(broken))
    with pytest.raises(CatalogError, match=r"wrong at use\.hero\.edge"):
        found("hero")


# In wave files.


def load(tmp_path: Path, tables: str = "", use_case: str = "blog_header") -> Wave:
    file = tmp_path / "wave.toml"
    head = f'[wave]\nname = "w"\nuse_case = "{use_case}"\n[defaults]\naspect_ratio = "16:9"\n'
    brief = '[[brief]]\nid = "tulips"\ntext = "Tulips"\n'
    file.write_text(head + tables + brief, "utf-8")
    return load_wave(file, today=TODAY)


def test_a_wave_that_names_its_use_needs_no_models(tmp_path: Path) -> None:
    wave = load(tmp_path)
    assert (wave.draft.model, wave.draft.size, wave.draft.thinking) == (LITE, "1K", "minimal")
    assert (wave.final.model, wave.final.size, wave.final.carry) == (NANO, "2K", "reference")
    assert len(wave.routing) == 3
    thumbnails = load(tmp_path, use_case="thumbnail")
    assert (thumbnails.final.carry, thumbnails.draft.max_oversample) == ("accept", 3)


def test_what_the_file_names_is_left_alone(tmp_path: Path) -> None:
    named = f'[draft]\nmodel = "{PRO}"\n[final]\nmodel = "{PRO}"\nsize = "4K"\n'
    wave = load(tmp_path, named, use_case="thumbnail")
    assert (wave.draft.model, wave.final.model, wave.final.size) == (PRO, PRO, "4K")
    assert wave.draft.max_oversample == 4
    assert wave.routing == ()


def test_one_table_may_be_named_and_the_other_chosen(tmp_path: Path) -> None:
    drafts_named = load(tmp_path, f'[draft]\nmodel = "{NANO}"\nsize = "2K"\n')
    # The drafts are large enough by themselves now.
    assert drafts_named.final.carry == "accept"
    finals_named = load(tmp_path, '[final]\ncarry = "accept"\n')
    assert finals_named.draft.model == LITE
    assert finals_named.final.carry == "accept"
    capped = load(tmp_path, "[draft]\nmax_oversample = 2\n", use_case="text_in_image")
    assert (capped.draft.max_oversample, capped.final.model) == (2, PRO)


def test_a_brief_of_another_use_raises_the_need(tmp_path: Path) -> None:
    wave = load(
        tmp_path,
        '[[brief]]\nid = "sign"\ntext = "A sign"\nuse_case = "text_in_image"\n',
        use_case="thumbnail",
    )
    assert wave.final.model == PRO


def test_without_a_use_the_defaults_hold(tmp_path: Path) -> None:
    plain = load(tmp_path, use_case="")
    assert plain.routing == ()
    assert (plain.draft.model, plain.final.model) == (LITE, NANO)


def test_a_use_that_no_model_meets_is_a_fault_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "wave.toml"
    file.write_text(
        '[wave]\nname = "w"\nuse_case = "print"\nlane = "openai-batch"\n'
        '[[brief]]\nid = "tulips"\ntext = "Tulips"\n',
        "utf-8",
    )
    with pytest.raises(WaveFileError, match=r"line 3, wave\.use_case: No model of openai-batch"):
        load_wave(file, today=TODAY)


def test_prices_decide_and_are_those_of_the_lane() -> None:
    batch, at_once = found("hero"), found("hero", lane="interactive")
    assert batch.final is not None
    assert at_once.final is not None
    assert at_once.draft.usd <= 2 * batch.draft.usd
    assert batch.final.usd > Decimal("0.02")
