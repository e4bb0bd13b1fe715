"""A wave: one run of one file of briefs. Each table of a wave file is a class, with its defaults.

`imagewave.storage.waves.wave_file` reads and checks the files.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    field_validator,
)

from imagewave.storage.jobs.folder import MISSING_HOURS
from imagewave.storage.requests import Kind, digest, lora_parts
from imagewave.storage.waves import variant_names
from imagewave.storage.waves.briefs import Brief, folders

MAX_PIXELS = 2_000_000_000
"""More than any decoder here can hold: 6 GB of pixels."""

Usd = Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=9)]
Share = Annotated[float, Field(ge=0, le=1)]
Pause = Annotated[float, Field(gt=0, le=86_400)]
Steps = Annotated[StrictInt, Field(ge=1, le=1000)]
Width = Annotated[StrictInt, Field(ge=16, le=16_383)]
"""Pixels; WebP holds no more."""
VariantFormat = Literal["avif", "webp", "jpeg"]
Guidance = Annotated[float, Field(ge=0, le=100)]


def _adapter(text: str) -> str:
    try:
        lora_parts(text)
    except ValueError as error:
        raise ValueError(f'such as "org/adapter" or "org/adapter@0.8": {error}') from None
    return text


Lora = Annotated[str, AfterValidator(_adapter)]

EXPAND_RUBRIC = (
    "Write prompts for an image model from the brief. Keep every fact of the brief; add subject, "
    "setting, light, composition and style that suit its use. One prompt is one paragraph of 30 to "
    "80 words, without the names of artists, brands or models. Make the prompts differ clearly."
)


def _rising(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] >= values[1]:
        raise ValueError("the first number must be below the second")
    return values


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Budget(_Table):
    """[budget]: USD that this wave, or the whole store per hour, day and month, may spend."""

    wave_usd: Usd | None = None
    hour_usd: Usd | None = None
    day_usd: Usd | None = None
    month_usd: Usd | None = None


class Wait(_Table):
    """[wait]: after which time a job raises an alarm, and how often it is looked at.

    `poll_seconds` are the shortest and the longest pause between two looks. A job accepted now is
    in the provider's list after at most `list_lag_seconds`: so long is waited before a job whose
    fate is unknown counts as never accepted. What a provider has done and does not deliver is
    looked for again for `missing_hours`, before it counts as lost.
    """

    age_limit_hours: float = Field(default=48, gt=0, le=24 * 60)
    list_lag_seconds: float = Field(default=30, ge=0, le=3600)
    missing_hours: float = Field(default=MISSING_HOURS, ge=0, le=24 * 60)
    poll_seconds: tuple[Pause, Pause] = (2.0, 60.0)

    @field_validator("poll_seconds")
    @classmethod
    def _in_order(cls, pauses: tuple[float, float]) -> tuple[float, float]:
        if pauses[0] > pauses[1]:
            raise ValueError("the shortest pause, then the longest")
        return pauses


class Defaults(_Table):
    """[defaults]: what a brief that does not say otherwise asks for."""

    want: StrictInt = Field(default=1, ge=1, le=1000)
    aspect_ratio: str = "1:1"


class Expand(_Table):
    """[expand]: how a brief becomes prompts.

    `none` takes its text as it stands; `template` fills `templates` with `{text}`, the brief's
    variables and each of the `alternatives`; `model` has a text model write them by `rubric`.
    `count` is the number of prompts per brief, in template mode the most of them. Left out,
    `mode` is `template` if there are templates.
    """

    mode: Literal["none", "template", "model"] = "none"
    templates: tuple[str, ...] = ()
    alternatives: Mapping[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    model: str = "gemini-3.5-flash-lite"
    count: StrictInt = Field(default=2, ge=1, le=50)
    rubric: str = EXPAND_RUBRIC


class Draft(_Table):
    """[draft]: the cheap pictures that the best are chosen from.

    `max_oversample` caps the drafts of a brief at that multiple of its `want`, `max_rounds` the
    rounds; `confidence` is the probability with which all rounds together are to bring enough;
    `probe` is the least number of drafts per brief in a first round without history to go by.
    `size`, `quality` and `thinking` left out: the model's default size, its lowest quality where it
    has several, and its least thinking. What a job
    older than `age_limit_hours` has not brought is asked of `fallback_model`, if there is one.

    For models on your GPUs: `steps` and `guidance` left out are what the model's authors advise;
    `loras` are adapters, each a file, folder or repository, with its weight after an "@".
    """

    model: str = "gemini-3.1-flash-lite-image"
    fallback_model: str = ""
    size: str | None = None
    quality: str | None = None
    thinking: str | None = None
    max_oversample: float = Field(default=4, ge=1, le=100)
    max_rounds: StrictInt = Field(default=3, ge=1, le=20)
    confidence: float = Field(default=0.9, gt=0, lt=1)
    probe: StrictInt = Field(default=1, ge=1, le=100)
    steps: Steps | None = None
    guidance: Guidance | None = None
    loras: tuple[Lora, ...] = ()


class Screen(_Table):
    """[screen]: thresholds of the mechanical checks; `docs/screening.md` says how they were chosen.

    Brightness, contrast and cast are shares (0 to 1) of the full range, `max_border` of the area;
    `aspect_tolerance` is relative; `min_blur` runs from 0 (blurred) to 3 (fine detail);
    `min_entropy` is in bits, `duplicate_distance` a Hamming distance of 64-bit hashes.
    """

    aspect_tolerance: Share = 0.03
    min_brightness: Share = 0.16
    max_brightness: Share = 0.80
    min_contrast: Share = 0.035
    min_blur: float = Field(default=0.30, ge=0, le=3)
    min_entropy: float = Field(default=1.0, ge=0, le=8)
    max_border: Share = 0.05
    max_cast: Share = 0.45
    duplicate_distance: StrictInt = Field(default=6, ge=0, le=32)
    max_pixels: StrictInt = Field(default=64_000_000, ge=1, le=MAX_PIXELS)


class Judge(_Table):
    """[judge]: the vision model that scores what passed the screens, from 0 to 1.

    A picture passes with at least `min_score` in all and `min_brief_fit` for what it shows. It is
    sent with its longest edge reduced to `max_edge` pixels, twice that where words must be legible.
    `rubric` stands in for that of the use case; `brand_rules` are sentences that the judge holds
    every picture to.

    `by = "local"` judges on this machine instead (extra `local`): by the similarity of picture and
    brief in the embedding of `local_model`, a CLIP or SigLIP model, cosines of `local_range` making
    0 to 1; and by `local_aesthetic`, the file of a head on that embedding, where one is named.
    """

    enabled: StrictBool = True
    by: Literal["model", "local"] = "model"
    model: str = "gemini-3.5-flash-lite"
    rubric: str = ""
    min_score: Share = 0.6
    min_brief_fit: Share = 0.5
    max_edge: StrictInt = Field(default=512, ge=128, le=4096)
    brand_rules: tuple[str, ...] = ()
    local_model: str = "openai/clip-vit-large-patch14"
    local_range: Annotated[tuple[float, float], AfterValidator(_rising)] = (0.12, 0.28)
    local_aesthetic: str = ""

    @property
    def asks_model(self) -> bool:
        """Whether pictures are sent to a model, which costs, to be judged."""
        return self.enabled and self.by == "model"


class Final(_Table):
    """[final]: the pictures that are delivered.

    `carry` says how the accepted draft's intent reaches the final: `reference` sends the draft as
    a reference image, `seed` its seed (for self-hosted models), `accept` takes the draft itself.
    `quality` left out: the middle one, where the model has several. `fallback_model`, `steps`,
    `guidance` and `loras`: as for drafts.

    With `seed` at another size, or by another model, the draft is drawn over: `strength` is how
    much of it is drawn anew, from 0 to 1.
    """

    model: str = "gemini-nano-banana-2.1"
    fallback_model: str = ""
    size: str | None = None
    quality: str | None = None
    thinking: str | None = None
    carry: Literal["reference", "seed", "accept"] = "reference"
    judge: StrictBool = True
    steps: Steps | None = None
    guidance: Guidance | None = None
    loras: tuple[Lora, ...] = ()
    strength: Annotated[float, Field(gt=0, le=1)] = 0.35


class Deliver(_Table):
    """[deliver]: the format of the delivered files; `keep` leaves the provider's bytes alone.

    `widths`, in pixels, asks for variants for the web beside each of them, in each of `formats`,
    and `names` is what they are called. `quality` says nothing to variants.
    """

    format: Literal["keep", "jpeg", "png", "webp"] = "keep"
    quality: StrictInt = Field(default=90, ge=1, le=100)
    widths: tuple[Width, ...] = Field(default=(), max_length=32)
    formats: Annotated[tuple[VariantFormat, ...], Field(min_length=1)] = ("avif", "webp", "jpeg")
    names: Annotated[str, AfterValidator(variant_names.checked)] = variant_names.DEFAULT


class Wave(BaseModel):
    """One run of one file of briefs, complete and checked: models are ids, sizes are filled in.

    As its file says it, `edition` may be a period; of the edition that is chosen it is the name,
    which is then a part of the wave's (`storage.editions`). `file` is where it was read from;
    `warnings` are what a user should know before spending; `routing` says why models were chosen
    that the file does not name.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    use_case: str = ""
    lane: str = "gemini-batch"
    cache: Literal["reuse", "refresh"] = "reuse"
    edition: str = ""
    budget: Budget = Budget()
    wait: Wait = Wait()
    expand: Expand = Expand()
    draft: Draft = Draft()
    screen: Screen = Screen()
    judge: Judge = Judge()
    final: Final = Final()
    deliver: Deliver = Deliver()
    briefs: tuple[Brief, ...]
    file: str = ""
    warnings: tuple[str, ...] = ()
    routing: tuple[str, ...] = ()

    @property
    def series(self) -> str:
        """The name that all editions of the wave share: the one in its file."""
        return self.name.partition(".")[0]

    @property
    def salt(self) -> str:
        """What keeps its requests apart from those of other waves; "" where it shares them."""
        return self.name if self.edition or self.cache == "refresh" else ""

    @cached_property
    def revision(self) -> str:
        """8 hex digits of what the wave asks for; what it may cost, how it waits, its lane and
        its cache do not count."""
        content = self.model_dump(
            mode="json",
            exclude={
                "budget": True,
                "wait": True,
                "lane": True,
                "cache": True,
                "edition": True,  # it is in the name
                "file": True,
                "warnings": True,
                "routing": True,
                # What to do when a job hangs is decided when it does, for the wave that hangs.
                "draft": {"fallback_model"},
                "final": {"fallback_model"},
            },
        )
        if not self.deliver.widths:  # then nothing is made of them, and waves of old stay the same
            for key in ("widths", "formats", "names"):
                del content["deliver"][key]
        return digest(content)[:8]

    def fallback_model(self, kind: Kind) -> str:
        """The model that takes over from a job that is too old; "" where there is none."""
        tables: dict[Kind, Draft | Final] = {Kind.DRAFT: self.draft, Kind.FINAL: self.final}
        return tables[kind].fallback_model if kind in tables else ""

    def brief(self, id: str) -> Brief:
        """The brief with this id; KeyError if there is none."""
        return self._by_id[id]

    def folder(self, id: str) -> str:
        """The name of the folder for the pictures of the brief; KeyError if there is none."""
        return self._folders[id]

    def spec(self) -> dict[str, Any]:
        """All but the briefs, as JSON values: what the facts remember of the wave file."""
        return self.model_dump(mode="json", exclude={"briefs", "warnings"})

    @cached_property
    def _by_id(self) -> dict[str, Brief]:
        return {brief.id: brief for brief in self.briefs}

    @cached_property
    def _folders(self) -> dict[str, str]:
        return folders(brief.id for brief in self.briefs)
