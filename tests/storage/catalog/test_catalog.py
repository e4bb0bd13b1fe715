"""The catalog: every model that people name, alive or dead, with its dates and its limits."""

import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from imagewave.storage import catalog
from imagewave.storage.catalog import (
    CatalogError,
    RetiredModel,
    UnknownModel,
    find_model,
    models,
    replacement_of,
    require_alive,
)
from imagewave.storage.catalog.prices import estimate

TODAY = date(2026, 11, 20)

ALIVE = (
    "gemini-3.1-flash-lite-image",
    "gemini-nano-banana-2.1",
    "gemini-3-pro-image",
    "gpt-image-2",
    "gpt-image-2.5-flare",
    "gpt-image-2.5-sunburst",
    "gpt-image-2.6-flare",
    "gpt-image-2.6-sunburst",
    "gemini-3.5-flash-lite",
    "gemini-3.8-flash",
    "claude-haiku-5-5",
)

DEAD = {
    "gemini-3.1-flash-image": (date(2026, 10, 29), "gemini-nano-banana-2.1"),
    "gemini-2.5-flash-image": (date(2026, 10, 2), "gemini-3.1-flash-lite-image"),
    "gemini-3-pro-image-preview": (date(2026, 6, 25), "gemini-3-pro-image"),
    "gemini-3.1-flash-image-preview": (date(2026, 6, 25), "gemini-nano-banana-2.1"),
    "imagen-4.0-generate-001": (date(2026, 8, 17), "gemini-nano-banana-2.1"),
    "imagen-4.0-ultra-generate-001": (date(2026, 8, 17), "gemini-3-pro-image"),
    "imagen-3.0-generate-002": (date(2026, 8, 17), "gemini-nano-banana-2.1"),
    "dall-e-2": (date(2026, 5, 12), "gpt-image-2.5-flare"),
    "dall-e-3": (date(2026, 5, 12), "gpt-image-2.5-flare"),
    "gpt-image-1": (date(2026, 10, 23), "gpt-image-2.5-sunburst"),
}

RETIRING = {
    "gpt-image-1-mini": "gpt-image-2.5-flare",
    "gpt-image-1.5": "gpt-image-2.5-sunburst",
    "chatgpt-image-latest": "gpt-image-2.5-sunburst",
    "gemini-2.5-flash": "gemini-3.5-flash-lite",
}


@pytest.mark.parametrize("name", ALIVE)
def test_living_models_are_accepted_without_a_warning(name: str) -> None:
    assert require_alive(find_model(name), TODAY) is None


@pytest.mark.parametrize("name", DEAD)
def test_dead_models_are_refused_naming_a_living_replacement(name: str) -> None:
    model = find_model(name)
    shutdown, instead = DEAD[name]

    with pytest.raises(RetiredModel) as refusal:
        require_alive(model, TODAY)

    assert str(shutdown) in refusal.value.message
    assert repr(instead) in refusal.value.fix
    assert find_model(instead).alive(TODAY)


def test_a_replacement_that_died_too_is_followed_to_its_own() -> None:
    preview = find_model("gemini-3.1-flash-image-preview")
    assert preview.replacement == "gemini-3.1-flash-image"

    before, after = date(2026, 7, 1), TODAY

    heirs = [replacement_of(preview, day) for day in (before, after)]

    assert heirs == [find_model("gemini-3.1-flash-image"), find_model("gemini-nano-banana-2.1")]


@pytest.mark.parametrize("name", RETIRING)
def test_models_that_retire_within_30_days_warn(name: str) -> None:
    model = find_model(name)
    assert model.shutdown is not None

    assert require_alive(model, model.shutdown - timedelta(days=31)) is None
    warning = require_alive(model, model.shutdown - timedelta(days=30))
    assert warning is not None
    assert "in 30 days" in warning
    assert RETIRING[name] in warning
    assert "in 1 day." in (require_alive(model, model.shutdown - timedelta(days=1)) or "")
    with pytest.raises(RetiredModel):
        require_alive(model, model.shutdown)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("nano-banana-2-lite", "gemini-3.1-flash-lite-image"),
        ("Nano Banana 2 Lite", "gemini-3.1-flash-lite-image"),
        ("nano banana pro", "gemini-3-pro-image"),
        ("nano_banana_pro", "gemini-3-pro-image"),
        ("nano banana 2.1", "gemini-nano-banana-2.1"),
        ("nano banana 2", "gemini-3.1-flash-image"),
        ("gpt image", "gpt-image-2"),
        ("GPT Image 1.5", "gpt-image-1.5"),
        ("sdxl", "sdxl"),
        ("flux schnell", "flux-1-schnell"),
        ("FLUX.1 schnell", "flux-1-schnell"),
        ("black-forest-labs/FLUX.1-schnell", "flux-1-schnell"),
        ("claude-haiku-5.5", "claude-haiku-5-5"),
        (" gemini-3.8-flash ", "gemini-3.8-flash"),
    ],
)
def test_models_are_found_by_the_names_people_use(name: str, id: str) -> None:
    assert find_model(name).id == id


def test_an_unknown_name_is_answered_with_the_nearest_living_model() -> None:
    with pytest.raises(UnknownModel, match=r"gemini-nano-banana-2\.1"):
        find_model("gemini-nano-banana-2.2")
    with pytest.raises(UnknownModel, match="imagewave models"):
        find_model("#" * 500)


def test_no_two_models_answer_to_one_name() -> None:
    owners: dict[str, set[str]] = {}
    for model in models():
        for name in (model.id, model.name, *model.aliases):
            owners.setdefault(catalog.plain_name(name), set()).add(model.id)
    assert {name: ids for name, ids in owners.items() if len(ids) > 1} == {}


@pytest.mark.parametrize("model", models(), ids=lambda model: model.id)
def test_every_row_is_sound(model: catalog.Model) -> None:
    assert model.sources, "no source is given for any of its facts"
    assert model.default_size is None or model.default_size in model.sizes
    assert set(model.image_tokens) <= set(model.sizes)
    assert model.thinking_share == 0 or "minimal" in model.thinking
    if model.shutdown is not None:
        assert model.replacement
        find_model(model.replacement)
    for (ratio, size), (width, height) in model.pixels.items():
        across, down = map(int, ratio.split(":"))
        assert ratio in model.ratios
        assert size in model.sizes
        assert width / height == pytest.approx(across / down, rel=0.035)


def test_gemini_pixels_are_the_documented_ones() -> None:
    lite, pro = find_model("lite"), find_model("pro")

    assert lite.pixels["1:1", "1K"] == (1024, 1024)
    assert lite.pixels["16:9", "1K"] == (1376, 768)
    assert pro.pixels["21:9", "4K"] == (6336, 2688)
    assert pro.pixels["4:5", "2K"] == (1856, 2304)
    assert {size for _, size in lite.pixels} == {"1K"}
    assert len(pro.pixels) == 30


def test_limits_that_the_wire_enforces_are_known() -> None:
    lite, flash, pro = map(find_model, ("lite", "nano-banana-2.1", "pro"))

    assert (lite.sizes, lite.send_size) == (("1K",), False)
    assert (flash.sizes, flash.send_size) == (("1K", "2K", "4K"), True)
    assert "1:8" in flash.ratios
    assert "1:8" not in pro.ratios
    assert {m.reference_limit for m in (lite, flash, pro)} == {14}


def test_licences_say_what_may_be_sold() -> None:
    by_use = {m.id: m.commercial_use for m in models() if m.provider == "self"}

    assert [by_use[i] for i in ("sdxl", "flux-1-schnell", "z-image-turbo")] == [True] * 3
    assert [by_use[i] for i in ("flux-1-dev", "flux-2-dev", "qwen-image-2.1")] == [False] * 3
    assert find_model("flux schnell").licence == "Apache-2.0"


def test_lookup_imports_nothing_heavy() -> None:
    code = (
        "import sys; from imagewave.storage.catalog import find_model; find_model('sdxl');"
        "print(*{'pydantic', 'genai_prices', 'prefect', 'pyarrow', 'google'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.fixture
def user_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a TOML text the user's own models file."""

    def write(text: str) -> None:
        path = tmp_path / "models.toml"
        path.write_text(text, "utf-8")
        monkeypatch.setenv(catalog.USER_FILE, str(path))

    return write


def test_a_users_file_adds_models_and_overrides_single_keys(
    user_models: Callable[[str], None],
) -> None:
    user_models(
        """
        [[model]]
        id = "our-sdxl"
        aliases = ["house style"]
        provider = "self"
        kind = "image"
        lanes = ["gpu"]
        sizes = ["1K"]
        ratios = ["1:1"]
        pixels = "gemini"

        [[model]]
        id = "gemini-3-pro-image"
        shutdown = 2027-01-31
        replacement = "nano banana 2.1"
        """
    )

    assert find_model("House Style").id == "our-sdxl"
    assert find_model("our-sdxl").pixels == {("1:1", "1K"): (1024, 1024)}
    pro = find_model("nano banana pro")
    assert (pro.shutdown, pro.sizes) == (date(2027, 1, 31), ("1K", "2K", "4K"))
    with pytest.raises(RetiredModel, match=r"gemini-nano-banana-2\.1"):
        require_alive(pro, date(2027, 2, 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[model]]\nname = "x"', ["no id"]),
        ('[[model]]\nid = "x"\nkind = "image"', ["'x'", "'provider'"]),
        ('[[model]]\nid = "sdxl"\nlane = ["gpu"]', ["'sdxl'", "'lane'", "'lanes'"]),
        ('[[model]]\nid = "sdxl"\nshutdown = "soon"', ["shutdown", "'soon'", "2026-12-01"]),
        ('[[model]]\nid = "sdxl"\nkind = "video"', ["kind", "'video'", '"image" or "text"']),
        ('[[model]]\nid = "sdxl"\nimage_tokens = { "1K" = -1 }', ["image_tokens"]),
        ('[[model]]\nid = "sdxl"\nbatch_multiplier = nan', ["batch_multiplier"]),
        ('[[model]]\nid = "sdxl"\ngpu_usd_per_hour = 1e400', ["gpu_usd_per_hour"]),
        ('[[model]]\nid = "sdxl"\npixels = "gemni"', ["'gemni'", "'gemini'"]),
        ('[[model]]\nid = "sdxl"\nsources = { a = "hearsay" }', ["'hearsay'"]),
        ('[[model]]\nid = "sdxl"\ntoken_prices = [{ input = 1 }]', ["token_prices", "since"]),
        ("[model]\nid = 3", ["[[model]]"]),
        ("[[modle]]\nid = 3", ["'modle'", "'model'"]),
        ("[[model]", ["line 1"]),
    ],
)
def test_a_faulty_users_file_is_refused_naming_the_place(
    user_models: Callable[[str], None], text: str, words: list[str]
) -> None:
    user_models(text)
    with pytest.raises(CatalogError) as error:
        models()
    for word in ["models.toml", *words]:
        assert word in str(error.value)


def test_a_users_file_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(catalog.USER_FILE, "nowhere.toml")
    with pytest.raises(CatalogError, match=r"nowhere\.toml.*does not exist"):
        models()


class TestByLane:
    FILE = """
    [[model]]
    id = "gemini-3.1-flash-lite-image"
    by_lane = { interactive = { shutdown = 2026-12-31, usd_per_image = { any = 7 } } }
    """

    @pytest.fixture(autouse=True)
    def models_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "models.toml").write_text(self.FILE)
        monkeypatch.setenv("IMAGEWAVE_MODELS", str(tmp_path / "models.toml"))

    def test_an_end_may_be_that_of_one_lane(self) -> None:
        lite = find_model("lite")
        assert lite.alive(date(2027, 1, 15))
        assert not lite.on("interactive").alive(date(2027, 1, 15))
        assert lite.on("gemini-batch") is lite

    def test_a_price_may_be_that_of_one_lane(self) -> None:
        lite = find_model("lite")
        assert estimate(lite, lane="interactive", prompt_chars=10) == 7
        assert estimate(lite, lane="gemini-batch", prompt_chars=10) < 1

    def test_what_cannot_differ_by_lane_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "wrong.toml"
        file.write_text(
            '[[model]]\nid = "gemini-3.1-flash-lite-image"\n'
            'by_lane = { interactive = { name = "x" } }\n'
        )
        monkeypatch.setenv("IMAGEWAVE_MODELS", str(file))
        with pytest.raises(CatalogError, match="lane 'interactive': there is no key 'name'"):
            models()
