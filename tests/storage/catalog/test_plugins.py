"""Catalogs that other distributions bring along."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagewave.storage import catalog
from imagewave.storage.catalog import CatalogError, find_model, lanes, limits, plugins
from imagewave.storage.catalog.lanes import LaneKind, lane_kinds

MODEL = """
[[model]]
id = "their-model"
provider = "theirs"
kind = "image"
lanes = ["their-lane"]
"""

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution whose catalog is this text."""
    caches = (
        plugins.catalogs,
        catalog._catalog,
        catalog._names,
        lanes._kinds,
        limits._limits,
    )

    def install(text: str) -> None:
        package = tmp_path / "their_provider"
        package.mkdir()
        package.joinpath("__init__.py").touch()
        package.joinpath("catalog.toml").write_text(text)
        info = tmp_path / "theirs-1.0.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        info.joinpath("entry_points.txt").write_text("[imagewave.catalog]\nit = their_provider\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "their_provider", raising=False)
        for each in caches:
            each.cache_clear()

    yield install
    monkeypatch.undo()
    for each in caches:
        each.cache_clear()


def test_their_lanes_and_models_stand_beside_ours(install: Install) -> None:
    install('[lane]\ntheir-lane = "batch"\n' + MODEL)
    assert find_model("their-model").lanes == ("their-lane",)
    assert find_model("lite").provider == "google"
    assert lane_kinds()["their-lane"] is LaneKind.BATCH
    assert next(iter(lane_kinds())) == "gemini-batch"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[lane", "cannot be read"),
        ("[modell]\n", "there is no table 'modell'"),
        (MODEL + "colour = 3\n", "there is no key 'colour'"),
    ],
)
def test_what_is_wrong_with_it_is_said(install: Install, text: str, said: str) -> None:
    install(text)
    with pytest.raises(CatalogError, match=said):
        catalog.models()


LIMITS = """
[[quota]]
lane = "their-lane"
what = "jobs at once"
tiers = { "tier 1" = 3 }
reference = "https://their.example/limits"
grade = "official"
date = 2026-11-20
[[time]]
lane = "their-lane"
limit_s = 3600
reference = "https://their.example/limits"
grade = "official"
date = 2026-11-20
"""


def test_their_limits_hold_for_their_lanes(install: Install) -> None:
    install('[lane]\ntheir-lane = "batch"\n' + MODEL + LIMITS)
    (quota,) = limits.quotas_of(find_model("their-model"), "their-lane")
    assert quota.tiers == {"tier 1": 3}
    took = limits.time_of("their-lane")
    assert took is not None
    assert took.limit_s == 3600


def test_a_limit_without_a_source_is_wrong(install: Install) -> None:
    install('[[time]]\nlane = "their-lane"\n')
    with pytest.raises(CatalogError, match="of theirs: a limit is wrong: 'reference'"):
        limits.time_of("their-lane")


def test_a_kind_of_lane_that_there_is_not_is_named(install: Install) -> None:
    install('[lane]\ntheir-lane = "queue"\n')
    with pytest.raises(CatalogError, match="cannot be of the kind 'queue'"):
        lane_kinds()


def test_a_models_file_brings_no_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[lane]\nmine = "batch"\n')
    monkeypatch.setenv("IMAGEWAVE_MODELS", str(file))
    with pytest.raises(CatalogError, match="brings no table 'lane'"):
        catalog.models()
