"""What one call of each stage of a wave costs, before any is made: the mean over its briefs."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from imagewave.errors import ImagewaveError
from imagewave.storage.catalog import Model, find_model, require_alive
from imagewave.storage.catalog.prices import CHARS_PER_TOKEN, estimate
from imagewave.storage.wave import Wave
from imagewave.tasks.expand import expansion_asks
from imagewave.tasks.final import drawn_over
from imagewave.tasks.judge import judge_cost, judge_request
from imagewave.tasks.lanes import lane_name

# Characters of a prompt that a text model writes: 80 words.
_WRITTEN = 480
_NANO = Decimal("1e-9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """An image model as a stage uses it; `ratio` is the aspect ratio of most of its pictures."""

    model: Model
    lane: str
    ratio: str = "1:1"
    size: str | None = None
    quality: str | None = None
    thinking: str | None = None
    steps: int | None = None

    def usd(self, prompt_chars: int, references: int = 0) -> Decimal:
        """USD that one picture is expected to cost.

        Raises:
            UnknownPrice: nobody knows.
        """
        return estimate(
            self.model,
            lane=self.lane,
            size=self.size,
            aspect_ratio=self.ratio,
            prompt_chars=prompt_chars,
            references=references,
            thinking=self.thinking,
            quality=self.quality,
            steps=self.steps,
        )


def drafts_of(wave: Wave) -> Quote:
    """The wave's drafts."""
    model = find_model(wave.draft.model)
    return Quote(
        model=model,
        lane=lane_name(model, wave.lane),
        ratio=_ratio(wave),
        size=wave.draft.size,
        quality=wave.draft.quality,
        thinking=wave.draft.thinking,
        steps=wave.draft.steps,
    )


def finals_of(wave: Wave) -> Quote:
    """The wave's finals."""
    model = find_model(wave.final.model)
    steps = wave.final.steps
    if steps and drawn_over(wave, wave.draft.model, wave.draft.size):
        steps = math.ceil(steps * wave.final.strength)
    return Quote(
        model=model,
        lane=lane_name(model, wave.lane),
        ratio=_ratio(wave),
        size=wave.final.size,
        quality=wave.final.quality,
        thinking=wave.final.thinking,
        steps=steps,
    )


def cheapest_use(name: str, wave: Wave) -> Quote:
    """A model as the wave's drafts would use it: least size, quality and thinking, by batch.

    "model@lane" goes by that lane, "model@batch" by the model's batch lane.

    Raises:
        UnknownModel: the catalog has no such model.
        RetiredModel: it is shut down.
        ImagewaveError: it draws nothing, or not the wave's ratios; or no lane reaches it, or not
            that one.
    """
    called, at, lane = name.rpartition("@")
    model = find_model(called if at else name)
    require_alive(model)
    if model.kind != "image":
        raise ImagewaveError(
            f"{model.id!r} is a model for {model.kind}s, not images.",
            "`imagewave models` lists those that draw.",
        )
    if at:
        if lane == "batch":
            lane = next((each for each in model.lanes if each.endswith("-batch")), lane)
        if lane not in model.lanes:
            raise ImagewaveError(
                f"{model.id!r} is not reached by {lane!r}.",
                f"Its lanes are {', '.join(model.lanes)}." if model.lanes else "No lane is.",
            )
    else:
        lane = lane_name(model, wave.lane)
    if strange := {brief.aspect_ratio for brief in wave.briefs} - set(model.ratios):
        raise ImagewaveError(
            f"{model.id!r} does not draw the aspect ratio {min(strange)!r}.",
            f"It draws {', '.join(model.ratios)}.",
        )
    return Quote(
        model=model,
        lane=lane,
        ratio=_ratio(wave),
        size=model.default_size,
        quality=model.qualities[0] if model.qualities else None,
        thinking="minimal" if "minimal" in model.thinking else None,
    )


def per_call(wave: Wave, drafts: Quote, *, lane: str | None = None) -> Mapping[str, Decimal]:
    """USD of one call of each stage that the wave has, drafts as quoted.

    `lane`: priced as if all of it went that way.

    Raises:
        UnknownPrice: some price is not known.
    """
    if lane:
        drafts = replace(drafts, lane=lane)
    prices = {}
    if asks := expansion_asks(wave, lane=lane or lane_of(wave.expand.model, wave)):
        prices["expand"] = _mean([ask.estimate_usd for ask in asks])
    chars = _prompt_lengths(wave)
    prices["draft"] = _mean([drafts.usd(length) for length in chars])
    if wave.judge.asks_model:
        requests = [judge_request(wave, brief, "0" * 64) for brief in wave.briefs]
        judging = lane or lane_of(wave.judge.model, wave)
        prices["judge"] = _mean([judge_cost(request, lane=judging) for request in requests])
    if wave.final.carry != "accept":
        carried = int(wave.final.carry == "reference")
        finals = finals_of(wave)
        if lane:
            finals = replace(finals, lane=lane)
        prices["final"] = _mean([finals.usd(length, carried) for length in chars])
    return prices


def input_tokens(wave: Wave) -> Mapping[str, int]:
    """Input tokens of one request of each stage but the expansion, at the most."""
    prompt = math.ceil(max(_prompt_lengths(wave)) / CHARS_PER_TOKEN)
    found = {"draft": prompt, "final": prompt}
    if wave.final.carry == "reference":
        found["final"] += finals_of(wave).model.reference_tokens or 0
    if wave.judge.asks_model:
        requests = [judge_request(wave, brief, "0" * 64) for brief in wave.briefs]
        chars = max(len(request.prompt) + len(request.system) for request in requests)
        seen = find_model(wave.judge.model).reference_tokens or 0
        found["judge"] = math.ceil(chars / CHARS_PER_TOKEN) + seen
    return found


def lane_of(model: str, wave: Wave) -> str:
    """The lane that the wave's requests of this model go by."""
    return lane_name(find_model(model), wave.lane)


def _prompt_lengths(wave: Wave) -> list[int]:
    """Characters of each brief's prompts, as far as that can be told before they are written."""
    longest = max(map(len, wave.expand.templates), default=0)
    if wave.expand.mode == "model":
        return [_WRITTEN] * len(wave.briefs)
    return [len(brief.text) + longest for brief in wave.briefs]


def _ratio(wave: Wave) -> str:
    return Counter(brief.aspect_ratio for brief in wave.briefs).most_common(1)[0][0]


def _mean(values: list[Decimal]) -> Decimal:
    return (sum(values, Decimal(0)) / len(values)).quantize(_NANO)
