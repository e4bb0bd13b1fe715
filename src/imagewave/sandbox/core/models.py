"""The models that the sandbox answers for, as the catalog knows them."""

from datetime import UTC, date, datetime

from imagewave.sandbox.core.config import Config
from imagewave.sandbox.core.prices import is_priced
from imagewave.storage.catalog import Model, models

_SCALE = {"1K": 1, "2K": 2, "4K": 4}
_MEGAPIXEL = 1024 * 1024


def today() -> date:
    """The date that decides which models are retired."""
    return datetime.now(UTC).date()


def known(provider: str = "google") -> dict[str, Model]:
    """Every model that the provider ever served, by id; retired ones included."""
    return {model.id: model for model in models() if model.provider == provider}


def served(provider: str = "google") -> list[Model]:
    """The provider's models that answer today."""
    day = today()
    return [model for model in known(provider).values() if model.alive(day) and is_priced(model.id)]


def listed(provider: str, config: Config) -> list[Model]:
    """The provider's models as its API lists them: alive, and as the settings will have it.

    Those without a price are listed, as they are by the provider, though nothing answers for them.
    """
    day = today()
    alive = [model for model in known(provider).values() if model.alive(day)]
    named = [name.partition(":") for name in config.listed]
    more = [
        Model(id=id, name=id, provider=provider, kind="image")
        for whose, _, id in named
        if whose == provider
    ]
    return [model for model in alive if model.id not in config.unlisted] + more


def draws(model: Model) -> bool:
    """Whether the model's answers are pictures."""
    return model.kind == "image"


def picture_size(model: Model, ratio: str, size: str) -> tuple[int, int]:
    """Width and height of the pictures that the model draws.

    Ratios without documented pixels get a megapixel in multiples of 16, times the size.
    """
    documented = model.pixels.get((ratio, size))
    if documented is not None:
        return documented
    across, down = (int(part) for part in ratio.split(":"))
    width = (_MEGAPIXEL * across / down) ** 0.5
    scale = _SCALE[size]
    return round(width / 16) * 16 * scale, round(width * down / across / 16) * 16 * scale
