"""Wave files: the smallest that works, what each fault is told, and what makes a revision."""

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import fsspec
import pytest

from imagewave.providers.lanes import providers_of
from imagewave.storage.catalog import find_model
from imagewave.storage.waves.wave_file import Wave, WaveFileError, load_wave, template_fields

TODAY = date(2026, 11, 20)
EXAMPLES = Path(__file__).parents[3] / "examples"

MINIMAL = """\
[wave]
name = "tiny"

[[brief]]
text = "A red bicycle in rain"
"""

Load = Callable[..., Wave]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a wave from text, with other files beside it."""

    def load(text: str, *, today: date = TODAY, **beside: str) -> Wave:
        for name, content in beside.items():
            (tmp_path / name.replace("_", ".")).write_text(content, "utf-8")
        (tmp_path / "w.toml").write_text(text, "utf-8")
        return load_wave(tmp_path / "w.toml", today=today)

    return load


def problems(load: Load, text: str, **beside: str) -> list[tuple[int | None, str, str]]:
    """Line, key and words of each problem of a wave."""
    with pytest.raises(WaveFileError) as error:
        load(text, **beside)
    return [(p.line, p.key, f"{p.message} {p.fix}") for p in error.value.problems]


def test_a_name_and_a_brief_are_enough(load: Load) -> None:
    wave = load(MINIMAL)

    (brief,) = wave.briefs
    assert (brief.id, brief.want, brief.aspect_ratio) == ("a-red-bicycle-in-rain", 1, "1:1")
    assert wave.brief("a-red-bicycle-in-rain") is brief
    assert (wave.draft.model, wave.draft.size, wave.draft.thinking) == (
        "gemini-3.1-flash-lite-image",
        "1K",
        "minimal",
    )
    assert (wave.final.model, wave.final.size, wave.final.carry) == (
        "gemini-nano-banana-2.1",
        "1K",
        "reference",
    )
    assert (wave.expand.mode, wave.lane, wave.cache) == ("none", "gemini-batch", "reuse")
    assert wave.budget.wave_usd is None
    assert wave.warnings == ()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_sound(path: Path) -> None:
    wave = load_wave(path, today=TODAY)

    assert wave.name == path.stem
    assert len(wave.briefs) >= 3
    # The export has a row for a second colour, and one for a second picture.
    passed_over = ["2 rows", "'Title'"] if path.stem == "shopify-export" else []
    assert len(wave.warnings) == bool(passed_over)
    assert all(words in wave.warnings[0] for words in passed_over)
    assert wave.budget.wave_usd is not None


def test_a_template_may_name_what_every_brief_has(load: Load) -> None:
    wave = load(MINIMAL + '[expand]\ntemplates = ["{text} {aspect_ratio} {brief}"]\n')
    assert wave.expand.templates == ("{text} {aspect_ratio} {brief}",)


def test_money_is_exact(load: Load) -> None:
    wave = load(MINIMAL + "[budget]\nwave_usd = 0.10\nday_usd = 5\n")
    assert (wave.budget.wave_usd, wave.budget.day_usd) == (Decimal("0.10"), Decimal(5))


def test_a_brief_takes_what_it_leaves_out_from_the_wave(load: Load) -> None:
    wave = load(
        """
        [wave]
        name = "w"
        use_case = "hero"
        [defaults]
        want = 3
        aspect_ratio = "16:9"
        [[brief]]
        text = "a"
        variables = { year = 2026, sold = true }
        [[brief]]
        text = "b"
        want = 1
        use_case = "social"
        expected_text = "SALE"
        """
    )
    first, second = wave.briefs
    assert (first.want, first.aspect_ratio, first.use_case) == (3, "16:9", "hero")
    assert first.variables == {"year": "2026", "sold": "true"}
    assert (second.want, second.use_case, second.expected_text) == (1, "social", "SALE")


def test_nicknames_become_ids_and_sizes_their_spelling(load: Load) -> None:
    wave = load(
        MINIMAL + '[draft]\nmodel = "nano banana 2 lite"\n'
        '[final]\nmodel = "Nano Banana Pro"\nsize = "4k"\n'
        '[judge]\nmodel = "flash"\n'
    )
    assert wave.draft.model == "gemini-3.1-flash-lite-image"
    assert (wave.final.model, wave.final.size) == ("gemini-3-pro-image", "4K")
    assert wave.judge.model == "gemini-3.8-flash"


def test_templates_alone_choose_their_mode(load: Load) -> None:
    assert load(MINIMAL + '[expand]\ntemplates = ["{text}"]\n').expand.mode == "template"
    assert load(MINIMAL + '[expand]\ntemplates = ["{text}"]\nmode = "none"\n').expand.mode == "none"


HEAD = '[wave]\nname = "w"\n'
BRIEF = '[[brief]]\nid = "b"\ntext = "a"\n'


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        # keys and tables
        (HEAD + BRIEF + "[drafts]\n", 6, "drafts", ["Did you mean 'draft'?"]),
        (HEAD + BRIEF + '[draft]\nmodle = "x"', 7, "draft.modle", ["Did you mean 'model'?"]),
        (HEAD + BRIEF + "wnat = 2", 6, "brief[1].wnat", ["'want'", "variables"]),
        (
            HEAD + BRIEF + "[draft]\nmax_rounds = 0",
            7,
            "draft.max_rounds",
            ["0", "at least 1 and at most 20"],
        ),
        (HEAD + BRIEF + "[judge]\nmin_score = 2.5", 7, "judge.min_score", ["2.5", "1"]),
        (HEAD + BRIEF + "[judge]\nmin_score = nan", 7, "judge.min_score", ["NaN"]),
        (HEAD + BRIEF + "[budget]\nwave_usd = -1", 7, "budget.wave_usd", ["-1", "more than 0"]),
        (HEAD + BRIEF + "[budget]\nwave_usd = inf", 7, "budget.wave_usd", ["finite"]),
        (HEAD + BRIEF + 'draft = "x"', 6, "brief[1].draft", ["no such key"]),
        ('draft = "x"\n' + HEAD + BRIEF, 1, "draft", ["'x'"]),
        (HEAD + BRIEF + '[final]\ncarry = "copy"', 7, "final.carry", ["'reference'", "'seed'"]),
        (HEAD + BRIEF + "[wait]\npoll_seconds = [1]", 7, "wait.poll_seconds[2]", ["missing"]),
        (HEAD + BRIEF + "[wait]\npoll_seconds = [9, 1]", 7, "wait.poll_seconds", ["shortest"]),
        ("[wave]\n" + BRIEF, 1, "wave.name", ["missing"]),
        (BRIEF, None, "", ["[wave]", "name ="]),
        ('[wave]\nname = "Spring!"\n' + BRIEF, 2, "wave.name", ["'Spring!'", "'spring'"]),
        ('[wave]\nname = "../up"\n' + BRIEF, 2, "wave.name", ["'../up'", "'up'"]),
        (HEAD + 'lane = "gemini"\n' + BRIEF, 3, "wave.lane", ["'gemini-batch'"]),
        # briefs
        (HEAD, None, "", ["no briefs", "[[brief]]", "[briefs]"]),
        ("brief = []\n" + HEAD, None, "", ["no briefs"]),
        (HEAD + '[brief]\ntext = "a"', 3, "brief", ["[[brief]]"]),
        (HEAD + '[[brief]]\nid = "x"\n', 3, "brief[1].text", ["missing"]),
        (HEAD + '[[brief]]\ntext = " "\n', 4, "brief[1].text", ["empty"]),
        (HEAD + "[[brief]]\ntext = 5\n", 4, "brief[1].text", ["5", "a text in quotes"]),
        (HEAD + '[[brief]]\ntext = "a\\u0000"', 4, "brief[1].text", ["control characters"]),
        (HEAD + f'[[brief]]\ntext = "{"a" * 20_001}"', 4, "brief[1].text", ["20001", "20000"]),
        (HEAD + BRIEF + "want = 0", 6, "brief[1].want", ["0", "at least 1 and at most 1000"]),
        (HEAD + BRIEF + "want = true", 6, "brief[1].want", ["true is not", "a whole number"]),
        (HEAD + BRIEF + BRIEF, 7, "brief[2].id", ["'b'", "brief 1"]),
        (HEAD + '[[brief]]\ntext = "a"\nid = " "', 5, "brief[1].id", ["empty"]),
        (HEAD + f'[[brief]]\ntext = "a"\nid = "{"n" * 300}"', 5, "brief[1].id", ["300", "200"]),
        # models
        (HEAD + BRIEF + '[draft]\nmodel = "dall-e-9"', 7, "draft.model", ["Did you mean"]),
        (
            HEAD + BRIEF + '[final]\nmodel = "gemini-2.5-flash-image"',
            7,
            "final.model",
            ["2026-10-02", "'gemini-3.1-flash-lite-image'"],
        ),
        (
            HEAD + BRIEF + '[judge]\nmodel = "nano banana pro"',
            7,
            "judge.model",
            ["for images", "gemini-3.5-flash-lite"],
        ),
        (
            HEAD + BRIEF + '[draft]\nmodel = "gpt-image-2"',
            7,
            "draft.model",
            ["gemini-batch", "gemini-nano-banana-2.1"],
        ),
        (HEAD + BRIEF + '[draft]\nsize = "2K"', 7, "draft.size", ["'2K'", "one of 1K."]),
        (HEAD + BRIEF + '[final]\nsize = "512"', 7, "final.size", ["1K, 2K, 4K"]),
        (HEAD + BRIEF + '[final]\nthinking = "lots"', 7, "final.thinking", ["minimal, medium"]),
        (
            HEAD + BRIEF + '[final]\nmodel = "pro"\nthinking = "high"',
            8,
            "final.thinking",
            ["Leave thinking out"],
        ),
        (
            HEAD + BRIEF + 'aspect_ratio = "16:10"',
            6,
            "brief[1].aspect_ratio",
            ["'16:10'", "16:9, 21:9"],
        ),
        (
            HEAD + '[defaults]\naspect_ratio = "1x1"\n' + BRIEF + BRIEF.replace('"b"', '"c"'),
            4,
            "defaults.aspect_ratio",
            ["'1x1'", "1:1, 2:3"],
        ),
        # templates
        (
            HEAD + BRIEF + '[expand]\ntemplates = ["{txt}"]',
            7,
            "expand.templates",
            ["{txt}", "'text'"],
        ),
        (
            HEAD + BRIEF + '[expand]\ntemplates = ["{text.__class__}"]',
            7,
            "expand.templates",
            ["{text.__class__}", "plain name"],
        ),
        (HEAD + BRIEF + '[expand]\ntemplates = ["{text[0]}"]', 7, "expand.templates", ["plain"]),
        (HEAD + BRIEF + '[expand]\ntemplates = ["{}"]', 7, "expand.templates", ["{}"]),
        (HEAD + BRIEF + '[expand]\ntemplates = ["{text"]', 7, "expand.templates", ["{text"]),
        (HEAD + BRIEF + '[expand]\nmode = "template"', 6, "expand.templates", ["{text}"]),
        (
            HEAD + BRIEF + '[expand.alternatives]\ntext = ["a"]',
            7,
            "expand.alternatives.text",
            ["brief's own text"],
        ),
        (
            HEAD + BRIEF + "[expand.alternatives]\nlight = []",
            7,
            "expand.alternatives.light",
            ["at least 1"],
        ),
        # sources
        (
            HEAD + '[briefs]\nsource = "s.csv"\n[briefs.columns]\n"a b" = "text"',
            6,
            "briefs.columns.a b",
            ["aspect_ratio", "variable"],
        ),
        (
            HEAD + '[briefs]\nsource = "s.csv"\ncolumns = { text = "Titel" }',
            1,
            "",
            ["'Titel'", "text"],
        ),
        (HEAD + '[briefs]\nsource = "none.csv"', 4, "briefs.source", ["none.csv", "not exist"]),
        (HEAD + '[briefs]\nsource = "w.toml"', 4, "briefs.source", ["csv, tsv, jsonl", "format"]),
        (HEAD + "[briefs]\n", 3, "briefs.source", ["missing"]),
        (HEAD + '[briefs]\nsource = "s.csv"', None, "", ["no briefs"]),
    ],
)
def test_one_fault_is_told_with_its_line_its_key_and_the_fix(
    load: Load, text: str, line: int | None, key: str, words: list[str]
) -> None:
    (problem,) = problems(load, text, s_csv="text\n")
    assert problem[:2] == (line, key)
    for word in words:
        assert word in problem[2]
    assert len(problem[2]) < 400


def test_all_faults_are_told_in_the_order_of_the_file(load: Load) -> None:
    found = problems(
        load,
        '[wave]\nname = "W"\nlane = "x"\n[draft]\nmodel = "nope-9000"\nsize = "9K"\nspeed = 1\n'
        '[[brief]]\nid = " "\nwant = 0\naspect_ratio = "2:1"\n[briefs]\nsource = "s.csv"\n',
        s_csv="text,want\na,many\nb\n",
    )
    assert [problem[:2] for problem in found] == [
        (2, "wave.name"),
        (3, "wave.lane"),
        (5, "draft.model"),
        (7, "draft.speed"),
        (8, "brief[1].text"),
        (9, "brief[1].id"),
        (10, "brief[1].want"),
        (11, "brief[1].aspect_ratio"),
        (2, "want"),
        (3, ""),
    ]


def test_faults_of_a_source_name_its_file_and_row(load: Load, tmp_path: Path) -> None:
    with pytest.raises(WaveFileError) as error:
        load(
            HEAD + '[briefs]\nsource = "s.csv"\n',
            s_csv="id,text,want,aspect_ratio\nok,a,1,1:1\nok,a,0,1:3\n",
        )
    assert [(p.file, p.line, p.key) for p in error.value.problems] == [
        (str(tmp_path / "s.csv"), 3, key) for key in ("want", "id", "aspect_ratio")
    ]
    assert f"{tmp_path / 's.csv'}, line 3, want: 0 is not possible." in str(error.value)


def test_values_that_no_json_can_hold_are_refused_by_row(load: Load) -> None:
    found = problems(
        load,
        HEAD + '[briefs]\nsource = "s.jsonl"\n',
        s_jsonl='{"text": "a\\ud800"}\n{"text": "b", "colour": "\\udfff"}\n'
        '{"text": "c", "want": 1e400}\n{"text": ' + "[" * 100_000 + "\n",
    )
    assert [problem[:2] for problem in found] == [
        (1, "text"),
        (2, "variables.colour"),
        (3, ""),
        (4, ""),
    ]


def test_inline_briefs_and_a_source_add_up(load: Load) -> None:
    wave = load(
        HEAD + BRIEF + '[briefs]\nsource = "s.csv"\n[expand]\ntemplates = ["{text} in {colour}"]\n'
        '[expand.alternatives]\ncolour = ["red"]\n',
        s_csv="id,text,Season\nc,d,spring\n",
    )
    assert [brief.id for brief in wave.briefs] == ["b", "c"]
    assert wave.brief("c").variables == {"season": "spring"}


def test_a_variable_that_some_briefs_lack_names_one_of_them(load: Load) -> None:
    (problem,) = problems(
        load,
        HEAD + '[briefs]\nsource = "s.csv"\n[expand]\ntemplates = ["{text} {season}"]\n',
        s_csv="id,text,season\na,a,spring\nb,b,\nc,c,\n",
    )
    assert "'b' and 1 more" in problem[2]
    assert "{season}" in problem[2]


def test_a_wave_and_its_source_may_live_at_a_url() -> None:
    files = {"w.toml": HEAD + '[briefs]\nsource = "in/s.csv"\n', "in/s.csv": "text\nfrom afar\n"}
    for name, content in files.items():
        with fsspec.open(f"memory://waves/{name}", "w") as file:
            file.write(content)

    wave = load_wave("memory://waves/w.toml", today=TODAY)

    assert [brief.text for brief in wave.briefs] == ["from afar"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[wave]\nname = tiny\n", ["line 2", "not TOML", "quotes"]),
        (b"a = " + b"[" * 100_000, ["nested too deeply"]),
        (b'[wave]\nname = "\xff"\n', ["line 2", "UTF-8"]),
        (b'[wave]\nname = "a"\nname = "b"\n', ["line 3", "not TOML"]),
    ],
)
def test_a_file_that_is_no_toml_names_the_line(
    tmp_path: Path, content: bytes, words: list[str]
) -> None:
    (tmp_path / "w.toml").write_bytes(content)
    with pytest.raises(WaveFileError) as error:
        load_wave(tmp_path / "w.toml")
    for word in [str(tmp_path / "w.toml"), *words]:
        assert word in str(error.value)


def test_a_missing_wave_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WaveFileError, match=r"none\.toml: it does not exist"):
        load_wave(tmp_path / "none.toml")
    with pytest.raises(WaveFileError, match="folder"):
        load_wave(tmp_path)


def test_hundreds_of_problems_are_counted_rather_than_listed(load: Load) -> None:
    rows = "".join(f"b{i},a,0\n" for i in range(300))
    with pytest.raises(WaveFileError) as error:
        load(HEAD + '[briefs]\nsource = "s.csv"\n', s_csv="id,text,want\n" + rows)
    assert len(error.value.problems) == 300
    assert "The wave has 300 problems:" in str(error.value)
    assert "… and 280 more" in str(error.value)
    assert len(str(error.value).splitlines()) == 22


def test_a_model_that_retires_soon_warns_and_one_that_is_retired_is_refused(load: Load) -> None:
    text = MINIMAL + '[judge]\nmodel = "gemini-2.5-flash"\n'
    shutdown = find_model("gemini-2.5-flash").shutdown
    assert shutdown is not None

    assert load(text, today=date(2026, 10, 1)).warnings == ()
    (warning,) = load(text, today=TODAY).warnings
    assert str(shutdown) in warning
    assert "gemini-3.5-flash-lite" in warning
    with pytest.raises(WaveFileError, match="shut down"):
        load(text, today=shutdown)


def test_models_that_are_not_used_may_be_retired(load: Load) -> None:
    load(
        MINIMAL + '[judge]\nenabled = false\nmodel = "gpt-image-1"\n'
        '[final]\ncarry = "accept"\nmodel = "dall-e-3"\n[expand]\nmodel = "dall-e-3"\n'
    )


def test_seeds_are_warned_of_where_they_are_hints(load: Load) -> None:
    (warning,) = load(MINIMAL + '[final]\ncarry = "seed"\n').warnings
    assert "hints" in warning


OWN = MINIMAL.replace('"tiny"', '"tiny"\nlane = "gpu"')


def test_own_gpus_draw_with_what_a_model_s_authors_advise_unless_told(load: Load) -> None:
    wave = load(OWN + '[draft]\nmodel = "sdxl"\n[final]\nmodel = "sdxl"\ncarry = "seed"\n')
    assert (wave.draft.steps, wave.draft.guidance, wave.draft.loras) == (30, 5.0, ())
    assert (wave.final.steps, wave.final.strength) == (30, 0.35)
    assert wave.warnings == ()

    told = 'steps = 12\nguidance = 0\nloras = ["org/style", "/a/b.safetensors@0.5"]\n'
    wave = load(OWN + '[draft]\nmodel = "sdxl"\n' + told + '[final]\ncarry = "accept"\n')
    assert (wave.draft.steps, wave.draft.guidance) == (12, 0.0)
    assert wave.draft.loras == ("org/style", "/a/b.safetensors@0.5")


def test_drafts_of_own_gpus_may_have_finals_by_an_api(load: Load) -> None:
    wave = load(OWN + '[draft]\nmodel = "schnell"\nfallback_model = "lite"\n')
    assert (wave.final.model, wave.final.carry) == ("gemini-nano-banana-2.1", "reference")
    assert wave.draft.fallback_model == "gemini-3.1-flash-lite-image"
    [problem] = problems(load, OWN + '[draft]\nmodel = "lite"\n')
    assert problem[1] == "draft.model"
    assert "cannot be reached by gpu" in problem[2]
    [problem] = problems(load, MINIMAL + '[final]\nmodel = "sdxl"\ncarry = "seed"\n')
    assert "cannot be reached by gemini-batch" in problem[2]


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ('model = "lite"\nsteps = 4', "draft.steps", "not rendered on your GPUs"),
        ('model = "lite"\nloras = ["a/b"]', "draft.loras", "Leave loras out"),
        ('model = "sdxl"\nsteps = 0', "draft.steps", "at least 1"),
        ('model = "sdxl"\nloras = ["a/b@much"]', "draft.loras[1]", "org/adapter@0.8"),
        ('model = "sdxl"\nloras = ["@0.5"]', "draft.loras[1]", "names no adapter"),
        ('model = "sdxl"\nloras = ["a@nan"]', "draft.loras[1]", "is no weight"),
    ],
)
def test_what_is_wrong_with_a_rendering_is_told(
    load: Load, keys: str, key: str, words: str
) -> None:
    lane = MINIMAL if "lite" in keys else OWN
    [problem] = problems(load, lane + f'[final]\ncarry = "accept"\n[draft]\n{keys}\n')
    assert problem[1] == key
    assert words in problem[2]


def test_a_ratio_must_suit_every_image_model_that_is_used(load: Load) -> None:
    wide = HEAD + '[[brief]]\ntext = "a"\naspect_ratio = "8:1"\n[draft]\nmodel = "2.1"\n'
    assert load(wide).briefs[0].aspect_ratio == "8:1"
    (problem,) = problems(load, wide + '[final]\nmodel = "pro"\n')
    assert "gemini-3-pro-image" in problem[2]
    assert "8:1," not in problem[2].split("Choose")[1]


@pytest.mark.parametrize(
    "extra",
    [
        "[budget]\nwave_usd = 9\n",
        "[wait]\nage_limit_hours = 1\n",
        '[draft]\nmodel = "nano banana 2 lite"\nsize = "1K"\n',
        "# a comment\n",
    ],
)
def test_what_is_not_creative_does_not_change_the_revision(load: Load, extra: str) -> None:
    assert load(MINIMAL + extra).revision == load(MINIMAL).revision


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL.replace("tiny", "small"),
        MINIMAL.replace("rain", "snow"),
        MINIMAL + "want = 2\n",
        MINIMAL + "[judge]\nmin_score = 0.9\n",
        MINIMAL + "[screen]\nmin_blur = 2.9\n",
        MINIMAL + '[final]\nsize = "2K"\n',
        MINIMAL + '[[brief]]\ntext = "b"\n',
    ],
)
def test_what_is_creative_changes_the_revision(load: Load, text: str) -> None:
    changed, plain = load(text), load(MINIMAL)
    assert changed.revision != plain.revision
    assert len(changed.revision) == 8
    assert int(changed.revision, 16) >= 0


def test_the_cache_is_no_part_of_the_revision(load: Load) -> None:
    fresh = load(MINIMAL.replace("[wave]", '[wave]\ncache = "refresh"'))
    assert fresh.revision == load(MINIMAL).revision


def test_the_spec_is_json_without_the_briefs(load: Load) -> None:
    wave = load(MINIMAL + "[budget]\nwave_usd = 0.10\n")
    spec = json.loads(json.dumps(wave.spec()))
    assert spec["draft"]["model"] == "gemini-3.1-flash-lite-image"
    assert spec["budget"]["wave_usd"] == "0.10"
    assert "briefs" not in spec


def test_a_wave_cannot_be_changed(load: Load) -> None:
    wave = load(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        wave.draft.model = "other"


def test_template_fields_are_plain_names() -> None:
    assert template_fields("{text}, {light} {{not}} {text}") == ["text", "light", "text"]
    assert template_fields("no field") == []
    for unsafe in ("{a.b}", "{a[b]}", "{a!r}", "{a:>9}", "{}", "{0:{a}}", "{a b}"):
        with pytest.raises(ValueError, match="plain name"):
            template_fields(unsafe)


def test_a_use_case_that_nothing_is_known_of_is_a_warning(load: Load) -> None:
    wave = load(MINIMAL.replace("[wave]", '[wave]\nuse_case = "thumbnial"'))

    (warning,) = wave.warnings
    assert "'thumbnial'" in warning
    assert "Did you mean 'thumbnail'?" in warning


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("min_blur = 300", "It should be at least 0 and at most 3"),
        ("min_blur = -1", "It should be at least 0 and at most 3"),
        ("max_border = 5", "It should be at least 0 and at most 1"),
        ("min_entropy = 9", "It should be at least 0 and at most 8"),
        ("duplicate_distance = 64", "It should be at least 0 and at most 32"),
        ("max_pixels = 0", "It should be at least 1"),
    ],
)
def test_a_threshold_that_nothing_or_everything_passes_is_refused(
    load: Load, line: str, allowed: str
) -> None:
    [(_, key, words)] = problems(load, MINIMAL + f"[screen]\n{line}\n")
    assert key == f"screen.{line.split()[0]}"
    assert allowed in words


OPENAI = """\
[wave]
name = "posters"
lane = "openai-batch"
[draft]
model = "gpt image"
[final]
model = "gpt image"
[[brief]]
text = "A red bicycle in rain"
"""


def test_one_key_is_enough_where_openai_draws(load: Load) -> None:
    wave = load(OPENAI + '[expand]\nmode = "model"\n')
    assert find_model(wave.judge.model).provider == "openai"
    assert find_model(wave.expand.model).provider == "openai"
    assert providers_of(wave) == {"openai"}
    # Named is named, and what is not used is left alone.
    named = load(OPENAI + '[judge]\nmodel = "flash-lite"\n')
    assert providers_of(named) == {"openai", "google"}
    assert named.expand.model == "gemini-3.5-flash-lite"


def test_a_wave_that_needs_googles_key_anyway_is_judged_by_google(load: Load) -> None:
    for text in (
        MINIMAL,
        OPENAI.replace("openai-batch", "interactive").replace(
            '[final]\nmodel = "gpt image"', '[final]\nmodel = "2.1"'
        ),
    ):
        assert load(text).judge.model == "gemini-3.5-flash-lite"


def test_ids_are_kept_and_their_folders_told_apart(load: Load) -> None:
    wave = load(
        HEAD + '[briefs]\nsource = "s.csv"\n',
        s_csv="id,text\nSKU-00001,a\nКатя,b\nsku-00001,c\n",
    )
    assert [brief.id for brief in wave.briefs] == ["SKU-00001", "Катя", "sku-00001"]
    assert wave.folder("Катя") == "katia"
    assert wave.folder("sku-00001") == "sku-00001"
    assert wave.folder("SKU-00001").startswith("sku-00001-")
    [warning] = wave.warnings
    for word in ("'SKU-00001'", "'sku-00001'", "folder"):
        assert word in warning


def test_how_a_list_was_read_is_said(load: Load) -> None:
    wave = load(HEAD + '[briefs]\nsource = "s.csv"\n', s_csv="id;text\na;b\n")
    [warning] = wave.warnings
    assert "semicolons" in warning


def test_a_long_value_is_refused_only_where_a_prompt_has_it(load: Load) -> None:
    rows = "text,html\na," + "<b>" * 10_000 + "\n"
    load(HEAD + '[briefs]\nsource = "s.csv"\n', s_csv=rows)
    text = HEAD + '[briefs]\nsource = "s.csv"\n[expand]\n'
    for expand in ('templates = ["{text} {html}"]', 'mode = "model"'):
        [problem] = problems(load, text + expand, s_csv=rows)
        assert problem[1] == "variables.html"
        assert "30000 characters" in problem[2]
