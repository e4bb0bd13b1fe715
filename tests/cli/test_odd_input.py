"""Whatever stands in a wave file, its lists or on the command line: an answer or one clear error.

`plan` reads all that `run` reads, and spends nothing.
"""

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.cli.test_run import BRIEF, imagewave
from tests.storage.builders import small_wave
from typer.testing import CliRunner

from imagewave.cli import app
from imagewave.errors import ImagewaveError
from imagewave.storage.sources.read import FORMATS
from imagewave.storage.store import Store
from imagewave.storage.waves.briefs import Brief
from imagewave.storage.waves.wave import (
    Budget,
    Defaults,
    Deliver,
    Draft,
    Expand,
    Final,
    Judge,
    Screen,
    Wait,
)

pytestmark = pytest.mark.heavy

TABLES: dict[str, type[BaseModel]] = {
    "budget": Budget,
    "wait": Wait,
    "defaults": Defaults,
    "expand": Expand,
    "draft": Draft,
    "screen": Screen,
    "judge": Judge,
    "final": Final,
    "deliver": Deliver,
}
NINES = "9" * 5000
# What pydantic says, and our models are called.
FOREIGN = re.compile(
    r"Input should|instance of|pydantic|validation error|ValidationError|_Head|_Source|datetime\.|"
    r"Decimal\(|dictionary|tuple|Traceback"
)
UNSEEN = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

words = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("\x00\x07\x1b\x7f\x9b\u202e\u2066\u200f\u2028\ufeff[]{}/:.%=@"),
    ),
    max_size=12,
)
texts = words.map(json.dumps).map(lambda text: text.replace("\x7f", "\\u007f"))
numbers = st.one_of(
    st.integers().map(str),
    st.integers(min_value=0).map(hex),
    st.sampled_from(
        [NINES, f"0x{'f' * 5000}", f"{NINES}.5", "1e999999999", "-inf", "nan", "0", "-1", "9.5"]
    ),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
others = st.sampled_from(["true", "false", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "[]"])
odd_urls = st.sampled_from(
    ["http://[", "s3://", "://", "http://a:99999999/x.csv", "file://[/x.csv", "foo://x.csv", "~x",
     "http://\u2100.example/x.csv", "zip://a::b.csv", "..", "/", "", "data:,a", "x" * 5000,
     "a\x00b.csv"]
).map(json.dumps)  # fmt: skip
values = st.recursive(
    st.one_of(texts, numbers, others, odd_urls),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        inner.map(lambda value: f"{{a = {value}}}"),
    ),
    max_leaves=4,
)
keys = st.sampled_from(
    [(table, key) for table, model in TABLES.items() for key in (*model.model_fields, "x")]
)
in_briefs = st.sampled_from((*Brief.model_fields, "variables.x", '"\\u001b[31m"', '""'))
sources = st.sampled_from(["source", "format", "encoding", "sheet", "columns", "columns.id"])


def plan(text: str | bytes, **lists: str | bytes) -> str:
    """What `plan` says of a wave file with these lists beside it; "" where it is fine."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"w.toml": text, **lists}.items():
            data = content.encode() if isinstance(content, str) else content
            (Path(folder) / name.replace("_", ".")).write_bytes(data)
        asked = ["plan", f"{folder}/w.toml", "--store", f"{folder}/none"]
        result = CliRunner().invoke(app, asked)
        assert not (Path(folder) / "none").exists()
    if result.exit_code == 0:
        return ""
    assert isinstance(result.exception, ImagewaveError), repr(result.exception)
    said = str(result.exception)
    assert said
    assert len(said) < 20_000
    assert not UNSEEN.search(said), ascii(said)
    assert not FOREIGN.search(said), said
    return said


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(st.tuples(keys, values), min_size=1, max_size=3))
def test_odd_values_of_any_key(entries: list[tuple[tuple[str, str], str]]) -> None:
    tables: dict[str, dict[str, str]] = {}
    for (table, key), value in entries:
        tables.setdefault(table, {})[key] = value
    lines = [BRIEF]
    for table, found in tables.items():
        lines += [f"[{table}]", *(f"{key} = {value}" for key, value in found.items())]
    plan("\n".join(lines))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(in_briefs, values)
def test_odd_values_of_a_brief(key: str, value: str) -> None:
    plan(f'[wave]\nname = "w"\n[[brief]]\n{key} = {value}\n')


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sources, values)
def test_odd_sources(key: str, value: str) -> None:
    source = "" if key == "source" else 'source = "list.csv"\n'
    plan(f'[wave]\nname = "w"\n[briefs]\n{source}{key} = {value}\n', list_csv="id,text\n1,a hat\n")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(["wave", "briefs", "brief", "draft", "x", "wave.name"]), values)
def test_what_is_no_table(key: str, value: str) -> None:
    plan(f"{key} = {value}\n")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=60), st.sampled_from(FORMATS))
def test_lists_of_any_bytes(data: bytes, ending: str) -> None:
    text = f'[wave]\nname = "w"\n[briefs]\nsource = "list.{ending}"\n'
    plan(text, **{f"list_{ending}": data})


cells = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from([10**4000, "\ud800"]),
        words,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(words, inner, max_size=2)),
    max_leaves=3,
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.one_of(st.sampled_from(["id", "text", "want"]), words), cells))
def test_lists_of_any_json(row: dict[str, object]) -> None:
    text = '[wave]\nname = "w"\n[briefs]\nsource = "list.jsonl"\n'
    plan(text, list_jsonl=json.dumps(row))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.binary(max_size=80))
def test_wave_files_of_any_bytes(data: bytes) -> None:
    assert plan(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"want = {NINES}", "line 6: this number has more than the 64 bits that TOML has"),
        (f"want = 0x{'f' * 5000}", "line 6, brief[1].want: this number has more than the 64 bits"),
        ("[screen]\nmax_pixels = 18446744073709551616", "line 7, screen.max_pixels: this number"),
        ("[screen]\nmax_pixels = 9223372036854775807", "at most 2000000000"),
        (".".join(["draft"] * 5000) + " = 1", "nested too deeply"),
        (f"[{'.'.join('a' * 3000)}]\nx = 1", "nested too deeply"),
        ('"a\\u001b[31mb\\u202e" = 1', "brief[1].a\\x1b[31mb\\u202e: there is no such key"),
        (
            "[draft]\nmax_rounds = true",
            "true is not possible. It should be a whole number",
        ),
        ("[draft]\nmodel = {a = 1}", "a table is not possible. It should be a text in quotes"),
        ("[wait]\npoll_seconds = 3", "It should be a list"),
        ("[judge]\nenabled = 1", "It should be true or false, without quotes"),
    ],
)
def test_what_is_said_of_odd_values(text: str, expected: str) -> None:
    assert expected in plan(f"{BRIEF}{text}\n")


@pytest.mark.parametrize("source", ["http://[", "file://[/x.csv", "http://a:99999999/x.csv"])
def test_an_odd_address_is_named(source: str) -> None:
    said = plan(f'[wave]\nname = "w"\n[briefs]\nsource = "{source}"\n')
    assert f"line 4, briefs.source: {source}: this is no address" in said


def test_bytes_on_the_command_line_that_are_no_text(tmp_path: Path) -> None:
    ran = imagewave(tmp_path, "run", "\udcff.toml")
    assert ran.returncode == 2
    assert "\\xff.toml is not UTF-8" in ran.stderr
    assert list(tmp_path.iterdir()) == []


LONG = "a" * 5000


@pytest.mark.parametrize(
    "words",
    [
        ("run", LONG),
        ("plan", LONG),
        ("plan", "w.toml", "--store", LONG),
        ("rerun", LONG, "--store", "store"),
        ("report", LONG, "--store", "store"),
        ("status", LONG, "--store", "store"),
        ("status", "--store", LONG),
        ("once", "x", "--store", LONG),
        ("import", LONG, "--wave", "w.toml", "--brief", "a"),
        ("import", "\udcff", "--wave", "w.toml", "--brief", "\udcfe"),
        ("import", "\udcff", "--wave", "w.toml", "--brief", "a"),
        ("sql", LONG),
        ("sql", "select 1", "-o", LONG),
        ("sql", "--export", LONG, "--store", "store"),
        ("models", "show", LONG),
        ("upkeep", "--store", LONG),
        ("plan", "http://["),
        ("run", "s3://"),
        ("status", "--store", "http://["),
        ("status", "--store", "s3://["),
        ("plan", "\u202e\x1b[2J"),
    ],
)
def test_names_that_nothing_can_have_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.toml").write_text(BRIEF)
    small_wave(Store.open("store"))
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert isinstance(result.exception, ImagewaveError), repr(result.exception)


def test_a_store_whose_name_is_too_long_is_what_doctor_finds(tmp_path: Path) -> None:
    found = imagewave(tmp_path, "doctor", "--sandbox", "--store", LONG)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert "fail  store" in found.stdout
