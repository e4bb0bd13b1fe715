"""A whole wave on this machine's own GPU lane, by the command line: no server, no key, no cloud."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagewave.storage.analytics import query
from imagewave.storage.store import Store

for library in ("torch", "diffusers", "accelerate"):
    pytest.importorskip(library, reason=f"{library} is not installed (extra: gpu)")

from tests.tasks.rendering import tiny  # noqa: E402

MODELS = """
[pixels.small]
"1:1" = {{ S = [64, 64], L = [128, 128] }}

[[model]]
id = "tiny-flux"
provider = "self"
kind = "image"
lanes = ["gpu"]
sizes = ["S", "L"]
default_size = "S"
ratios = ["1:1"]
pixels = "small"
reference_limit = 1
weights = "{weights}"
steps = 2
guidance = 0.0
gpu_seconds = {{ S = 1, L = 4 }}
"""
WAVE = """
[wave]
name = "own"
lane = "gpu"
[budget]
wave_usd = 1
[wait]
poll_seconds = [0.2, 0.5]
[draft]
model = "tiny-flux"
probe = 2
max_rounds = 1
[judge]
enabled = false
[screen]
min_brightness = 0
max_brightness = 1
min_contrast = 0
min_blur = 0
min_entropy = 0
max_border = 1
max_cast = 1
duplicate_distance = 0
[final]
model = "tiny-flux"
carry = "seed"
size = "L"
strength = 0.5
[[brief]]
id = "tulips"
text = "red tulips"
want = 2
[[brief]]
id = "ferry"
text = "a ferry in fog"
"""


def test_a_wave_is_delivered_and_its_gpu_seconds_are_its_bill(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(
        MODELS.format(weights=tiny.save("flux", tmp_path / "weights"))
    )
    (tmp_path / "wave.toml").write_text(WAVE)
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "IMAGEWAVE_"))}
    environment = {
        **kept,
        "HOME": str(tmp_path),
        "IMAGEWAVE_MODELS": str(tmp_path / "models.toml"),
        "IMAGEWAVE_GPU_USD_PER_HOUR": "2.50",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "imagewave", "run", str(tmp_path / "wave.toml")]

    def run() -> str:
        with (tmp_path / "output").open("w+b") as output:
            done = subprocess.run(
                [*command, "--store", str(tmp_path / "store")],
                env=environment,
                stdout=output,
                stderr=output,
                timeout=240,
                check=False,
            )
            output.seek(0)
            text = output.read().decode()
        assert done.returncode == 0, text
        return text

    run()
    store = Store.open(str(tmp_path / "store"))

    def sql(text: str) -> list[dict[str, Any]]:
        return query(store, text)

    assert sql("SELECT brief, final FROM funnel ORDER BY brief") == [
        {"brief": "ferry", "final": 1},
        {"brief": "tulips", "final": 2},
    ]
    for row in sql("SELECT asset FROM assets"):
        with Image.open(tmp_path / "store" / row["asset"]) as picture:
            assert (picture.size, picture.format) == ((128, 128), "PNG")
    requests = sql(
        "SELECT DISTINCT kind, json_extract_string(request, '$.strength') AS strength"
        " FROM raw_requests WHERE wave = 'own' ORDER BY kind"
    )
    assert requests == [
        {"kind": "draft", "strength": None},
        {"kind": "final", "strength": "0.5"},
    ]
    [bill] = sql("SELECT sum(cost_usd) AS usd FROM costs")
    [spent] = sql("SELECT sum(gpu_seconds) AS seconds, count(*) AS n FROM raw_renders")
    [jobs] = sql("SELECT sum(captured_usd) AS usd, sum(held_usd) AS held FROM jobs")
    assert spent["n"] >= 6
    assert bill["usd"] > 0
    assert float(bill["usd"]) == pytest.approx(spent["seconds"] * 2.50 / 3600, rel=1e-6)
    assert (jobs["usd"], jobs["held"]) == (bill["usd"], Decimal(0))
    assert all(row["numerics_id"] for row in sql("SELECT numerics_id FROM raw_renders"))

    run()
    assert sql("SELECT sum(cost_usd) AS usd FROM costs") == [bill], "nothing is rendered twice"
