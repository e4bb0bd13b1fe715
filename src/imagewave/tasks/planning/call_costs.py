"""What one call of each stage of a wave costs, before any is made: the mean over its briefs."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from imagewave.errors import ImagewaveError
from imagewave.providers.lanes import lane_name
from imagewave.storage.catalog import Model, find_model, require_alive
from imagewave.storage.catalog.lanes import batch_lane
from imagewave.storage.catalog.prices import CHARS_PER_TOKEN, estimate
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.drafting.expand import expansion_chars, expansion_cost
from imagewave.tasks.final import drawn_over
from imagewave.tasks.judging.judge import judge_chars, judge_cost

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
            lane = batch_lane(model) or lane
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
    if wave.expand.mode == "model":
        writing = lane or lane_of(wave.expand.model, wave)
        lengths = Counter(map(expansion_chars, itertools.repeat(wave), wave.briefs))
        prices["expand"] = _mean(lengths, lambda chars: expansion_cost(wave, chars, lane=writing))
    lengths = _prompt_lengths(wave)
    prices["draft"] = _mean(lengths, drafts.usd)
    if wave.judge.asks_model:
        judging = lane or lane_of(wave.judge.model, wave)
        prices["judge"] = _mean(
            _judge_lengths(wave), lambda chars: judge_cost(wave, chars, lane=judging)
        )
    if wave.final.carry != "accept":
        carried = int(wave.final.carry == "reference")
        finals = finals_of(wave)
        if lane:
            finals = replace(finals, lane=lane)
        prices["final"] = _mean(lengths, lambda chars: finals.usd(chars, carried))
    return prices


def input_tokens(wave: Wave) -> Mapping[str, int]:
    """Input tokens of one request of each stage but the expansion, at the most."""
    prompt = math.ceil(max(_prompt_lengths(wave)) / CHARS_PER_TOKEN)
    found = {"draft": prompt, "final": prompt}
    if wave.final.carry == "reference":
        found["final"] += finals_of(wave).model.reference_tokens or 0
    if wave.judge.asks_model:
        seen = find_model(wave.judge.model).reference_tokens or 0
        found["judge"] = math.ceil(max(_judge_lengths(wave)) / CHARS_PER_TOKEN) + seen
    return found


def lane_of(model: str, wave: Wave) -> str:
    """The lane that the wave's requests of this model go by."""
    return lane_name(find_model(model), wave.lane)


def _prompt_lengths(wave: Wave) -> Counter[int]:
    """Characters of the briefs' prompts, as far as they can be told before they are written, and
    how many briefs have so many."""
    longest = max(map(len, wave.expand.templates), default=0)
    if wave.expand.mode == "model":
        return Counter({_WRITTEN: len(wave.briefs)})
    return Counter(len(brief.text) + longest for brief in wave.briefs)


def _judge_lengths(wave: Wave) -> Counter[int]:
    """Characters that the judge is sent of the briefs, and how many briefs have so many."""
    return Counter(map(judge_chars, itertools.repeat(wave), wave.briefs))


def _ratio(wave: Wave) -> str:
    return Counter(brief.aspect_ratio for brief in wave.briefs).most_common(1)[0][0]


def _mean(lengths: Counter[int], usd: Callable[[int], Decimal]) -> Decimal:
    """The mean price of briefs that differ in their lengths alone: each length is priced once."""
    total = sum((usd(chars) * briefs for chars, briefs in lengths.items()), Decimal(0))
    return (total / lengths.total()).quantize(_NANO)
