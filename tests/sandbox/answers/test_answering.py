"""Direct calls: pictures, expansions and judgements."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from google.genai import errors, types
from PIL import Image
from tests.sandbox.conftest import LITE, Bench

from imagewave.sandbox.answers.damage import spoil_picture
from imagewave.sandbox.answers.pictures import Recipe, draw, encode
from imagewave.sandbox.core.defects import Defect

pytestmark = pytest.mark.heavy

_TEXT_MODEL = "gemini-3.5-flash-lite"
_RUBRIC = {
    "type": "object",
    "properties": {
        "brief_fit": {"type": "number", "minimum": 0, "maximum": 1},
        "composition": {"type": "integer", "minimum": 1, "maximum": 5},
        "verdict": {"type": "string", "enum": ["pass", "fail"]},
        "problems": {"type": "array", "items": {"type": "string"}},
        "reason": {"type": "string"},
        "usable": {"type": "boolean"},
    },
    "required": ["brief_fit", "composition", "verdict", "problems", "reason", "usable"],
}


def _image_of(response: types.GenerateContentResponse) -> Image.Image:
    assert response.parts is not None
    blob = response.parts[-1].inline_data
    assert blob is not None
    assert blob.data is not None
    return Image.open(io.BytesIO(blob.data))


def _image_config(model: str, ratio: str, size: str | None) -> types.GenerateContentConfig:
    image = types.ImageConfig(aspect_ratio=ratio, image_size=size)
    return types.GenerateContentConfig(response_modalities=["IMAGE"], image_config=image)


@pytest.mark.parametrize(
    ("model", "ratio", "size", "pixels"),
    [
        (LITE, "1:1", None, (1024, 1024)),
        (LITE, "21:9", None, (1584, 672)),
        ("gemini-nano-banana-2.1", "16:9", "2K", (2752, 1536)),
        ("gemini-3-pro-image", "4:5", "4K", (3712, 4608)),
    ],
)
def test_pictures_have_the_documented_pixels(
    bench: Bench, model: str, ratio: str, size: str | None, pixels: tuple[int, int]
) -> None:
    bench.control("PUT", "config", {"tiny": 1})
    config = _image_config(model, ratio, size)
    response = bench.client.models.generate_content(
        model=model, contents="a lighthouse", config=config
    )
    image = _image_of(response)
    assert (image.size, image.format) == (pixels, "JPEG")


def test_a_direct_call_costs_the_full_price_and_thinking_costs_extra(bench: Bench) -> None:
    def cost(level: types.ThinkingLevel | None) -> tuple[int | None, str]:
        thinking = types.ThinkingConfig(thinking_level=level) if level else None
        response = bench.client.models.generate_content(
            model="gemini-nano-banana-2.1",
            contents="four",
            config=types.GenerateContentConfig(thinking_config=thinking),
        )
        assert response.usage_metadata is not None
        entry = bench.control("GET", "ledger")[-1]
        return response.usage_metadata.thoughts_token_count, entry["usd"]

    # 1 prompt token at $1.5, 1120 image tokens at $30 and 850 thoughts at $7.5 per million.
    assert cost(types.ThinkingLevel.MINIMAL) == (None, "0.0336015")
    assert cost(None) == (850, "0.0399765")


@pytest.mark.parametrize(
    ("model", "code"), [("gemini-2.5-flash-image", 404), ("gemini-unheard-of", 404)]
)
def test_models_that_do_not_serve_are_not_found(bench: Bench, model: str, code: int) -> None:
    with pytest.raises(errors.ClientError) as error:
        bench.client.models.generate_content(model=model, contents="x")
    assert error.value.code == code


def test_a_size_that_the_model_lacks_is_an_invalid_argument(bench: Bench) -> None:
    with pytest.raises(errors.ClientError, match="512 is not supported") as error:
        bench.client.models.generate_content(
            model="gemini-nano-banana-2.1",
            contents="x",
            config=_image_config("gemini-nano-banana-2.1", "1:1", "512"),
        )
    assert (error.value.code, error.value.status) == (400, "INVALID_ARGUMENT")


def _expand(bench: Bench, prompt: str, schema: dict[str, Any] | None = None) -> str:
    config: dict[str, Any] = {}
    if schema is not None:
        config = {"response_mime_type": "application/json", "response_json_schema": schema}
    response = bench.client.models.generate_content(
        model=_TEXT_MODEL, contents=prompt, config=types.GenerateContentConfig(**config)
    )
    assert response.text is not None
    return response.text


def test_expansions_keep_the_subject_differ_and_repeat(bench: Bench) -> None:
    schema = {
        "type": "object",
        "properties": {"prompts": {"type": "array", "items": {"type": "string"}, "minItems": 4}},
    }
    prompt = "Brief: A terracotta pot of tulips.\nWrite 4 different prompts."
    prompts = json.loads(_expand(bench, prompt, schema))["prompts"]
    assert len(set(prompts)) == 4
    assert all("terracotta pot of tulips" in text for text in prompts)
    assert json.loads(_expand(bench, prompt, schema))["prompts"] == prompts
    assert len(_expand(bench, prompt).splitlines()) == 4


def test_expansions_carry_a_sandbox_marker_on(bench: Bench) -> None:
    assert "[[sandbox:blank]]" in _expand(bench, "Brief: a jar of honey [[sandbox:blank]]")


def test_gemini_s_own_schema_dialect_is_filled_too(bench: Bench) -> None:
    response = bench.client.models.generate_content(
        model=_TEXT_MODEL,
        contents="Brief: a bicycle",
        config=types.GenerateContentConfig(
            response_mime_type="application/json",
            response_schema=types.Schema(
                type=types.Type.OBJECT,
                properties={"prompt": types.Schema(type=types.Type.STRING)},
            ),
        ),
    )
    assert "bicycle" in json.loads(str(response.text))["prompt"]


def _judge(bench: Bench, image: bytes, by_file: Path | None = None) -> dict[str, Any]:
    part = types.Part.from_bytes(data=image, mime_type="image/jpeg")
    if by_file is not None:
        by_file.write_bytes(image)
        uploaded = bench.client.files.upload(file=by_file)
        part = types.Part.from_uri(file_uri=str(uploaded.uri), mime_type="image/jpeg")
    contents: list[Any] = [part, "Judge this image."]
    response = bench.client.models.generate_content(
        model=_TEXT_MODEL,
        contents=contents,
        config=types.GenerateContentConfig(
            response_mime_type="application/json", response_json_schema=_RUBRIC
        ),
    )
    verdict: dict[str, Any] = json.loads(str(response.text))
    return verdict


def _pictures(count: int) -> list[Any]:
    return [
        draw(Recipe(model="m", prompt=f"scene {i}", nonce="", width=688, height=384))
        for i in range(count)
    ]


def test_good_pictures_are_judged_well(bench: Bench, tmp_path: Path) -> None:
    for picture in _pictures(4):
        verdict = _judge(bench, encode(picture), tmp_path / "candidate.jpg")
        assert verdict["brief_fit"] > 0.6
        assert verdict["composition"] >= 3
        assert verdict["verdict"] == "pass"
        assert verdict["problems"] == []
        assert verdict["usable"] is True


@pytest.mark.parametrize(
    ("defect", "word"),
    [
        (Defect.BLANK, "flat"),
        (Defect.DARK, "dark"),
        (Defect.WASHED_OUT, "white"),
        (Defect.BLURRED, "blurred"),
        (Defect.BORDERED, "border"),
    ],
)
def test_planted_defects_are_seen_in_the_pixels(bench: Bench, defect: Defect, word: str) -> None:
    for picture in _pictures(3):
        verdict = _judge(bench, encode(spoil_picture(picture, defect)))
        assert verdict["brief_fit"] < 0.3
        assert verdict["composition"] <= 2
        assert (verdict["verdict"], verdict["usable"]) == ("fail", False)
        assert len(verdict["problems"]) == 1
    assert word in verdict["reason"]


def test_an_answer_stops_at_its_token_limit(bench: Bench) -> None:
    response = bench.client.models.generate_content(
        model=_TEXT_MODEL,
        contents="Brief: a very long story",
        config=types.GenerateContentConfig(max_output_tokens=5),
    )
    assert response.candidates is not None
    assert response.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert len(str(response.text)) == 20


def test_a_failed_call_is_an_error_of_its_class_and_passes(bench: Bench) -> None:
    bench.control("PUT", "config", {"defects": {"error_8": 1.0}})
    with pytest.raises(errors.ClientError) as error:
        _expand(bench, "Brief: a kettle")
    assert (error.value.code, error.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert "kettle" in _expand(bench, "Brief: a kettle")


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
def test_async_clients_are_served_too(bench: Bench) -> None:
    import asyncio

    async def ask() -> str:
        response = await bench.client.aio.models.generate_content(
            model=_TEXT_MODEL, contents="Brief: a kite"
        )
        return str(response.text)

    assert "kite" in asyncio.run(ask())
