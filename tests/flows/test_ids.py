"""Ids as shops and authors have them: kept in every fact, while pictures go to folders of ASCII."""

import json
from pathlib import Path

import pytest
from tests.flows.conftest import Bench

from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks.rerun import failures

pytestmark = pytest.mark.heavy

WAVE = """
[wave]
name = "shop"
[judge]
enabled = false
[final]
carry = "accept"
[briefs]
source = "list.csv"
[briefs.columns]
id = "Variant SKU"
text = "Title"
"""
LIST = "Variant SKU;Title\nSKU-00001;A mug\nКатя;A portrait\nposts/../spring;A garden\n"


@pytest.mark.slow
def test_ids_are_facts_and_folders_their_slugs(bench: Bench) -> None:
    (bench.folder / "list.csv").write_text(LIST, "utf-8")

    bench.run(WAVE)

    folders = {"SKU-00001": "sku-00001", "Катя": "katia", "posts/../spring": "posts-spring"}
    briefs = bench.sql("FROM briefs")
    assert {row["brief"]: row["folder"] for row in briefs} == folders
    assets = bench.sql("FROM assets")
    assert {row["brief"]: Path(row["asset"]).parent.as_posix() for row in assets} == {
        id: f"assets/shop/{folder}" for id, folder in folders.items()
    }
    store = Store.open(bench.store_url)
    for row in assets:
        manifest = json.loads(store.read(f"{row['asset'].rpartition('.')[0]}.json"))
        assert manifest["brief"] == row["brief"]
    assert {row["brief"] for row in bench.sql("FROM lineage")} == set(folders)
    assert "Катя" in store.read("reports/shop.html").decode()
    wave = load_wave(bench.folder / "wave.toml")
    assert failures(store, wave.name, wave.revision, "brief = 'Катя'") == []

    # Once more costs nothing, and changes no file.
    billed, files = len(bench.billed()), store.list("assets")
    bench.run(WAVE)
    assert (len(bench.billed()), store.list("assets")) == (billed, files)
