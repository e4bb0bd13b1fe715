"""What is asked of another model, where a job is stuck."""

from collections.abc import Sequence
from dataclasses import replace

from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.rounds.rounds import Ask


def fallback_asks(asks: Sequence[Ask], model_name: str, *, lane: str) -> list[Ask]:
    """The same asks of another model, at the size it has nearest by name, else its default."""
    model = find_model(model_name)
    moved = []
    for ask in asks:
        size = ask.request.size if ask.request.size in model.sizes else model.default_size
        thinking = ask.request.thinking if ask.request.thinking in model.thinking else None
        quality = ask.request.quality
        if quality not in model.qualities:
            quality = model.qualities[0] if model.qualities else None
        request = replace(
            ask.request,
            model=model.id,
            size=size,
            quality=quality,
            thinking=thinking,
            steps=model.steps,
            guidance=model.guidance,
            loras=None,
        )
        cost = estimate(
            model,
            lane=lane,
            size=size,
            quality=quality,
            aspect_ratio=request.aspect_ratio,
            prompt_chars=len(request.prompt),
            references=len(request.references),
            thinking=thinking,
        )
        moved.append(replace(ask, request=request, estimate_usd=cost, reused=False))
    return moved
