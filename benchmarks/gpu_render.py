"""Rendering: imagewave's renderer against a bare `pipe()` loop and the card's own matmul rate.

    python benchmarks/gpu_render.py                # full-size SDXL and FLUX.1 schnell, on a GPU
    python benchmarks/gpu_render.py --models sdxl --images 32
    python benchmarks/gpu_render.py --tiny              # tiny models, on any CPU: does it run?

The models have the real shapes and random weights, made on the GPU: time does not depend on what
the weights are. The same prompts, seeds, steps, sizes and batches are rendered by

    bare      `pipe(prompt=[…])` in a loop, pictures as PIL images, none of them kept
    saved     the same, each picture saved as PNG before the next batch, as scripts do
    ours      a job of the GPU lane: prompts embedded once, PNGs encoded and stored meanwhile,
              a record per picture

in turns, so that a busy machine meets all of them; the fastest turn of each counts. The limit is
the arithmetic of one bare call, as torch counts it, at the rate at which the card multiplies large
bf16 matrices. Last, the contract: a picture has the same bits alone, in company and reordered.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from tests.providers.gpu.rendering import tiny  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from imagewave.providers.gpu.rendering.pipelines import DiffusersRenderer  # noqa: E402
from imagewave.providers.gpu.rendering.render import PNG_LEVEL, render_job  # noqa: E402
from imagewave.storage.jobs.renders import RenderFolder, RenderJob, RenderLine, write_input  # noqa: E402
from imagewave.storage.store import Store  # noqa: E402

BUILDERS = {"sdxl": tiny.sdxl, "flux": tiny.flux}

PROMPTS = 8
"""Different prompts per job, as where each brief has some, and several drafts of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model as its authors use it, at a batch size."""

    name: str
    steps: int
    guidance: float
    edge: int
    batch: int
    full: bool


def cases(names: Sequence[str], small: bool, batch: int) -> list[Case]:
    known = {
        "sdxl": Case(name="sdxl", steps=30, guidance=5.0, edge=1024, batch=batch, full=True),
        "flux": Case(name="flux", steps=4, guidance=0.0, edge=1024, batch=batch, full=True),
    }
    found = [known[name] for name in names]
    return [replace(case, edge=64, steps=4, full=False) for case in found] if small else found


def build(case: Case, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline, with random weights, made where they are to be."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            pipe = BUILDERS[case.name](case.full)
    finally:
        torch.set_default_dtype(before)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(device, dtype).eval().requires_grad_(False)
    return pipe


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of large matrices, the best of some turns."""
    edge, repeats = (8192, 20) if device.type == "cuda" else (1024, 3)
    left = torch.randn(edge, edge, device=device, dtype=dtype)
    right = torch.randn(edge, edge, device=device, dtype=dtype)
    best = 0.0
    for _ in range(5):
        settle(device)
        start = time.perf_counter()
        for _ in range(repeats):
            left @ right
        settle(device)
        best = max(best, 2 * edge**3 * repeats / (time.perf_counter() - start))
    return best


class Bench:
    """One case's pipeline, and the ways to render with it."""

    def __init__(self, case: Case, store: Store) -> None:
        self.case = case
        self.store = store
        self.made: Any = None
        self.renderer = DiffusersRenderer(self._load)
        self.device, self.dtype = self.renderer.device, self.renderer.dtype
        start = time.perf_counter()
        self.pipe = build(case, self.device, self.dtype)
        self.pipe.set_progress_bar_config(disable=True)
        settle(self.device)
        self.build_s = time.perf_counter() - start
        self.jobs = 0

    def _load(self, *_: object) -> tuple[Any, str]:
        return self.pipe, "random"

    def lines(self, count: int) -> list[RenderLine]:
        return [
            RenderLine(
                key=f"k{n}",
                prompt=f"red tulips in a glass vase, take {n % PROMPTS}",
                width=self.case.edge,
                height=self.case.edge,
                steps=self.case.steps,
                guidance=self.case.guidance,
                seed=n,
            )
            for n in range(count)
        ]

    def bare(self, lines: Sequence[RenderLine], keep: Callable[[Any], object]) -> None:
        for first in range(0, len(lines), self.case.batch):
            rows = lines[first : first + self.case.batch]
            answer = self.pipe(
                prompt=[line.prompt for line in rows],
                width=self.case.edge,
                height=self.case.edge,
                num_inference_steps=self.case.steps,
                guidance_scale=self.case.guidance,
                generator=[torch.Generator("cpu").manual_seed(line.seed) for line in rows],
                **({"max_sequence_length": 256} if self.case.name == "flux" else {}),
            )
            for picture in answer.images:
                keep(picture)

    def ours(self, lines: Sequence[RenderLine]) -> dict[str, bytes]:
        """Renders a job of these lines; returns the files by key, read only where asked for."""
        self.jobs += 1
        token = f"{self.case.name}-{self.jobs}"
        folder = RenderFolder(self.store, token)
        folder.start(
            RenderJob(
                handle=write_input(self.store, lines),
                model=self.case.name,
                weights="random",
                revision="",
                batch_pixels=self.case.batch * self.case.edge**2,
                count=len(lines),
                usd_per_hour="0",
                engine="local",
                host="",
            )
        )
        render_job(self.store, token, self.renderer)
        return {key: self.store.read(r.path) for key, r in folder.records().items()}

    def flops(self) -> float:
        """FLOPs of one picture, its prompt's embedding in it."""
        with FlopCounterMode(display=False) as counter:
            self.bare(self.lines(self.case.batch), lambda picture: None)
        return float(counter.get_total_flops()) / self.case.batch


def save(picture: Any) -> None:
    picture.save(io.BytesIO(), "PNG", compress_level=PNG_LEVEL)


def timed(device: torch.device, work: Callable[[], object]) -> float:
    settle(device)
    start = time.perf_counter()
    work()
    settle(device)
    return time.perf_counter() - start


def compare(case: Case, images: int, turns: int) -> dict[str, Any]:
    """Rates in images per second, ratios, and whether the contract holds."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(case, Store.open(folder))
        device = bench.device
        lines = bench.lines(images)
        warm = bench.lines(case.batch)
        bench.bare(warm, save)
        bench.ours([replace(line, key=f"warm-{line.key}") for line in warm])
        ways: dict[str, Callable[[], object]] = {
            "bare": lambda: bench.bare(lines, lambda picture: None),
            "saved": lambda: bench.bare(lines, save),
            "ours": lambda: bench.ours(lines),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(turns):
            for name, work in ways.items():
                seconds[name].append(timed(device, work))
        rates = {name: images / min(each) for name, each in seconds.items()}
        flops, limit = bench.flops(), matmul_rate(device, bench.dtype)
        together = bench.ours(lines[:6])
        contract = {
            "all differ": len(set(together.values())) == 6,
            "alone": bench.ours([lines[3]]) == {"k3": together["k3"]},
            "reordered": bench.ours(lines[:6][::-1]) == together,
            "other company": bench.ours(lines[4:7])["k5"] == together["k5"],
        }
        on_gpu = device.type == "cuda"
        return {
            "model": case.name,
            "device": torch.cuda.get_device_name() if on_gpu else "CPU",
            "dtype": str(bench.dtype),
            "edge": case.edge,
            "steps": case.steps,
            "batch": case.batch,
            "images": images,
            "build_s": round(bench.build_s, 1),
            "images_per_s": {name: round(rate, 3) for name, rate in rates.items()},
            "ours_to_bare": round(rates["ours"] / rates["bare"], 3),
            "ours_to_saved": round(rates["ours"] / rates["saved"], 3),
            "tflop_per_image": round(flops / 1e12, 4),
            "matmul_tflops": round(limit / 1e12, 2),
            "ours_to_limit": round(rates["ours"] * flops / limit, 3),
            "gpu_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1) if on_gpu else None,
            "contract": contract,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=list(BUILDERS), default=list(BUILDERS))
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="tiny models, which a CPU can render")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    if not given.tiny and not torch.cuda.is_available():
        parser.error("there is no GPU here; --tiny runs anywhere")
    if given.tiny:
        torch.set_num_threads(1)
    found = []
    for case in cases(given.models, given.tiny, given.batch):
        found.append(compare(case, given.images, given.turns))
        print(json.dumps(found[-1], indent=2), flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))
    if not all(all(each["contract"].values()) for each in found):
        sys.exit("the contract of equal bits is broken")


if __name__ == "__main__":
    main()
