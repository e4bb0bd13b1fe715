"""The tokens that an answer took, whatever the provider or a gateway before it calls them.

What cannot be read is never taken for nothing: usage that counts no tokens for what came is no
usage, and the answer is then charged as estimated.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from imagewave.providers.wire.fields import count_of, dict_of, dicts_of, name_of
from imagewave.storage.catalog.prices import Usage

# Names without their case and underscores, such as promptTokenCount, input_tokens_details or
# total_output_tokens. Longer words first: `tooluseprompt` ends with another's name.
_NAME = re.compile(
    r"(?:total)?"
    r"(?P<what>tooluseprompt|cachecreationinput|cachereadinput|prompt|input"
    r"|candidates?|completion|output|response|thoughts?|reasoning|)"
    r"tokens?(?P<parts>count|details?|bymodality)?"
)
_IN, _MORE_IN, _OUT, _THOUGHTS, _TOTAL = "in", "more in", "out", "thoughts", "total"
_MEANING = {
    "tooluseprompt": _MORE_IN,
    "cachecreationinput": _MORE_IN,
    "cachereadinput": _MORE_IN,
    "prompt": _IN,
    "input": _IN,
    "candidate": _OUT,
    "candidates": _OUT,
    "completion": _OUT,
    "output": _OUT,
    "response": _OUT,
    "thought": _THOUGHTS,
    "thoughts": _THOUGHTS,
    "reasoning": _THOUGHTS,
    "": _TOTAL,
}
_SHOWN = ("IMAGE", "TEXT", "AUDIO", "VIDEO", "DOCUMENT")
_REASONED = ("REASONING", "THINKING")
_NONE = (0,) * len(_SHOWN)


def read_usage(
    reported: object,
    *,
    drawn: bool,
    wrote: bool,
    pictures_apart: bool = False,
    note: Callable[[str], None],
) -> Usage | None:
    """The tokens, or None where what is reported counts none for what came.

    `drawn` and `wrote` say that a picture and that words came. `pictures_apart`: the provider has
    a price of its own for pictures in the prompt. `note` hears what is odd.

    What is not told apart counts as the dearer, an image: a bill may not turn out lower than the
    provider's. So do tokens that only the total has.
    """
    counts = dict.fromkeys((_IN, _MORE_IN, _OUT, _THOUGHTS, _TOTAL), 0)
    parts: dict[str, dict[str, int]] = {_IN: {}, _OUT: {}}
    for name, value in dict_of(reported).items():
        what, is_parts = _meaning(name)
        if is_parts:
            if what in parts:
                _add_by_modality(value, parts[what])
        elif what == _MORE_IN:
            counts[what] += count_of(value)
        elif what:  # who says the same twice, in two vocabularies, means it once
            counts[what] = max(counts[what], count_of(value))
    prompt = counts[_IN] or sum(map(parts[_IN].get, _SHOWN, _NONE))
    prompt += counts[_MORE_IN]
    within = max(map(parts[_OUT].get, _REASONED, _NONE))
    thoughts = 0 if within else counts[_THOUGHTS]
    told = sum(map(parts[_OUT].get, _SHOWN, _NONE))
    output = max(counts[_OUT] or told + within, told)
    if prompt and counts[_TOTAL] > prompt + output + thoughts:
        output = counts[_TOTAL] - prompt - thoughts
        note("usage whose parts add up to less than its total")
    within = min(within, output)
    image = parts[_OUT].get("IMAGE", 0)
    if drawn and not image:
        image = output - within
    if (drawn and not image) or (wrote and not output):
        return None
    if not prompt + output + thoughts:
        return None
    if not prompt:
        note("usage without tokens of the prompt")
    return Usage(
        prompt_tokens=prompt,
        image_tokens=image,
        text_tokens=max(output - image - within, 0),
        thought_tokens=thoughts + within,
        reference_tokens=_pictures_in(prompt, parts[_IN]) if pictures_apart else 0,
    )


def _pictures_in(prompt: int, shown: dict[str, int]) -> int:
    if not (shown.get("IMAGE") or shown.get("TEXT")):
        return prompt
    return min(shown.get("IMAGE", 0), prompt)


@lru_cache(maxsize=512)
def _meaning(name: str) -> tuple[str, bool]:
    """What is counted under this name ("": nothing known), and whether by parts."""
    found = _NAME.fullmatch(name.replace("_", "").lower())
    if found is None:
        return "", False
    return _MEANING[found["what"]], (found["parts"] or "count") != "count"


def _add_by_modality(value: object, found: dict[str, int]) -> None:
    """Counts by modality, from `[{modality, tokenCount}]` or `{image_tokens: …}`."""
    if isinstance(value, dict) and "modality" not in value:
        told = [(_modality(name), count_of(count)) for name, count in value.items()]
    else:
        told = [
            (name_of(detail.get("modality")), max(map(count_of, detail.values())))
            for detail in dicts_of(value)
            if detail
        ]
    sums: dict[str, int] = {}
    for modality, count in told:
        sums[modality] = sums.get(modality, 0) + count
    for modality, count in sums.items():  # and once in two vocabularies, as above
        found[modality] = max(found.get(modality, 0), count)


@lru_cache(maxsize=512)
def _modality(name: str) -> str:
    return name.replace("_", "").upper().removesuffix("S").removesuffix("TOKEN")
