"""Pipelines with random weights, saved as the hub has them: as small as they come, or full size.

Their pictures are noise, but they are loaded, called and timed like the real ones. The tokenizers
are made here: every character is a token.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Byte-level tokenizers spell bytes with printable characters; these are the printable ones.
LETTERS = [chr(n) for n in range(33, 127)] + ["Ġ", "Ċ"]
QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def scheduler(kind: Any, **config: Any) -> Any:
    """A scheduler, whose few numbers are exact and on the CPU wherever the models are made."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            return kind(**config)
    finally:
        torch.set_default_dtype(before)


def clip_tokenizer(length: int = 77) -> Any:
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{sign}</w>" for sign in LETTERS)]
    return transformers.CLIPTokenizer(
        vocab={word: n for n, word in enumerate(words)}, merges=[], model_max_length=length
    )


def t5_tokenizer() -> Any:
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words += [(sign, -3.0) for sign in LETTERS]
    return transformers.T5Tokenizer(vocab=words, extra_ids=0, model_max_length=512)


def qwen_tokenizer() -> Any:
    words = [*QWEN_SPECIAL, *LETTERS]
    tokenizer = transformers.Qwen2Tokenizer(
        vocab={word: n for n, word in enumerate(words)},
        merges=[],
        pad_token="<|endoftext|>",
        additional_special_tokens=list(QWEN_SPECIAL[1:]),
        model_max_length=4096,
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def clip_text(*, projection: int | None = None, full: bool = False, big: bool = False) -> Any:
    """CLIP's text encoder: ViT-L, or with `big` OpenCLIP's bigG, which SDXL has as its second."""
    shape = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4}
    layers = 2
    if full:
        shape = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
        layers = 12
        if big:
            shape = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20}
            layers = 32
    config = transformers.CLIPTextConfig(
        **shape,
        num_hidden_layers=layers,
        vocab_size=len(clip_tokenizer()),
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        hidden_act="gelu",
        projection_dim=projection or shape["hidden_size"],
    )
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(config)


def image_vae(channels: int = 4, *, full: bool = False, quant: bool = True) -> Any:
    blocks = (128, 256, 512, 512) if full else (32, 64)
    return diffusers.AutoencoderKL(
        block_out_channels=blocks,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(blocks),
        up_block_types=("UpDecoderBlock2D",) * len(blocks),
        layers_per_block=2 if full else 1,
        latent_channels=channels,
        norm_num_groups=32,
        sample_size=1024 if full else 64,
        shift_factor=0.0609,
        scaling_factor=1.5035,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    )


def sdxl(full: bool = False) -> Any:
    if full:
        shape: dict[str, Any] = {
            "block_out_channels": (320, 640, 1280),
            "layers_per_block": 2,
            "attention_head_dim": (5, 10, 20),
            "transformer_layers_per_block": (1, 2, 10),
            "cross_attention_dim": 2048,
            "sample_size": 128,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "projection_class_embeddings_input_dim": 2816,
            "addition_time_embed_dim": 256,
        }
    else:
        shape = {
            "block_out_channels": (32, 64),
            "layers_per_block": 2,
            "attention_head_dim": (2, 4),
            "transformer_layers_per_block": (1, 2),
            "cross_attention_dim": 64,
            "sample_size": 32,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "projection_class_embeddings_input_dim": 80,
            "addition_time_embed_dim": 8,
        }
    unet = diffusers.UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        **shape,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=image_vae(full=full),
        text_encoder=clip_text(full=full),
        text_encoder_2=clip_text(projection=1280 if full else 32, full=full, big=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=scheduler(
            diffusers.EulerDiscreteScheduler,
            beta_start=0.00085,
            beta_end=0.012,
            steps_offset=1,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def flux(full: bool = False) -> Any:
    shape: dict[str, Any] = {}
    t5: dict[str, Any] = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24}
    t5 |= {"num_heads": 64, "feed_forward_proj": "gated-gelu"}
    if not full:
        shape = {
            "in_channels": 16,
            "num_layers": 1,
            "num_single_layers": 1,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 32,
            "pooled_projection_dim": 32,
            "axes_dims_rope": (4, 4, 8),
        }
        t5 = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}
    return diffusers.FluxPipeline(
        scheduler=scheduler(diffusers.FlowMatchEulerDiscreteScheduler, shift=1.0),
        text_encoder=clip_text(full=full),
        text_encoder_2=transformers.T5EncoderModel(
            transformers.T5Config(vocab_size=len(t5_tokenizer()), **t5)
        ),
        tokenizer=clip_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        transformer=diffusers.FluxTransformer2DModel(**shape),
        vae=image_vae(16 if full else 4, full=full, quant=False),
    )


QWEN3 = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 28,  # klein looks at layers 9, 18 and 27
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 1024,
}


def flux2_klein() -> Any:
    text = transformers.Qwen3Config(vocab_size=len(qwen_tokenizer()), **QWEN3)
    return diffusers.Flux2KleinPipeline(
        scheduler=scheduler(diffusers.FlowMatchEulerDiscreteScheduler),
        vae=diffusers.AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=64,
        ),
        text_encoder=transformers.Qwen3ForCausalLM(text),
        tokenizer=qwen_tokenizer(),
        transformer=diffusers.Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,
            timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        is_distilled=True,
    )


def z_image() -> Any:
    text = transformers.Qwen3Config(
        vocab_size=len(qwen_tokenizer()), **QWEN3 | {"num_hidden_layers": 2}
    )
    return diffusers.ZImagePipeline(
        scheduler=scheduler(diffusers.FlowMatchEulerDiscreteScheduler, shift=3.0),
        vae=image_vae(16, quant=False),
        text_encoder=transformers.Qwen3Model(text),
        tokenizer=qwen_tokenizer(),
        transformer=diffusers.ZImageTransformer2DModel(
            in_channels=16,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[8, 4, 4],
            axes_lens=[1024, 64, 64],
        ),
    )


def qwen_image() -> Any:
    rope = {"type": "mrope", "mrope_section": [1, 1, 2], "rope_type": "default"}
    text = transformers.Qwen2_5_VLConfig(
        text_config={
            **QWEN3,
            "num_hidden_layers": 2,
            "vocab_size": len(qwen_tokenizer()),
            "rope_parameters": rope | {"rope_theta": 1_000_000.0},
            "rope_scaling": rope,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
        },
    )
    return diffusers.QwenImagePipeline(
        scheduler=scheduler(diffusers.FlowMatchEulerDiscreteScheduler),
        vae=diffusers.AutoencoderKLQwenImage(
            base_dim=16,
            z_dim=4,
            dim_mult=[1, 2, 4],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(text),
        tokenizer=qwen_tokenizer(),
        transformer=diffusers.QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
        ),
    )


TINY: Mapping[str, Callable[[], Any]] = {
    "sdxl": sdxl,
    "flux": flux,
    "flux2-klein": flux2_klein,
    "z-image": z_image,
    "qwen-image": qwen_image,
}


def save(name: str, folder: Path) -> str:
    """Builds the pipeline of that name and saves it; returns the folder's path."""
    torch.manual_seed(0)
    TINY[name]().save_pretrained(folder)
    return str(folder)
