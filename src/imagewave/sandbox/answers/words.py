"""Answers in words: expansions of a brief, and JSON that conforms to a given schema."""

import hashlib
import json
import random
import re
from collections.abc import Mapping
from typing import Any

from imagewave.sandbox.core.defects import markers, without_markers

_LIGHT = (
    "soft morning light through haze",
    "low golden-hour sun with long shadows",
    "bright overcast daylight, even and clean",
    "a single window's side light",
    "blue dusk with warm lamps coming on",
    "crisp midday sun and hard-edged shadows",
    "diffused studio light from a large softbox",
    "backlight that rims every edge",
)
_VIEW = (
    "seen from slightly above",
    "at eye level, centred",
    "in close-up with a shallow depth of field",
    "as a wide establishing shot",
    "from a low angle against the sky",
    "framed by out-of-focus foreground",
    "arranged as a tidy flat lay",
    "off-centre by the rule of thirds, with quiet space on the right",
)
_MOOD = (
    "calm and airy",
    "playful, saturated colours",
    "muted earth tones",
    "a restrained palette of two colours",
    "nostalgic, fine film grain",
    "fresh greens and off-whites",
    "warm and inviting",
    "graphic and bold",
)
_LENS = (
    "35 mm documentary photograph",
    "85 mm portrait lens, creamy background",
    "medium-format editorial photograph",
    "macro photograph, rich texture",
    "clean commercial product photograph",
    "photograph on slide film",
)
_COUNT = re.compile(
    r"\b(\d{1,2})\s+(?:\w+\s+){0,3}(?:prompts?|variants?|versions?|variations?|expansions?|ideas?)",
    re.IGNORECASE,
)
_BRIEF = re.compile(r"^\s*brief\s*:\s*(.+)$", re.IGNORECASE | re.MULTILINE)
_DEFAULT_COUNT = 3
_MAX_DEPTH = 8


def chooser(*content: object) -> random.Random:
    """Randomness that depends on nothing but the content."""
    text = "\0".join(map(str, content))
    return random.Random(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())


def expansion(prompt: str, choose: random.Random) -> str:
    """One creative reading of the brief in a prompt, its sandbox markers carried along."""
    subject = _subject(prompt)
    text = (
        f"{subject}, {choose.choice(_VIEW)}, {choose.choice(_LIGHT)}; "
        f"{choose.choice(_MOOD)}; {choose.choice(_LENS)}"
    )
    marks = markers(prompt)
    return f"{text} {marks}" if marks else text


def _subject(prompt: str) -> str:
    """What the brief is about: its `brief` in JSON, the `Brief:` line, else the first line."""
    text = without_markers(_in_json(prompt) or prompt)
    found = _BRIEF.search(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    subject = found.group(1) if found else (lines[0] if lines else "an image")
    return without_markers(subject).rstrip(" .")[:400]


def _in_json(prompt: str) -> str:
    """The brief of a prompt that is a JSON object; "" for any other."""
    try:
        found = json.loads(prompt)
    except json.JSONDecodeError:
        return ""
    brief = found.get("brief") if isinstance(found, dict) else None
    return brief if isinstance(brief, str) else ""


def plain_answer(prompt: str, choose: random.Random) -> str:
    """A text answer without schema: one expansion, or a numbered list where a count is asked."""
    count = _wanted(prompt)
    if count is None:
        return expansion(prompt, choose)
    return "\n".join(f"{i}. {expansion(prompt, choose)}" for i in range(1, count + 1))


def _wanted(prompt: str) -> int | None:
    found = _COUNT.search(prompt)
    return min(int(found.group(1)), 50) if found else None


class SchemaAnswer:
    """Fills a JSON schema, in Gemini's dialect (`OBJECT`) or the standard one (`object`).

    `score` (0..1) drives numbers, booleans and verdict-like enums; None fills them at random.
    `reason` is what explanatory strings say of a judged picture.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        prompt: str,
        choose: random.Random,
        score: float | None = None,
        reason: str = "",
    ) -> None:
        self._root = schema
        self._prompt = prompt
        self._choose = choose
        self._score = score
        self._reason = reason

    def text(self) -> str:
        """The answer as JSON text."""
        return json.dumps(self._fill(self._root, "", 0), ensure_ascii=False)

    def _fill(self, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._option(list(schema["enum"]))
        kind = _kind(schema)
        if depth > _MAX_DEPTH:
            return None
        if kind == "object":
            fields: Mapping[str, Any] = schema.get("properties", {})
            return {field: self._fill(sub, field, depth + 1) for field, sub in fields.items()}
        if kind == "array":
            items = schema.get("items", {"type": "string"})
            return [self._fill(items, name, depth + 1) for _ in range(self._length(schema))]
        if kind in ("number", "integer"):
            return self._number(schema, kind)
        if kind == "boolean":
            return self._judged(0.5) >= 0.5
        return self._string(schema, name) if kind == "string" else None

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_MAX_DEPTH):
            if "$ref" in schema:
                target: Any = self._root
                for step in str(schema["$ref"]).removeprefix("#/").split("/"):
                    target = target[step]
                schema = target
                continue
            options = schema.get("anyOf") or schema.get("oneOf")
            if not options:
                break
            schema = next((o for o in options if _kind(o) != "null"), options[0])
        return schema

    def _length(self, schema: Mapping[str, Any]) -> int:
        low = int(schema.get("minItems", 0))
        high = int(schema.get("maxItems", max(low, 50)))
        if self._score is not None and low == 0:
            # A judge's lists name problems: a good picture has none.
            return 0 if self._score >= 0.5 else min(1, high)
        return max(low, min(_wanted(self._prompt) or low or _DEFAULT_COUNT, high))

    def _number(self, schema: Mapping[str, Any], kind: str) -> float | int:
        low, high = float(schema.get("minimum", 0)), float(schema.get("maximum", 1))
        if kind == "integer" and "maximum" not in schema:
            high = max(low, 10)
        value = low + (high - low) * self._judged(self._choose.random())
        return round(value) if kind == "integer" else round(value, 3)

    def _judged(self, otherwise: float) -> float:
        if self._score is None:
            return otherwise
        return min(max(self._score + self._choose.uniform(-0.04, 0.04), 0.0), 1.0)

    def _option(self, options: list[Any]) -> Any:
        if self._score is None:
            return self._choose.choice(options)
        wanted = _GOOD if self._score >= 0.5 else _BAD
        return next((o for o in options if str(o).lower() in wanted), options[0])

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        if self._score is not None:
            return self._reason
        return expansion(self._prompt, self._choose)


_GOOD = frozenset({"pass", "passed", "accept", "accepted", "good", "yes", "ok", "keep", "approve"})
_BAD = frozenset({"fail", "failed", "reject", "rejected", "bad", "no", "poor", "discard"})


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    return str(kind).lower()
