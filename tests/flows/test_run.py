"""What a run looks at, and what it records of its wave, before anything is sent."""

from pathlib import Path

import pytest
from tests.servers import environment

from imagewave.errors import ImagewaveError
from imagewave.flows.run import open_run, record_wave
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.analytics import query
from imagewave.storage.store import Store
from imagewave.storage.wavefile import load_wave


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
    with EmbeddedSandbox(tmp_path / "sandbox") as sandbox:
        surroundings = {
            **sandbox.environment(),
            "IMAGEWAVE_GPU_BASE_URL": f"{sandbox.url}/gpu/v1",  # live: no stand-in's address
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
