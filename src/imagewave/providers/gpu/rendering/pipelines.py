"""Pipelines of diffusers, loaded once per process and kept there.

Loading takes half a minute, so whatever a process renders, it renders with the pipelines that it
has. Only this module and `families` import torch; nothing imports them but a rendering.
"""

import hashlib
import os
import platform
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image

from imagewave.errors import ImagewaveError
from imagewave.providers.gpu.rendering.buckets import Bucket
from imagewave.providers.gpu.rendering.families import Embedding, Family, family_of, stacked
from imagewave.providers.gpu.rendering.render import OutOfMemory
from imagewave.storage.jobs.renders import RenderJob, RenderLine
from imagewave.storage.requests import lora_parts

WEIGHTS_VARIABLE = "IMAGEWAVE_WEIGHTS"
"""Environment variable: a folder with a folder per model or adapter, asked before the hub."""

EMBEDDING_BYTES = 1 << 30
"""Embeddings of prompts that are kept on the GPU; those not used for longest go first."""


_LOOK = 1 << 20  # bytes of each file that tell it from others


class NoWeights(ImagewaveError):
    """A model's weights, or an adapter's, cannot be loaded."""


def from_pretrained(job: RenderJob, device: torch.device, dtype: torch.dtype) -> tuple[Any, str]:
    """The job's pipeline, and what tells its weights from others.

    Raises:
        NoWeights: they are not there, are no pipeline, or do not fit on the GPU.
    """
    source = _local(job.weights, job.model)
    try:
        pipe = diffusers.DiffusionPipeline.from_pretrained(
            source, revision=job.revision or None, dtype=dtype
        )
    except (OSError, ValueError) as error:
        raise NoWeights(
            f"The weights of {job.model!r} cannot be loaded from {source!r}: {error}",
            f"Set weights for the model in your models file, or {WEIGHTS_VARIABLE} where it is"
            " rendered to a folder that has them.",
        ) from error
    try:
        pipe = pipe.to(device)
    except torch.OutOfMemoryError as error:
        raise NoWeights(
            f"{job.model!r} does not fit on the GPU: {str(error).partition(chr(10))[0]}",
            "Take a smaller model, or a GPU with more memory.",
        ) from error
    return pipe, _fingerprint(source, job.revision)


class DiffusersRenderer:
    """Renders with a diffusers pipeline: on the GPU in bfloat16, else on the CPU in float32.

    `load` gives a job's pipeline and what tells its weights from others.
    """

    def __init__(
        self,
        load: Callable[[RenderJob, torch.device, torch.dtype], tuple[Any, str]] = from_pretrained,
    ) -> None:
        self._load = load
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        # The fastest algorithm is chosen by a race otherwise, and may be another one tomorrow.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        self._pipelines: dict[tuple[str, str], _Pipeline] = {}
        self._current: _Pipeline | None = None

    def load(self, job: RenderJob) -> None:
        """Makes ready for the job's model; nothing to do where it is loaded."""
        key = (job.weights, job.revision)
        if key not in self._pipelines:
            pipe, fingerprint = self._load(job, self.device, self.dtype)
            self._pipelines[key] = _Pipeline(job, pipe, fingerprint)
        self._current = self._pipelines[key]

    def text_length(self, prompt: str) -> int:
        """Tokens that the prompt is padded to where that is not the same for all prompts."""
        return self._pipeline.family.text_length(prompt)

    def most_together(self, bucket: Bucket) -> int | None:
        """One, where pictures are shown to a whole batch."""
        together = self._pipeline.family.image_batches or not bucket.draws_over
        return None if together else 1

    def numerics(self) -> Mapping[str, object]:
        """Libraries, device, precision, attention and weights."""
        on_gpu = self.device.type == "cuda"
        return {
            "torch": torch.__version__,
            "diffusers": version("diffusers"),
            "transformers": version("transformers"),
            "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if on_gpu else None,
            "threads": None if on_gpu else torch.get_num_threads(),
            "dtype": str(self.dtype),
            "attention": os.environ.get("DIFFUSERS_ATTN_BACKEND", "native"),
            "model": self._pipeline.model,
            "weights": self._pipeline.fingerprint,
        }

    def render(
        self, bucket: Bucket, lines: Sequence[RenderLine], images: Sequence[Image.Image]
    ) -> list[Image.Image]:
        """The pictures of the lines, in their order."""
        try:
            return self._pipeline.render(bucket, lines, images)
        except torch.OutOfMemoryError as error:
            message = str(error).partition("\n")[0]
        # Outside of the except block, whose traceback would keep the tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise OutOfMemory(message)

    @property
    def _pipeline(self) -> "_Pipeline":
        assert self._current is not None, "a job is rendered after it was loaded"
        return self._current


class _Pipeline:
    """One loaded model, with its adapters and the embeddings of its prompts."""

    def __init__(self, job: RenderJob, pipe: Any, fingerprint: str) -> None:
        self.model = job.model
        self.fingerprint = fingerprint
        self.pipe = pipe
        pipe.set_progress_bar_config(disable=True)
        self.family: Family = family_of(pipe, job.weights)
        self._over: Any = None
        self._loras: tuple[str, ...] = ()
        self._embeddings: OrderedDict[tuple[tuple[str, ...], str, float], Embedding]
        self._embeddings = OrderedDict()
        self._bytes = 0

    def render(
        self, bucket: Bucket, lines: Sequence[RenderLine], images: Sequence[Image.Image]
    ) -> list[Image.Image]:
        self._use(bucket.loras)
        with torch.inference_mode():
            embeddings = [self._embed(bucket, line.prompt) for line in lines]
            # On the CPU, so that the noise is the same on every device.
            noise = [torch.Generator("cpu").manual_seed(line.seed) for line in lines]
            over = {"image": list(images)} if bucket.draws_over else {}
            if bucket.draws_over and self.family.image_batches:
                over["strength"] = bucket.strength  # type: ignore[assignment]
            answer = (self._drawing_over if bucket.draws_over else self.pipe)(
                **stacked(embeddings),
                **self.family.options(bucket.guidance),
                **self.family.size(bucket.width, bucket.height, bucket.draws_over),
                **over,
                num_inference_steps=bucket.steps,
                generator=noise,
                output_type="pt",
            )
            # As diffusers does it, but a quarter as much has to come from the GPU.
            whole = (answer.images.float() * 255).round().to(torch.uint8)
            pixels = whole.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return [Image.fromarray(each) for each in pixels]

    @property
    def _drawing_over(self) -> Any:
        """The same model as an image-to-image pipeline; it shares all of its parts."""
        if self._over is None:
            self._over = diffusers.AutoPipelineForImage2Image.from_pipe(self.pipe)
            self._over.set_progress_bar_config(disable=True)
        return self._over

    def _embed(self, bucket: Bucket, prompt: str) -> Embedding:
        key = (bucket.loras, prompt, bucket.guidance)
        found = self._embeddings.get(key)
        if found is None:
            found = self._embeddings[key] = self.family.embed(prompt, bucket.guidance)
            self._bytes += _bytes(found)
            while self._bytes > EMBEDDING_BYTES and len(self._embeddings) > 1:
                self._bytes -= _bytes(self._embeddings.popitem(last=False)[1])
        self._embeddings.move_to_end(key)
        return found

    def _use(self, loras: tuple[str, ...]) -> None:
        """Has the pipeline wear these adapters, and no others."""
        if loras == self._loras:
            return
        if self._loras:
            self.pipe.unload_lora_weights()
            self._loras = ()
        names, weights = [], []
        for number, lora in enumerate(loras):
            source, weight = lora_parts(lora)
            try:
                self.pipe.load_lora_weights(_local(source), adapter_name=f"lora{number}")
            except (OSError, ValueError) as error:
                raise NoWeights(
                    f"The adapter {source!r} cannot be loaded: {error}",
                    "Name a file, a folder or a repository with an adapter for this model.",
                ) from error
            names.append(f"lora{number}")
            weights.append(weight)
        if names:
            self.pipe.set_adapters(names, weights)
        self._loras = loras


def _local(source: str, *names: str) -> str:
    """The source, or the folder of that or another name where weights lie on this machine."""
    folder = os.environ.get(WEIGHTS_VARIABLE, "")
    if folder and not Path(source).exists():
        for name in (source, *names, source.rpartition("/")[2]):
            if (Path(folder) / name).exists():
                return str(Path(folder) / name)
    return source


def _fingerprint(source: str, revision: str) -> str:
    """What tells these weights from others: the commit on the hub, or the files, by their names,
    sizes and beginnings."""
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(diffusers.DiffusionPipeline.download(source, revision=revision or None))
    if found := re.search(r"/snapshots/([0-9a-f]{40})", folder.as_posix()):
        return found[1]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = hashlib.sha256()
    for path in files:
        content.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            content.update(file.read(_LOOK))
    return content.hexdigest()[:16]


def _bytes(embedding: Embedding) -> int:
    tensors = [
        tensor
        for value in embedding.values()
        for tensor in (value if isinstance(value, list) else [value])
    ]
    return sum(tensor.nbytes for tensor in tensors)
