"""One request, whichever API it came by."""

from dataclasses import dataclass
from typing import Any

from imagewave.storage.catalog import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, freed of its wire format. `images` are encoded pictures, in order.

    `pixels` and `image_tokens` stand in for ratio and size where the API is asked in pixels.
    """

    model: Model
    prompt: str
    system: str = ""
    images: tuple[bytes, ...] = ()
    ratio: str = "1:1"
    size: str = "1K"
    pixels: tuple[int, int] | None = None
    image_tokens: int | None = None
    output_format: str = "jpeg"
    thinking: str | None = None
    seed: int | None = None
    max_output_tokens: int | None = None
    schema: dict[str, Any] | None = None
    as_json: bool = False
