"""The providers that are installed, ours and those of other distributions."""

from pathlib import Path

import pytest

from imagewave.errors import ImagewaveError
from imagewave.providers.registry import open_lane, providers
from imagewave.storage.catalog.lanes import lane_kinds
from imagewave.storage.store import Store


def test_every_lane_that_a_wave_may_name_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    store = Store.open(str(tmp_path))
    assert [open_lane(name, store).name for name in lane_kinds()] == list(lane_kinds())
    with pytest.raises(ImagewaveError, match=", ".join(lane_kinds())):
        open_lane("carrier-pigeon", store)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("no_such_module:PROVIDER", "ModuleNotFoundError"),
        ("imagewave.words:PROVIDER", "no attribute 'PROVIDER'"),
        ("imagewave.words:shown", "it is a function, not a Provider"),
        ("imagewave.providers.openai.provider:PROVIDER", "another provider 'openai'"),
    ],
)
def test_a_record_that_cannot_be_used_names_its_distribution(
    record: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(f"[imagewave.providers]\nz = {record}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    providers.cache_clear()
    try:
        with pytest.raises(ImagewaveError, match=f"of theirs cannot be used: .*{said}"):
            providers()
    finally:
        providers.cache_clear()
