"""What diffusers' pipelines want differently: how a prompt is embedded, and how one is called.

A prompt is always embedded alone, so that what comes of it does not depend on its companions, and
the same embedding serves all of its seeds. docs/gpu.md lists the families.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from imagewave.errors import ImagewaveError

Embedding = dict[str, Any]
"""Arguments of a call that stand for one prompt: tensors with a batch of one, or lists of one."""


class Family:
    """Pipelines that are called alike. The defaults are those of Stable Diffusion XL and 3."""

    image_batches = True
    """Whether each picture of a batch may draw over another one."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def text_length(self, prompt: str) -> int:
        """Tokens that the prompt is padded to, 0 where all prompts are padded alike."""
        return 0

    def embed(self, prompt: str, guidance: float) -> Embedding:
        """The prompt's embedding, and that of no prompt where the guidance needs it."""
        names = (
            "prompt_embeds",
            "negative_prompt_embeds",
            "pooled_prompt_embeds",
            "negative_pooled_prompt_embeds",
        )
        found = self.pipe.encode_prompt(
            prompt=prompt,
            **self._prompts(),
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=guidance > 1,
        )
        return {name: value for name, value in zip(names, found, strict=True) if value is not None}

    def _prompts(self) -> Mapping[str, None]:
        return {}

    def options(self, guidance: float) -> dict[str, Any]:
        """Arguments of a call that are the same for all of its pictures."""
        return {"guidance_scale": guidance}

    def size(self, width: int, height: int, draws_over: bool) -> dict[str, int]:
        """How the size of a picture is said."""
        return {"width": width, "height": height}

    @property
    def device(self) -> torch.device:
        """Where the pipeline is."""
        device: torch.device = self.pipe._execution_device
        return device


class StableDiffusionXL(Family):
    """Its image-to-image takes the size of the picture that it is given."""

    def size(self, width: int, height: int, draws_over: bool) -> dict[str, int]:
        return {} if draws_over else super().size(width, height, draws_over)


class StableDiffusion3(Family):
    """As XL, with three text encoders whose prompts must be named."""

    def _prompts(self) -> Mapping[str, None]:
        return {"prompt_2": None, "prompt_3": None}


class Flux(Family):
    """FLUX.1: guidance is an input of the model, and there is no negative prompt."""

    def embed(self, prompt: str, guidance: float) -> Embedding:
        # schnell, which takes no guidance, was trained with prompts half as long.
        longest = 512 if self.pipe.transformer.config.guidance_embeds else 256
        embeds, pooled, _ = self.pipe.encode_prompt(
            prompt=prompt, prompt_2=None, device=self.device, max_sequence_length=longest
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def options(self, guidance: float) -> dict[str, Any]:
        longest = 512 if self.pipe.transformer.config.guidance_embeds else 256
        return {"guidance_scale": guidance, "max_sequence_length": longest}


class Flux2Klein(Family):
    """FLUX.2 klein: pictures are shown to the model, all of them to the whole batch."""

    image_batches = False

    def embed(self, prompt: str, guidance: float) -> Embedding:
        embedding = {"prompt_embeds": self._embed(prompt)}
        if guidance > 1 and not self.pipe.config.is_distilled:
            embedding["negative_prompt_embeds"] = self._embed("")
        return embedding

    def _embed(self, prompt: str) -> torch.Tensor:
        embeds: torch.Tensor = self.pipe.encode_prompt(prompt=prompt, device=self.device)[0]
        return embeds


class ZImage(Family):
    """Z-Image: embeddings are lists, each as long as its prompt, padded in steps of 32."""

    def text_length(self, prompt: str) -> int:
        text = self.pipe.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        tokens = self.pipe.tokenizer(text, max_length=512, truncation=True).input_ids
        return -(-len(tokens) // 32) * 32

    def embed(self, prompt: str, guidance: float) -> Embedding:
        embeds, negative = self.pipe.encode_prompt(
            prompt=prompt, device=self.device, do_classifier_free_guidance=guidance > 0
        )
        return {"prompt_embeds": embeds, "negative_prompt_embeds": negative}


class QwenImage(Family):
    """Qwen-Image: prompts of one length only, as padding would need a mask, and take longer."""

    def text_length(self, prompt: str) -> int:
        pipe = self.pipe
        longest = pipe.tokenizer_max_length + pipe.prompt_template_encode_start_idx
        text = pipe.prompt_template_encode.format(prompt)
        return len(pipe.tokenizer(text, max_length=longest, truncation=True).input_ids)

    def embed(self, prompt: str, guidance: float) -> Embedding:
        embedding = self._embed("prompt_embeds", prompt)
        if guidance > 1:
            embedding |= self._embed("negative_prompt_embeds", " ")
        return embedding

    def options(self, guidance: float) -> dict[str, Any]:
        return {"true_cfg_scale": guidance}

    def _embed(self, name: str, prompt: str) -> Embedding:
        embeds, _ = self.pipe.encode_prompt(
            prompt=prompt, device=self.device, max_sequence_length=1024
        )
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        return {name: embeds, f"{name}_mask": mask}


FAMILIES: Mapping[str, type[Family]] = {
    "StableDiffusionXLPipeline": StableDiffusionXL,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "FluxPipeline": Flux,
    "Flux2KleinPipeline": Flux2Klein,
    "ZImagePipeline": ZImage,
    "QwenImagePipeline": QwenImage,
}
"""The pipelines that are known, by the name of their class."""


def family_of(pipe: Any, weights: str) -> Family:
    """How this pipeline is called.

    Raises:
        UnknownPipeline: nobody has written that down.
    """
    name = type(pipe).__name__
    if name not in FAMILIES:
        raise UnknownPipeline(
            f"{weights!r} is a {name}, which is not rendered here.",
            f"Known are {', '.join(FAMILIES)}.",
        )
    return FAMILIES[name](pipe)


class UnknownPipeline(ImagewaveError):
    """A pipeline of a class that nobody has described here."""


def stacked(embeddings: Sequence[Embedding]) -> dict[str, Any]:
    """The embeddings of several prompts as arguments of one call."""
    first = embeddings[0]
    return {
        name: [item for each in embeddings for item in each[name]]
        if isinstance(value, list)
        else torch.cat([each[name] for each in embeddings])
        for name, value in first.items()
    }
