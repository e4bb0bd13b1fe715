"""The models that the sandbox answers for, alive and retired."""

from dataclasses import dataclass
from datetime import date

_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_PIXELS_1K = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
    # Only the longest ratios are not documented in pixels; these keep about a megapixel.
    "1:4": (512, 2064),
    "4:1": (2064, 512),
    "1:8": (352, 2928),
    "8:1": (2928, 352),
}
_SCALE = {"1K": 1, "2K": 2, "4K": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxModel:
    """What the wire needs to know of one model."""

    id: str
    name: str
    image: bool
    sizes: tuple[str, ...] = ()
    ratios: tuple[str, ...] = ()
    shutdown: date | None = None

    def pixels(self, ratio: str, size: str) -> tuple[int, int]:
        """Width and height of the pictures that the model draws."""
        width, height = _PIXELS_1K[ratio]
        return width * _SCALE[size], height * _SCALE[size]


_ALL = (
    SandboxModel(
        id="gemini-3.1-flash-lite-image",
        name="Nano Banana 2 Lite",
        image=True,
        sizes=("1K",),
        ratios=_RATIOS,
    ),
    SandboxModel(
        id="gemini-nano-banana-2.1",
        name="Nano Banana 2.1",
        image=True,
        sizes=("1K", "2K", "4K"),
        ratios=(*_RATIOS, "1:4", "4:1", "1:8", "8:1"),
    ),
    SandboxModel(
        id="gemini-3-pro-image",
        name="Nano Banana Pro",
        image=True,
        sizes=("1K", "2K", "4K"),
        ratios=_RATIOS,
    ),
    SandboxModel(id="gemini-3.5-flash-lite", name="Gemini 3.5 Flash-Lite", image=False),
    SandboxModel(id="gemini-3.8-flash", name="Gemini 3.8 Flash", image=False),
    SandboxModel(
        id="gemini-2.5-flash-image",
        name="Nano Banana",
        image=True,
        shutdown=date(2026, 10, 2),
    ),
    SandboxModel(
        id="gemini-3.1-flash-image",
        name="Nano Banana 2",
        image=True,
        shutdown=date(2026, 10, 29),
    ),
)


def all_models() -> tuple[SandboxModel, ...]:
    """Every model that was ever served, retired ones included."""
    return _ALL


def served(today: date) -> tuple[SandboxModel, ...]:
    """The models that answer on that day."""
    return tuple(m for m in all_models() if m.shutdown is None or today < m.shutdown)


def find(model_id: str) -> SandboxModel:
    """The model with that id.

    Raises:
        KeyError: there is none.
    """
    return {m.id: m for m in all_models()}[model_id]
