"""Answers one request as Gemini would: a picture, words, a judgement or a refusal."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import pybase64

from imagewave.sandbox.answers import damage, judge, pictures, words
from imagewave.sandbox.core.ask import Ask
from imagewave.sandbox.core.defects import (
    BLOCK_REASONS,
    FINISH_REASONS,
    LINE_ERRORS,
    PICTURE_DEFECTS,
    Defect,
    without_markers,
)
from imagewave.sandbox.core.models import draws, picture_size
from imagewave.sandbox.core.prices import Tokens, price_of, thought_tokens

_CHARS_PER_TOKEN = 4
_TEXT_WITH_NOTHING = "I'm sorry, I can only describe this image in words: "
_MAX_TOKENS_USED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one request: a response, or a gRPC error code and message."""

    response: dict[str, Any] | None
    error: tuple[int, str] | None
    outcome: str
    reason: str
    tokens: Tokens


def answer(
    ask: Ask,
    *,
    key: str,
    defects: frozenset[Defect] = frozenset(),
    neighbour: tuple[Ask, str] | None = None,
    tiny: int = 1,
    pad_to: int = 0,
) -> Answer:
    """The same answer every time for the same arguments.

    `neighbour` is another request and its key, to be copied by a near-duplicate; `tiny` divides
    the picture's edges; `pad_to` makes the encoded picture at least that many bytes long.
    """
    for defect, error in LINE_ERRORS.items():
        if defect in defects:
            return failure(*error)
    prompt_tokens = _prompt_tokens(ask)
    for defect, reason in BLOCK_REASONS.items():
        if defect in defects:
            blocked = {"promptFeedback": {"blockReason": reason}}
            return _respond(ask, blocked, "refused", reason, Tokens(prompt=prompt_tokens), defects)
    for defect, reason in FINISH_REASONS.items():
        if defect in defects:
            return _without_content(ask, reason, prompt_tokens, defects)
    thoughts = thought_tokens(ask.model.id, ask.thinking)
    if draws(ask.model) and Defect.TEXT_ONLY not in defects:
        parts = _picture_parts(ask, key, defects, neighbour, tiny, pad_to)
        image = ask.image_tokens or price_of(ask.model.id).image_tokens[ask.size]
        tokens = Tokens(prompt=prompt_tokens, image=image, thoughts=thoughts)
        return _candidate(ask, parts, "image", tokens, defects)
    text = _text(ask, key, defects)
    limit = ask.max_output_tokens
    cut = limit is not None and _tokens(text) > limit
    if limit is not None and cut:
        text = text[: limit * _CHARS_PER_TOKEN]
    tokens = Tokens(prompt=prompt_tokens, text=_tokens(text), thoughts=thoughts)
    finish = "MAX_TOKENS" if cut else "STOP"
    return _candidate(ask, [{"text": text}], "text", tokens, defects, finish)


def failure(code: int, message: str) -> Answer:
    """A line that failed; nothing is billed for it."""
    return Answer(
        response=None, error=(code, message), outcome="error", reason=str(code), tokens=Tokens()
    )


def _picture_parts(
    ask: Ask,
    key: str,
    defects: frozenset[Defect],
    neighbour: tuple[Ask, str] | None,
    tiny: int,
    pad_to: int,
) -> list[dict[str, Any]]:
    spoiled = next(iter(defects & PICTURE_DEFECTS), None)
    if spoiled is Defect.WRONG_ASPECT:
        wide = ask.ratio != "21:9"
        other = (1024, 1024) if ask.pixels != (1024, 1024) else (1536, 512)
        ask = replace(ask, ratio="21:9" if wide else "1:1", pixels=ask.pixels and other)
    if spoiled is Defect.NEAR_DUPLICATE and neighbour is not None:
        copied, copied_key = neighbour
        copied = replace(copied, ratio=ask.ratio, size=ask.size, pixels=ask.pixels, model=ask.model)
        data = damage.near_duplicate(pictures.draw(_recipe(copied, copied_key, tiny)))
    else:
        picture = pictures.draw(_recipe(ask, key, tiny))
        if spoiled is not None:
            picture = damage.spoil_picture(picture, spoiled)
        data = pictures.encode(picture)
        if spoiled is not None:
            data = damage.spoil_bytes(data, spoiled)
    mime = "image/png" if spoiled is Defect.BOMB else "image/jpeg"
    if pad_to:
        data = damage.pad_jpeg(data, pad_to)
    encoded = pybase64.b64encode(data).decode("ascii")
    if spoiled is Defect.BAD_BASE64:
        encoded = f"{encoded[:1000]}*?{encoded[1002:-1]}"
    parts: list[dict[str, Any]] = [{"inlineData": {"mimeType": mime, "data": encoded}}]
    if Defect.THOUGHT_FIRST in defects:
        interim = replace(_recipe(ask, f"{key}/interim", tiny), model="interim")
        sketch = pybase64.b64encode(pictures.encode(pictures.draw(interim), 60)).decode("ascii")
        parts = [
            {"text": "Composing the scene before rendering it.", "thought": True},
            {"inlineData": {"mimeType": "image/jpeg", "data": sketch}, "thought": True},
            *parts,
        ]
    return parts


def _recipe(ask: Ask, key: str, tiny: int) -> pictures.Recipe:
    width, height = ask.pixels or picture_size(ask.model, ask.ratio, ask.size)
    return pictures.Recipe(
        model=ask.model.id,
        prompt=f"{ask.system}\n{without_markers(ask.prompt)}",
        nonce=str(ask.seed) if ask.seed is not None else key,
        width=max(width // tiny, pictures.MIN_EDGE),
        height=max(height // tiny, pictures.MIN_EDGE),
        references=ask.images,
    )


def _text(ask: Ask, key: str, defects: frozenset[Defect]) -> str:
    choose = words.chooser(ask.model.id, ask.system, ask.prompt, ask.seed, key)
    if draws(ask.model):
        return _TEXT_WITH_NOTHING + words.expansion(ask.prompt, choose)
    opinion = judge.judge(ask.images) if ask.images else None
    if ask.schema is None and not ask.as_json:
        if opinion is None:
            return words.plain_answer(ask.prompt, choose)
        return f"{opinion.reason} Score: {opinion.score:.2f}."
    schema = ask.schema or {"type": "object", "properties": {"prompt": {"type": "string"}}}
    text = words.SchemaAnswer(
        schema,
        ask.prompt,
        choose,
        score=opinion.score if opinion else None,
        reason=opinion.reason if opinion else "",
    ).text()
    return text[: len(text) * 2 // 3] if Defect.BROKEN_JSON in defects else text


def _without_content(
    ask: Ask, reason: str, prompt_tokens: int, defects: frozenset[Defect]
) -> Answer:
    used = min(ask.max_output_tokens or _MAX_TOKENS_USED, 8192) if reason == "MAX_TOKENS" else 0
    message = {} if reason == "MAX_TOKENS" else {"finishMessage": _finish_message(reason)}
    candidate = {"content": {"role": "model"}, "finishReason": reason, "index": 0, **message}
    tokens = Tokens(prompt=prompt_tokens, text=used)
    return _respond(ask, {"candidates": [candidate]}, "refused", reason, tokens, defects)


def _finish_message(reason: str) -> str:
    return f"Unable to show the generated image. The model stopped with {reason}."


def _candidate(
    ask: Ask,
    parts: list[dict[str, Any]],
    outcome: str,
    tokens: Tokens,
    defects: frozenset[Defect],
    finish: str = "STOP",
) -> Answer:
    candidate = {
        "content": {"parts": parts, "role": "model"},
        "finishReason": finish,
        "index": 0,
    }
    return _respond(ask, {"candidates": [candidate]}, outcome, finish, tokens, defects)


def _respond(
    ask: Ask,
    body: dict[str, Any],
    outcome: str,
    reason: str,
    tokens: Tokens,
    defects: frozenset[Defect],
) -> Answer:
    usage = _usage(ask, tokens)
    if Defect.USAGE_PARTIAL in defects:
        usage.pop("candidatesTokensDetails", None)
        usage.pop("promptTokensDetails", None)
    response = {**body, "usageMetadata": usage, "modelVersion": ask.model.id}
    if Defect.USAGE_MISSING in defects:
        del response["usageMetadata"]
    name = hashlib.sha256(f"{ask.model.id}\0{ask.prompt}\0{ask.seed}".encode()).hexdigest()
    response["responseId"] = name[:22]
    return Answer(response=response, error=None, outcome=outcome, reason=reason, tokens=tokens)


def _usage(ask: Ask, tokens: Tokens) -> dict[str, Any]:
    """Usage metadata; like every protobuf, it leaves out what is zero."""
    seen = seen_tokens(ask)
    candidates = tokens.image + tokens.text
    numbers = {
        "promptTokenCount": tokens.prompt,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": tokens.thoughts,
        "totalTokenCount": tokens.prompt + candidates + tokens.thoughts,
    }
    usage: dict[str, Any] = {name: number for name, number in numbers.items() if number}
    details = {
        "promptTokensDetails": {"TEXT": tokens.prompt - seen, "IMAGE": seen},
        "candidatesTokensDetails": {"IMAGE": tokens.image},
    }
    for name, by_modality in details.items():
        counts = [{"modality": m, "tokenCount": n} for m, n in by_modality.items() if n]
        if counts:
            usage[name] = counts
    return usage


def seen_tokens(ask: Ask) -> int:
    """Input tokens of the pictures that are sent along."""
    return sum(_image_tokens(ask, image) for image in ask.images)


def _prompt_tokens(ask: Ask) -> int:
    system = _tokens(ask.system) if ask.system else 0
    return _tokens(ask.prompt) + system + seen_tokens(ask)


def _tokens(text: str) -> int:
    return max(1, -(-len(text) // _CHARS_PER_TOKEN))


def _image_tokens(ask: Ask, image: bytes) -> int:
    """What a picture costs to look at: by its bytes, a stand-in for its pixels."""
    if draws(ask.model):
        return 560 if len(image) < 1_000_000 else 1120
    return 1090 if len(image) > 100_000 else 258
