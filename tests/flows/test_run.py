"""What a run records of its wave before anything is sent."""

from pathlib import Path

import pytest

from imagewave.flows.run import record_wave
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
