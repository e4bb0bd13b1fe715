"""docs/wave-file.md shows the schema as it is: every key, every default."""

import re
import tomllib
from pathlib import Path

from pydantic import BaseModel

from imagewave.storage.sources.columns import KEYS
from imagewave.storage.waves import wave as schema
from imagewave.storage.waves.briefs import Brief
from imagewave.storage.waves.wave_file import load_wave

PAGE = Path(__file__).parents[1] / "docs" / "wave-file.md"
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
TABLES: dict[str, type[BaseModel]] = {
    "budget": schema.Budget,
    "wait": schema.Wait,
    "defaults": schema.Defaults,
    "expand": schema.Expand,
    "draft": schema.Draft,
    "screen": schema.Screen,
    "judge": schema.Judge,
    "final": schema.Final,
    "deliver": schema.Deliver,
}


def test_the_file_that_it_shows_is_a_wave(tmp_path: Path) -> None:
    path = tmp_path / "wave.toml"
    path.write_text(BLOCKS[0])

    wave = load_wave(path)

    assert [brief.id for brief in wave.briefs] == ["tulips"]


def test_it_shows_every_key_of_the_wave_with_its_default() -> None:
    shown = tomllib.loads(BLOCKS[0])["wave"]
    assert list(shown) == ["name", "use_case", "lane", "cache", "edition"]
    fields = schema.Wave.model_fields
    assert {key: fields[key].default for key in shown if key != "name"} == {
        key: value for key, value in shown.items() if key != "name"
    }


def test_it_shows_every_key_of_a_brief_with_its_default() -> None:
    [shown] = tomllib.loads(BLOCKS[0])["brief"]
    assert shown.keys() == {*KEYS, "variables"}
    for key, field in Brief.model_fields.items():
        if not field.is_required():
            assert shown[key] == field.get_default(call_default_factory=True), key


def test_it_shows_every_key_with_its_default() -> None:
    shown = tomllib.loads(BLOCKS[0])
    for name, table in TABLES.items():
        section = re.search(rf"^\[{name}\].*?(?=^\[|\Z)", BLOCKS[0], re.DOTALL | re.MULTILINE)
        assert section, name
        for key, field in table.model_fields.items():
            if key in shown[name]:
                default = field.get_default(call_default_factory=True)
                value = shown[name][key]
                assert value == (list(default) if isinstance(default, tuple) else default), key
            else:
                assert re.search(rf"\b{key}\b", section[0]), f"[{name}] {key} is not shown"
        assert not shown[name].keys() - table.model_fields.keys()
