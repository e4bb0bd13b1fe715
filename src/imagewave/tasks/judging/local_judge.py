"""Judges pictures on this machine, by a CLIP or SigLIP model and an aesthetic head: no request.

The output is that of the judge in the lane, so that whatever follows does not know the difference.
It sees whether a picture is about its brief and, with a head, how pleasing it is; it reads no words
and finds no sixth finger.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from imagewave.errors import ImagewaveError
from imagewave.pictures.view import view
from imagewave.storage.facts import facts
from imagewave.storage.images import read_image
from imagewave.storage.requests import digest
from imagewave.storage.rounds.rounds import Answer, Ask, Round
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.judging.judge import ALL_SCORES, Judgement, verdict_on

# Pictures and briefs embedded together: bounded memory, and enough for a GPU.
_AT_ONCE = 16
# What LAION's head (1 to 10) gives to pictures that few like, and to those that nearly all like.
_PLAIN, _PLEASING = 3.5, 6.5


class NoLocalJudge(ImagewaveError):
    """Judging on this machine was asked for, and it lacks the libraries or the model."""


def require_libraries() -> None:
    """Makes sure, without importing them, that the libraries for judging here are installed.

    Raises:
        NoLocalJudge: one is not.
    """
    for name in ("torch", "transformers", "safetensors"):
        if importlib.util.find_spec(name) is None:
            raise _lacks(name)


def _lacks(name: str | None) -> NoLocalJudge:
    return NoLocalJudge(
        f'[judge] by = "local" needs {name}, which is not installed.',
        "Install imagewave[local].",
    )


class LocalJudge:
    """A model that embeds pictures and words alike, on the GPU if there is one."""

    def __init__(self, model: str, aesthetic: str = "") -> None:
        """`model` is a folder or a name on the Hugging Face hub; `aesthetic` a safetensors file.

        Raises:
            NoLocalJudge: a library or a file is missing.
        """
        try:
            import torch
            import transformers
            from safetensors.torch import load_file
        except ImportError as error:
            raise _lacks(error.name) from error
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._model = transformers.AutoModel.from_pretrained(model).eval().to(self._device)
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
            self._pictures = transformers.AutoImageProcessor.from_pretrained(model)
            self._head = load_file(aesthetic, device=self._device) if aesthetic else {}
        except (OSError, ValueError) as error:
            raise NoLocalJudge(
                f"The local judge {' or '.join(filter(None, (model, aesthetic)))} cannot be"
                f" loaded: {str(error).splitlines()[0]}",
                "Correct local_model and local_aesthetic under [judge].",
            ) from error

    def look(
        self, pictures: Sequence[bytes], texts: Sequence[str]
    ) -> list[tuple[float, float | None]]:
        """For each encoded picture and its text: their cosine, and the head's score, if any."""
        found: list[tuple[float, float | None]] = []
        for start in range(0, len(pictures), _AT_ONCE):
            end = start + _AT_ONCE
            found += self._look(pictures[start:end], texts[start:end])
        return found

    def _look(
        self, pictures: Sequence[bytes], texts: Sequence[str]
    ) -> list[tuple[float, float | None]]:
        images = [view(picture) for picture in pictures]
        length = self._model.config.text_config.max_position_embeddings
        words = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length,
            return_tensors="pt",
        )  # fmt: skip
        inputs = {"input_ids": words["input_ids"]}
        # SigLIP was trained to see the padding, CLIP was not.
        if not self._model.config.model_type.startswith("siglip"):
            inputs["attention_mask"] = words["attention_mask"]
        inputs["pixel_values"] = self._pictures(images=images, return_tensors="pt")["pixel_values"]
        with self._torch.inference_mode():
            out = self._model(**{name: tensor.to(self._device) for name, tensor in inputs.items()})
            seen = out.image_embeds / out.image_embeds.norm(dim=-1, keepdim=True)
            read = out.text_embeds / out.text_embeds.norm(dim=-1, keepdim=True)
            cosines = (seen * read).sum(dim=-1).tolist()
            pleasing = self._aesthetic(seen) if self._head else [None] * len(images)
        return list(zip(cosines, pleasing, strict=True))

    def _aesthetic(self, embedded: Any) -> list[float]:
        """The head is layers with nothing between them: `layers.<n>.weight` and `.bias`."""
        numbers = sorted({int(name.split(".")[1]) for name in self._head})
        for number in numbers:
            weight, bias = (self._head[f"layers.{number}.{part}"] for part in ("weight", "bias"))
            embedded = embedded @ weight.T + bias
        scores: list[float] = embedded.squeeze(-1).tolist()
        return scores


def judge_locally(
    store: Store,
    wave: Wave,
    round: Round,
    asks: Sequence[Ask],
    answers: Mapping[str, Answer],
    passed: set[tuple[str, str]],
) -> dict[tuple[str, str], Judgement]:
    """Judges what passed the screens, once: who comes later reads what the first one found.

    Raises:
        NoLocalJudge: a library or the model is missing.
    """
    standing = facts.read(store, "judgements", round.part)
    if standing is None:
        due = [ask for ask in asks if (ask.brief, ask.request.id) in passed]
        facts.append(store, "judgements", round.part, _rows(store, wave, round, due, answers))
        standing = facts.read(store, "judgements", round.part)
        assert standing is not None
    return {
        (row["brief"], row["request_id"]): Judgement(
            scores={name: row[name] for name in ALL_SCORES if row[name] is not None},
            score=row["score"],
            verdict=row["verdict"],
            reason=row["reason"],
        )
        for row in standing
    }


def _rows(
    store: Store,
    wave: Wave,
    round: Round,
    asks: Sequence[Ask],
    answers: Mapping[str, Answer],
) -> list[dict[str, object]]:
    judge = wave.judge
    rubric = digest([judge.local_model, Path(judge.local_aesthetic).name, list(judge.local_range)])
    rows: list[dict[str, object]] = []
    for start in range(0, len(asks), _AT_ONCE):
        some = asks[start : start + _AT_ONCE]
        found = [answers[ask.request.id] for ask in some]
        looks = _loaded(judge.local_model, judge.local_aesthetic).look(
            [read_image(store, answer.image, answer.format) for answer in found],
            [wave.brief(ask.brief).text for ask in some],
        )
        for ask, answer, (cosine, pleasing) in zip(some, found, looks, strict=True):
            scores = {"brief_fit": _ramp(cosine, *judge.local_range)}
            said = f"similarity {cosine:.3f}"
            if pleasing is not None:
                scores["composition"] = _ramp(pleasing, _PLAIN, _PLEASING)
                said += f", aesthetic {pleasing:.2f}"
            judgement = verdict_on(wave, wave.brief(ask.brief), scores, said)
            rows.append(
                {
                    "wave": round.wave,
                    "revision": round.revision,
                    "brief": ask.brief,
                    "request_id": ask.request.id,
                    "image": answer.image,
                    "judge_request_id": digest([rubric, answer.image, ask.brief]),
                    "model": judge.local_model,
                    "rubric": rubric[:8],
                    **{name: scores.get(name) for name in ALL_SCORES},
                    "score": judgement.score,
                    "verdict": judgement.verdict,
                    "reason": judgement.reason,
                    "cost_usd": Decimal(0),
                }
            )
    return rows


@lru_cache(maxsize=1)
def _loaded(model: str, aesthetic: str) -> LocalJudge:
    return LocalJudge(model, aesthetic)


def _ramp(value: float, low: float, high: float) -> float:
    """0 at or below `low`, 1 at or above `high`, straight in between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
