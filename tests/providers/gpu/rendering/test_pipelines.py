"""Pipelines of every family, with random weights, loaded as the real ones are."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.providers.gpu.rendering.stub import job, line, pictures

from imagewave.errors import ImagewaveError
from imagewave.storage.images import put_image
from imagewave.storage.jobs.renders import RenderFolder, RenderLine
from imagewave.storage.store import Store

for library in ("torch", "diffusers", "peft"):
    pytest.importorskip(library, reason=f"{library} is not installed (extra: gpu)")

import torch  # noqa: E402
from tests.providers.gpu.rendering import tiny  # noqa: E402

from imagewave.providers.gpu.rendering.pipelines import (  # noqa: E402
    WEIGHTS_VARIABLE,
    DiffusersRenderer,
    NoWeights,
)
from imagewave.providers.gpu.rendering.render import encoded, render_job  # noqa: E402

GUIDANCE = {"sdxl": 5.0, "qwen-image": 4.0}
PROMPTS = ("red tulips", "a ferry in fog", "red tulips")  # the lengths differ


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny pipelines are faster, and steadier, without help."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has a folder per family."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module", params=list(tiny.TINY))
def family(request: pytest.FixtureRequest, weights: Path) -> str:
    name: str = request.param
    tiny.save(name, weights / name)
    return name


@pytest.fixture(scope="module")
def renderer() -> DiffusersRenderer:
    return DiffusersRenderer()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


class Studio:
    """Renders lines with one family's pipeline, and gives their pixels."""

    def __init__(self, store: Store, renderer: DiffusersRenderer, weights: Path) -> None:
        self.store = store
        self.renderer = renderer
        self.weights = weights
        self.jobs = 0

    def line(self, key: str, **fields: Any) -> RenderLine:
        guidance = GUIDANCE.get(self.weights.name, 0.0)
        return line(key, **{"guidance": guidance, "steps": 3, **fields})

    def draw(self, *lines: RenderLine, **fields: Any) -> dict[str, bytes]:
        self.jobs += 1
        token = f"job-{self.jobs}"
        known = {"model": self.weights.name, "weights": str(self.weights)}
        job(self.store, lines, token, **{**known, **fields})
        render_job(self.store, token, self.renderer)
        return pictures(self.store, token)

    def numerics(self) -> set[str]:
        records = RenderFolder(self.store, f"job-{self.jobs}").records().values()
        return {record.numerics_id for record in records}


@pytest.fixture
def studio(store: Store, renderer: DiffusersRenderer, weights: Path, family: str) -> Studio:
    return Studio(store, renderer, weights / family)


@pytest.fixture
def flux(store: Store, renderer: DiffusersRenderer, weights: Path) -> Studio:
    if not (weights / "flux").exists():
        tiny.save("flux", weights / "flux")
    return Studio(store, renderer, weights / "flux")


@pytest.mark.parametrize("over", [False, True], ids=["text to image", "image to image"])
def test_a_picture_has_the_same_bits_alone_in_company_reordered_and_retried(
    studio: Studio, over: bool
) -> None:
    draft = {}
    if over:
        picture = Image.effect_noise((48, 48), 90).convert("RGB")
        draft = {"image": put_image(studio.store, encoded(picture, "png")).path, "strength": 0.7}
    lines = [studio.line(f"k{n}", prompt=PROMPTS[n % 3], **draft) for n in range(6)]
    together = studio.draw(*lines)
    numerics = studio.numerics()
    assert len(set(together.values())) == 6, "each has its own seed"
    assert studio.draw(*reversed(lines)) == together
    assert studio.draw(lines[4]) == {"k4": together["k4"]}
    assert studio.draw(*lines[1:3]) == {key: together[key] for key in ("k1", "k2")}
    assert studio.numerics() == numerics
    assert len(numerics) == 1


def test_it_holds_in_the_precision_of_gpus_where_batches_of_another_size_differ(
    studio: Studio, family: str
) -> None:
    studio.renderer = DiffusersRenderer()
    studio.renderer.dtype = torch.bfloat16
    lines = [studio.line(f"k{n}") for n in range(6)]
    together = studio.draw(*lines)
    numerics = studio.numerics()
    assert len(set(together.values())) == 6
    assert studio.draw(*reversed(lines)) == together
    assert studio.draw(lines[2])["k2"] == together["k2"]
    one_by_one = studio.draw(*lines, batch_pixels=64 * 64)
    assert studio.numerics().isdisjoint(numerics)
    if family != "qwen-image":  # which happens to be too small to show it
        assert one_by_one != together, "so the ghosts are needed"


def test_a_process_that_starts_afresh_draws_the_same(studio: Studio) -> None:
    first = studio.draw(studio.line("k"))
    studio.renderer = DiffusersRenderer()
    assert studio.draw(studio.line("k")) == first


def test_prompt_steps_size_and_guidance_count(studio: Studio) -> None:
    lines = [
        studio.line("k"),
        studio.line("prompt", prompt="blue", seed=studio.line("k").seed),
        studio.line("steps", steps=4, seed=studio.line("k").seed),
        studio.line("wide", width=128, seed=studio.line("k").seed),
    ]
    drawn = studio.draw(*lines)
    assert len(set(drawn.values())) == 4
    assert len(drawn["wide"]) == 2 * len(drawn["k"])


def test_a_prompt_is_embedded_once_for_all_its_seeds(
    flux: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagewave.providers.gpu.rendering.families import Flux

    embedded: list[str] = []
    embed = Flux.embed

    def counting(self: Flux, prompt: str, guidance: float) -> Any:
        embedded.append(prompt)
        return embed(self, prompt, guidance)

    monkeypatch.setattr(Flux, "embed", counting)
    flux.draw(*(flux.line(f"k{n}", prompt=f"of its own {n % 2}") for n in range(12)))
    flux.draw(flux.line("later", prompt="of its own 1"))
    assert sorted(embedded) == ["of its own 0", "of its own 1"]


def test_a_pipeline_is_loaded_once_per_process(
    flux: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    flux.draw(flux.line("k"))
    import diffusers

    def again(*_: object, **__: object) -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", again)
    assert flux.draw(flux.line("k"))


def test_out_of_memory_on_the_gpu_halves_the_batch(
    flux: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = flux.draw(*(flux.line(f"k{n}") for n in range(4)))
    numerics = flux.numerics()
    pipe = flux.renderer._pipeline.pipe
    forward = pipe.transformer.forward
    sizes: list[int] = []

    def small(*args: Any, **kwargs: Any) -> Any:
        sizes.append(len(kwargs["hidden_states"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(*args, **kwargs)

    monkeypatch.setattr(pipe.transformer, "forward", small)
    halved = flux.draw(*(flux.line(f"k{n}") for n in range(4)))
    assert halved.keys() == whole.keys()
    assert sizes[0] == 4
    assert set(sizes[1:]) == {2}
    assert flux.numerics().isdisjoint(numerics), "its bits are promised anew"


def test_adapters_are_worn_by_those_that_ask_and_by_no_others(flux: Studio, tmp_path: Path) -> None:
    from peft import LoraConfig

    plain = flux.draw(flux.line("k"))["k"]
    pipe = flux.renderer._pipeline.pipe
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False)
    pipe.transformer.add_adapter(config)
    from peft.utils import get_peft_model_state_dict

    layers = get_peft_model_state_dict(pipe.transformer)
    pipe.save_lora_weights(tmp_path / "style", transformer_lora_layers=layers)
    pipe.unload_lora_weights()
    lora = str(tmp_path / "style")

    seed = flux.line("k").seed
    drawn = flux.draw(
        flux.line("k"),
        flux.line("styled", loras=(lora,), seed=seed),
        flux.line("half", loras=(f"{lora}@0.5",), seed=seed),
    )
    assert drawn["k"] == plain
    assert len(set(drawn.values())) == 3
    assert flux.draw(flux.line("half", loras=(f"{lora}@0.5",), seed=seed))["half"] == drawn["half"]
    assert flux.draw(flux.line("k"))["k"] == plain


def test_weights_come_from_the_folder_of_the_machine_that_renders(
    flux: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(flux.weights.parent))
    assert flux.draw(flux.line("k"), weights="black-forest-labs/flux")


def test_weights_and_adapters_that_are_not_there_are_named(
    flux: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NoWeights, match=f"no-such-folder.*{WEIGHTS_VARIABLE}"):
        flux.draw(flux.line("k"), weights=str(tmp_path / "no-such-folder"))
    with pytest.raises(NoWeights, match="no-such-adapter"):
        flux.draw(flux.line("k", loras=(str(tmp_path / "no-such-adapter"),)))


def test_a_pipeline_that_nobody_described_is_named(flux: Studio, tmp_path: Path) -> None:
    import diffusers

    diffusers.DDPMPipeline(
        unet=diffusers.UNet2DModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=32,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        ),
        scheduler=diffusers.DDPMScheduler(),
    ).save_pretrained(tmp_path / "ddpm")
    with pytest.raises(ImagewaveError, match="DDPMPipeline, which is not rendered here"):
        flux.draw(flux.line("k"), weights=str(tmp_path / "ddpm"))


def test_pictures_are_files_of_the_kind_that_was_asked_for(flux: Studio) -> None:
    flux.draw(flux.line("a", encode="png"), flux.line("b", encode="jpeg"))
    records = RenderFolder(flux.store, f"job-{flux.jobs}").records()
    formats = {
        key: Image.open(io.BytesIO(flux.store.read(record.path))).format
        for key, record in records.items()
    }
    assert formats == {"a": "PNG", "b": "JPEG"}


def test_pixels_are_those_of_a_bare_call(flux: Studio) -> None:
    drawn = flux.draw(flux.line("k"), batch_pixels=64 * 64)["k"]
    pipe = flux.renderer._pipeline.pipe
    generator = torch.Generator("cpu").manual_seed(flux.line("k").seed)
    bare = pipe(
        prompt=flux.line("k").prompt,
        width=64,
        height=64,
        num_inference_steps=3,
        guidance_scale=0.0,
        max_sequence_length=256,
        generator=generator,
    ).images[0]
    assert drawn == bare.tobytes()
