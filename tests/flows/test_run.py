"""What a run looks at, and what it records of its wave, before anything is sent."""

from pathlib import Path

import pytest
from tests.servers import environment, provider_before

from imagewave.errors import ImagewaveError
from imagewave.flows.run import open_run, record_wave
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import load_wave

pytestmark = pytest.mark.heavy


def test_the_wave_file_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "covers.toml"
    file.write_text('[wave]\nname = "w"\n[[brief]]\nid = "a"\ntext = "a red bicycle"\n')
    store = Store.open(str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    wave = load_wave("covers.toml")

    record_wave(store, wave)
    record_wave(store, wave.model_copy(update={"file": str(file)}))

    rows = query(store, "SELECT file, revision FROM raw_waves")
    assert rows == [{"file": str(file), "revision": wave.revision}]


def test_no_realm_is_marked_before_every_lane_of_the_wave_is_fine(tmp_path: Path) -> None:
    server = 'lane = "gpu"\n[draft]\nmodel = "flux schnell"\n[final]\ncarry = "accept"\n'
    claude = '[judge]\nmodel = "claude-haiku-5-5"\n'
    no_key = {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": ""}
    store = Store.open(str(tmp_path / "store"))
    with (
        EmbeddedSandbox(tmp_path / "sandbox") as sandbox,
        provider_before(sandbox.url) as real,
    ):
        surroundings = {
            **sandbox.environment(),
            "IMAGEWAVE_GPU_BASE_URL": f"{real}/gpu/v1",
            "IMAGEWAVE_GPU_USD_PER_HOUR": "2.50",
        }
        for tables, keys, expected in (
            (server, {}, "gpu is live, and gemini-batch is the sandbox.*Unset GOOGLE_GEMINI_BASE"),
            (claude, no_key, "ANTHROPIC_API_KEY"),
        ):
            file = tmp_path / "w.toml"
            file.write_text(f'[wave]\nname = "w"\n{tables}[[brief]]\nid = "a"\ntext = "a dog"\n')
            with environment(**{**surroundings, **keys}):
                run = open_run(store, load_wave(str(file)), wait=True)
                with pytest.raises(ImagewaveError, match=expected), run:
                    pass
    assert store.list("") == ["store.json"]


def test_a_stand_in_is_looked_at_sooner_than_a_provider(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    brief = '[wave]\nname = "w"\n[[brief]]\nid = "a"\ntext = "a red bicycle"\n'
    store = Store.open(str(tmp_path / "store"))
    with EmbeddedSandbox(tmp_path / "sandbox") as sandbox, environment(**sandbox.environment()):
        for table, expected in (("", (0.2, 60)), ("[wait]\npoll_seconds = [0.1, 5]\n", (0.1, 5))):
            file.write_text(brief.replace("[[", table + "[["))
            wave = load_wave(str(file))
            with open_run(store, wave, wait=True) as run:
                assert run.wave.wait.poll_seconds == expected
                assert run.wave.revision == wave.revision
    (row,) = query(store, "SELECT spec FROM raw_waves ORDER BY recorded_at LIMIT 1")
    assert '"poll_seconds":[2.0,60.0]' in row["spec"], "what the file says is what is recorded"
