"""Judging on this machine: the same output as the judge in the lane, at no cost."""

import io
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.tasks.waves import answer, brief, round_of, wave

from imagewave.storage.facts.analytics import query
from imagewave.storage.images import put_image
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import Answer, Ask
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Judge, Wave
from imagewave.tasks.judging import local_judge
from imagewave.tasks.judging.local_judge import LocalJudge, NoLocalJudge, judge_locally

WORDS = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "a",
    "picture",
    "of",
    "tulips",
    "harbour",
    "red",
    "green",
    "blue",
]
TEXTS = ["a picture of tulips", "red harbour", "blue"]


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed (extra: local)")


@pytest.fixture(scope="module", params=["clip", "siglip"])
def model(request: pytest.FixtureRequest, torch: Any, tmp_path_factory: Any) -> str:
    """A model with random weights, as small as they come, saved as the hub would have it."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = shape | {"intermediate_size": 48, "vocab_size": 64, "max_position_embeddings": 16}
    text |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    vision = shape | {"intermediate_size": 48, "image_size": 32, "patch_size": 8}
    if request.param == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        made: Any = transformers.CLIPModel(config)
        pictures: Any = transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        )
    else:
        text |= {"projection_size": 32}
        made = transformers.SiglipModel(
            transformers.SiglipConfig(text_config=text, vision_config=vision)
        )
        pictures = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    words = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    for part in (made, tokenizer, pictures):
        part.save_pretrained(folder)
    return str(folder)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_cosine_is_of_the_picture_and_its_own_text(model: str) -> None:
    judge = LocalJudge(model)
    pictures = [picture(n) for n in range(3)]
    together = judge.look(pictures, TEXTS)
    assert all(-1 <= cosine <= 1 and pleasing is None for cosine, pleasing in together)
    assert len({round(cosine, 6) for cosine, _ in together}) == 3
    alone = [judge.look([data], [text])[0] for data, text in zip(pictures, TEXTS, strict=True)]
    assert [c for c, _ in alone] == pytest.approx([c for c, _ in together], abs=1e-5)
    swapped = judge.look(pictures, TEXTS[::-1])
    assert swapped[0][0] != pytest.approx(together[0][0], abs=1e-5)


def test_the_cosine_is_what_the_model_makes_its_logits_of(model: str, torch: Any) -> None:
    judge = LocalJudge(model)
    inner = judge._model
    data = picture(1)
    [(cosine, _)] = judge.look([data], TEXTS[:1])
    words = judge._tokenizer(TEXTS[:1], padding="max_length", max_length=16, return_tensors="pt")
    inputs = {"input_ids": words["input_ids"]}
    if inner.config.model_type == "clip":
        inputs["attention_mask"] = words["attention_mask"]
    pixels = judge._pictures(images=[Image.open(io.BytesIO(data))], return_tensors="pt")
    with torch.inference_mode():
        logit = inner(**inputs, pixel_values=pixels["pixel_values"]).logits_per_image.item()
    bias = inner.logit_bias.item() if inner.config.model_type == "siglip" else 0.0
    assert cosine == pytest.approx((logit - bias) / inner.logit_scale.exp().item(), abs=1e-5)


def test_a_text_that_is_too_long_and_words_unknown_are_no_error(model: str) -> None:
    [(cosine, _)] = LocalJudge(model).look([picture(0)], ["a picture of zebras " * 200])
    assert -1 <= cosine <= 1


def test_a_head_scores_the_embedding_layer_by_layer(model: str, torch: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    judge = LocalJudge(model)
    width = (
        judge._model.config.projection_dim if "clip" in judge._model.config.model_type[:4] else 32
    )
    head = {
        "layers.0.weight": torch.zeros(2, width),
        "layers.0.bias": torch.tensor([1.0, 2.0]),
        "layers.10.weight": torch.tensor([[2.0, 1.5]]),
        "layers.10.bias": torch.tensor([0.5]),
    }
    save_file(head, tmp_path / "head.safetensors")
    looked = LocalJudge(model, str(tmp_path / "head.safetensors")).look([picture(0)], TEXTS[:1])
    assert looked[0][1] == pytest.approx(2 * 1 + 1.5 * 2 + 0.5)


# Judgements.


class FakeJudge:
    """Sees what it was told to, and counts how often it was asked."""

    def __init__(self, *looks: tuple[float, float | None]) -> None:
        self.looks = list(looks)
        self.asked: list[str] = []

    def look(self, pictures: list[bytes], texts: list[str]) -> list[tuple[float, float | None]]:
        self.asked += texts
        return [self.looks.pop(0) for _ in pictures]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def ready(store: Store, of: Wave, count: int) -> tuple[list[Ask], dict[str, Answer]]:
    """So many drafts of the wave's first brief, their pictures in the store."""
    asks, answers = [], {}
    for n in range(count):
        request = Request(kind=Kind.DRAFT, model="m", prompt="p", sample=n)
        ask = Ask(brief=of.briefs[0].id, prompt_id="p", request=request, estimate_usd=Decimal(0))
        stored = put_image(store, picture(n))
        asks.append(ask)
        answers[request.id] = answer(ask, status="image", image=stored.sha256, format=stored.format)
    return asks, answers


def local(**keys: Any) -> Wave:
    return wave(brief("tulips"), judge=Judge(by="local", local_range=(0.1, 0.3), **keys))


def test_similarity_and_beauty_become_scores_and_a_verdict(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeJudge((0.28, 6.5), (0.12, 6.5), (0.5, None))
    monkeypatch.setattr(local_judge, "_loaded", lambda *_: fake)
    of = local()
    asks, answers = ready(store, of, 3)
    passed = {(ask.brief, ask.request.id) for ask in asks}
    round = round_of(of, Kind.JUDGE)
    found = judge_locally(store, of, round, asks, answers, passed)
    good, poor, plain = (found["tulips", ask.request.id] for ask in asks)
    assert good.scores == pytest.approx({"brief_fit": 0.9, "composition": 1.0})
    assert (good.verdict, good.reason) == ("pass", "similarity 0.280, aesthetic 6.50")
    assert poor.verdict == "fail"
    assert poor.reason.startswith("brief_fit 0.10 < 0.50")
    assert (plain.scores, plain.verdict) == ({"brief_fit": 1.0}, "pass")
    rows = query(store, "FROM raw_judgements")
    assert {row["cost_usd"] for row in rows} == {Decimal(0)}
    assert {row["model"] for row in rows} == {Judge().local_model}


def test_what_is_judged_is_not_judged_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeJudge((0.28, None))
    monkeypatch.setattr(local_judge, "_loaded", lambda *_: fake)
    of = local()
    asks, answers = ready(store, of, 2)
    passed = {(asks[0].brief, asks[0].request.id)}  # the other fell at the screens
    round = round_of(of, Kind.JUDGE)
    first = judge_locally(store, of, round, asks, answers, passed)
    assert judge_locally(store, of, round, asks, answers, passed) == first
    assert list(first) == [("tulips", asks[0].request.id)]
    assert fake.asked == ["A picture of tulips"]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NoLocalJudge, match=r"Install imagewave\[local\]"):
        LocalJudge("anything")


def test_a_model_that_is_not_there_is_named(torch: Any, tmp_path: Path) -> None:
    with pytest.raises(NoLocalJudge, match="no-such-folder"):
        LocalJudge(str(tmp_path / "no-such-folder"))
