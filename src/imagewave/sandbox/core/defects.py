"""What can be wrong with an answer, how often, and which request gets it.

The choice depends on the server's seed and on the request's key alone, so that two runs of the
same wave meet the same defects, however often they were killed in between. A prompt can ask for a
defect by name: `[[sandbox:blank]]`, for the first two times only `[[sandbox:no_image x2]]`, for
requests with reference images only `[[sandbox:dark@reference]]`.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Defect(StrEnum):
    """One way in which an answer is not what was asked for."""

    BLOCK_SAFETY = "block_safety"
    BLOCK_OTHER = "block_other"
    BLOCK_BLOCKLIST = "block_blocklist"
    BLOCK_PROHIBITED = "block_prohibited"
    BLOCK_IMAGE_SAFETY = "block_image_safety"
    FINISH_IMAGE_SAFETY = "finish_image_safety"
    FINISH_IMAGE_PROHIBITED = "finish_image_prohibited"
    FINISH_PROHIBITED = "finish_prohibited"
    FINISH_SAFETY = "finish_safety"
    FINISH_SPII = "finish_spii"
    FINISH_BLOCKLIST = "finish_blocklist"
    FINISH_RECITATION = "finish_recitation"
    FINISH_IMAGE_RECITATION = "finish_image_recitation"
    FINISH_IMAGE_OTHER = "finish_image_other"
    FINISH_OTHER = "finish_other"
    NO_IMAGE = "no_image"
    TEXT_ONLY = "text_only"
    MAX_TOKENS = "max_tokens"
    ERROR_3 = "error_3"
    ERROR_8 = "error_8"
    ERROR_13 = "error_13"
    BROKEN_JSON = "broken_json"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    BAD_BASE64 = "bad_base64"
    BLANK = "blank"
    DARK = "dark"
    WASHED_OUT = "washed_out"
    BLURRED = "blurred"
    BORDERED = "bordered"
    NEAR_DUPLICATE = "near_duplicate"
    WRONG_ASPECT = "wrong_aspect"
    BOMB = "bomb"
    THOUGHT_FIRST = "thought_first"
    USAGE_MISSING = "usage_missing"
    USAGE_PARTIAL = "usage_partial"
    KEY_MISSING = "key_missing"
    KEY_DUPLICATE = "key_duplicate"
    KEY_UNKNOWN = "key_unknown"
    KEY_SWAPPED = "key_swapped"
    SHUFFLED = "shuffled"


BLOCK_REASONS: Mapping[Defect, str] = MappingProxyType(
    {
        Defect.BLOCK_SAFETY: "SAFETY",
        Defect.BLOCK_OTHER: "OTHER",
        Defect.BLOCK_BLOCKLIST: "BLOCKLIST",
        Defect.BLOCK_PROHIBITED: "PROHIBITED_CONTENT",
        Defect.BLOCK_IMAGE_SAFETY: "IMAGE_SAFETY",
    }
)
FINISH_REASONS: Mapping[Defect, str] = MappingProxyType(
    {
        Defect.FINISH_IMAGE_SAFETY: "IMAGE_SAFETY",
        Defect.FINISH_IMAGE_PROHIBITED: "IMAGE_PROHIBITED_CONTENT",
        Defect.FINISH_PROHIBITED: "PROHIBITED_CONTENT",
        Defect.FINISH_SAFETY: "SAFETY",
        Defect.FINISH_SPII: "SPII",
        Defect.FINISH_BLOCKLIST: "BLOCKLIST",
        Defect.FINISH_RECITATION: "RECITATION",
        Defect.FINISH_IMAGE_RECITATION: "IMAGE_RECITATION",
        Defect.FINISH_IMAGE_OTHER: "IMAGE_OTHER",
        Defect.FINISH_OTHER: "OTHER",
        Defect.NO_IMAGE: "NO_IMAGE",
        Defect.MAX_TOKENS: "MAX_TOKENS",
    }
)
LINE_ERRORS: Mapping[Defect, tuple[int, str]] = MappingProxyType(
    {
        Defect.ERROR_3: (3, "Request contains an invalid argument."),
        Defect.ERROR_8: (8, "Resource has been exhausted (e.g. check quota)."),
        Defect.ERROR_13: (13, "Internal error encountered."),
    }
)
PICTURE_DEFECTS = frozenset(
    {
        Defect.CORRUPT,
        Defect.TRUNCATED,
        Defect.BAD_BASE64,
        Defect.BLANK,
        Defect.DARK,
        Defect.WASHED_OUT,
        Defect.BLURRED,
        Defect.BORDERED,
        Defect.NEAR_DUPLICATE,
        Defect.WRONG_ASPECT,
        Defect.BOMB,
    }
)
# What comes with an answer, whatever the answer is: each drawn by itself.
_EXTRAS = (Defect.THOUGHT_FIRST, Defect.USAGE_MISSING, Defect.USAGE_PARTIAL)
_KEYS = (Defect.KEY_MISSING, Defect.KEY_DUPLICATE, Defect.KEY_UNKNOWN, Defect.KEY_SWAPPED)
# What the answer is: at most one of these.
_ANSWERS = tuple(d for d in Defect if d not in {*_EXTRAS, *_KEYS, Defect.SHUFFLED})
_IMAGE_ONLY = PICTURE_DEFECTS | {Defect.NO_IMAGE, Defect.TEXT_ONLY, Defect.THOUGHT_FIRST} | {
    d for d, reason in FINISH_REASONS.items() if reason.startswith("IMAGE")
}  # fmt: skip
_TEXT_ONLY_KIND = frozenset({Defect.BROKEN_JSON})
# Faults of the moment: asked again, the same request may well succeed.
PASSING = frozenset(
    {
        Defect.ERROR_8,
        Defect.ERROR_13,
        Defect.NO_IMAGE,
        Defect.TEXT_ONLY,
        Defect.BROKEN_JSON,
        Defect.CORRUPT,
        Defect.TRUNCATED,
        Defect.BAD_BASE64,
        Defect.FINISH_RECITATION,
        Defect.FINISH_IMAGE_RECITATION,
        Defect.FINISH_IMAGE_OTHER,
        Defect.FINISH_OTHER,
    }
)

MARKER = re.compile(
    r"\[\[sandbox:([a-z0-9_]+)(?:@(image|plain|reference|text|any))?(?: ?x(\d+))?\]\]"
)


class UnknownDefect(ValueError):
    """A configuration names a defect that does not exist, or gives a rate that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defects:
    """How often each defect is planted, as rates between 0 and 1.

    `clears_after` is how many times a passing defect (gRPC 8 and 13, NO_IMAGE, broken bytes)
    is repeated for one key before the same key gets its picture; 0: for ever.
    """

    rates: Mapping[Defect, float] = field(default_factory=dict)
    clears_after: int = 1

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> "Defects":
        """Reads `{"blank": 0.02, …, "clears_after": 1}`.

        Raises:
            UnknownDefect: a name that is none, or a rate outside 0..1.
        """
        rates: dict[Defect, float] = {}
        clears_after = 1
        for name, value in table.items():
            if name == "clears_after":
                if not isinstance(value, int) or value < 0:
                    raise UnknownDefect(f"'clears_after' must be a whole number, not {value!r}")
                clears_after = value
                continue
            if name not in Defect._value2member_map_:
                known = ", ".join(Defect)
                raise UnknownDefect(f"unknown defect {name!r}; known ones are {known}")
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UnknownDefect(f"the rate of {name!r} must be between 0 and 1, not {value!r}")
            rates[Defect(name)] = float(value)
        return cls(rates=MappingProxyType(rates), clears_after=clears_after)

    def to_json(self) -> dict[str, float | int]:
        """The table that `parse` reads."""
        return {**{str(d): r for d, r in self.rates.items()}, "clears_after": self.clears_after}

    def choose(
        self,
        *,
        seed: int,
        key: str,
        prompt: str,
        wants_image: bool,
        has_references: bool,
        asked_before: int,
    ) -> frozenset[Defect]:
        """The defects of one answer; `asked_before` counts earlier answers to the same key."""
        marked = _marked(prompt, wants_image, has_references, asked_before)
        if marked:
            return marked
        chosen = {d for d in _EXTRAS if _draw(seed, key, d) < self.rates.get(d, 0)}
        chosen |= self._one_of(_ANSWERS, _draw(seed, key, "answer"))
        chosen |= self._one_of(_KEYS, _draw(seed, key, "key"))
        if self.clears_after and asked_before >= self.clears_after:
            chosen -= PASSING
        return frozenset(chosen - (_TEXT_ONLY_KIND if wants_image else _IMAGE_ONLY))

    def shuffles(self, *, seed: int, job: str) -> bool:
        """Whether the lines of this job come back in another order."""
        return _draw(seed, job, Defect.SHUFFLED) < self.rates.get(Defect.SHUFFLED, 0)

    def _one_of(self, defects: tuple[Defect, ...], draw: float) -> set[Defect]:
        for defect in defects:
            draw -= self.rates.get(defect, 0)
            if draw < 0:
                return {defect}
        return set()


def markers(text: str) -> str:
    """The markers in a text, as one string: what a rewrite of the text must carry on."""
    return " ".join(match.group(0) for match in MARKER.finditer(text))


def without_markers(text: str) -> str:
    """The text as the model is meant to read it."""
    return MARKER.sub("", text).strip()


def _marked(
    prompt: str, wants_image: bool, has_references: bool, asked_before: int
) -> frozenset[Defect]:
    chosen = set()
    for name, scope, times in MARKER.findall(prompt):
        applies = {
            "": wants_image,
            "image": wants_image,
            "plain": wants_image and not has_references,
            "reference": wants_image and has_references,
            "text": not wants_image,
            "any": True,
        }[scope]
        due = not times or asked_before < int(times)
        if applies and due and name in Defect._value2member_map_:
            chosen.add(Defect(name))
    return frozenset(chosen)


def _draw(seed: int, key: str, purpose: str) -> float:
    digest = hashlib.sha256(f"{seed}/{key}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


_REFUSALS = dict.fromkeys((*BLOCK_REASONS, *FINISH_REASONS), 0.004)
PROFILES: Mapping[str, Defects] = MappingProxyType(
    {
        "none": Defects(),
        "mild": Defects.parse(
            {
                "block_safety": 0.01,
                "finish_image_safety": 0.015,
                "no_image": 0.02,
                "text_only": 0.01,
                "error_8": 0.005,
                "error_13": 0.015,
                "corrupt": 0.005,
                "truncated": 0.01,
                "blank": 0.02,
                "dark": 0.03,
                "washed_out": 0.02,
                "blurred": 0.03,
                "bordered": 0.02,
                "near_duplicate": 0.04,
                "wrong_aspect": 0.01,
                "thought_first": 0.1,
                "shuffled": 1.0,
            }
        ),
        "harsh": Defects.parse(
            {
                **{str(d): r for d, r in _REFUSALS.items()},
                **{str(d): 0.02 for d in LINE_ERRORS},
                **{str(d): 0.025 for d in PICTURE_DEFECTS},
                **{str(d): 0.02 for d in _KEYS},
                "bomb": 0.01,
                "text_only": 0.02,
                "no_image": 0.02,
                "broken_json": 0.02,
                "thought_first": 0.2,
                "usage_missing": 0.02,
                "usage_partial": 0.02,
                "shuffled": 1.0,
            }
        ),
    }
)
