"""What a wave's drafts would cost on an own GPU, and from which volume on that pays.

docs/planning.md has the formula.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from imagewave.storage.catalog import Model, models
from imagewave.storage.catalog.lanes import draws_on_your_gpus, on_your_gpus
from imagewave.storage.catalog.prices import UnknownPrice, gpu_seconds, gpu_usd_per_hour
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.planning.call_costs import Quote

HOURS_PER_MONTH = 730
_NANO = Decimal("1e-9")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnGpu:
    """The planned drafts on your own GPU, beside what the plan has for one draft.

    `seconds` are those of one picture; `source` says who says so. Rented by the hour, the GPU is
    the cheaper lane from `pays_per_hour` pictures an hour on, of `most_per_hour` that it can draw;
    by the month likewise. None: it never is. Without an hourly price there is only a `problem`.
    """

    model: str
    seconds: Decimal
    source: str
    usd_per_hour: Decimal | None = None
    usd_per_picture: Decimal | None = None
    usd: Decimal | None = None
    most_per_hour: int
    pays_per_hour: int | None = None
    most_per_month: int
    pays_per_month: int | None = None
    problem: str = ""


def own_gpu(wave: Wave, drafts: Quote, usd_per_draft: Decimal, requests: int) -> OwnGpu | None:
    """What `requests` drafts would cost on the fastest model that may be used and draws them.

    None: they are drawn on your GPUs already, or no such model draws them.
    """
    if on_your_gpus(drafts.lane):
        return None
    able = [model for model in models() if _draws(model, wave)]
    if not able:
        return None
    model = min(able, key=lambda each: gpu_seconds(each, _size(each, drafts), None))
    seconds = gpu_seconds(model, _size(model, drafts), None)
    most_per_hour = int((3600 / seconds).to_integral_value(ROUND_FLOOR))
    source = next((s for s in model.sources if s.facts == "gpu_seconds"), None)
    told = f"{source.reference} ({source.grade}, {source.date})" if source else "models.toml"
    try:
        hourly = gpu_usd_per_hour(model)
    except UnknownPrice as error:
        return OwnGpu(
            model=model.id,
            seconds=seconds,
            source=told,
            most_per_hour=most_per_hour,
            most_per_month=most_per_hour * HOURS_PER_MONTH,
            problem=str(error),
        )
    each = (seconds * hourly / 3600).quantize(_NANO)
    return OwnGpu(
        model=model.id,
        seconds=seconds,
        source=told,
        usd_per_hour=hourly,
        usd_per_picture=each,
        usd=(each * requests).quantize(_NANO),
        most_per_hour=most_per_hour,
        pays_per_hour=_pays(hourly, usd_per_draft, most_per_hour),
        most_per_month=most_per_hour * HOURS_PER_MONTH,
        pays_per_month=_pays(
            hourly * HOURS_PER_MONTH, usd_per_draft, most_per_hour * HOURS_PER_MONTH
        ),
    )


def _draws(model: Model, wave: Wave) -> bool:
    return (
        draws_on_your_gpus(model)
        and model.alive()
        and model.commercial_use
        and bool(model.gpu_seconds)
        and all(brief.aspect_ratio in model.ratios for brief in wave.briefs)
    )


def _size(model: Model, drafts: Quote) -> str | None:
    """The size of the planned drafts, where the model has it; else its own."""
    return drafts.size if drafts.size in model.gpu_seconds else model.default_size


def _pays(rent: Decimal, usd_per_draft: Decimal, most: int) -> int | None:
    """Pictures for which a rent buys less elsewhere; None where the GPU cannot draw so many."""
    if usd_per_draft <= 0:
        return None
    pictures = int((rent / usd_per_draft).to_integral_value(ROUND_CEILING))
    return pictures if pictures <= most else None
