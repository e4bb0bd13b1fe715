"""What the providers refuse, the sandbox refuses: one case for each rule, and one that passes.

The rules are those of the providers' documentation and of their SDKs' types, as of November 2026.
"""

import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from imagewave.sandbox.embedded import EmbeddedSandbox

pytestmark = pytest.mark.heavy

FAST: dict[str, Any] = {"defects": "none", "pending_s": 0.02, "running_s": 0.02, "tiny": 8}
LITE, BANANA, PRO = "gemini-3.1-flash-lite-image", "gemini-nano-banana-2.1", "gemini-3-pro-image"
READER, GPT, CHAT, CLAUDE = (
    "gemini-3.5-flash-lite",
    "gpt-image-2",
    "gpt-5.6-luna",
    "claude-haiku-5-5",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=FAST) as sandbox:
        yield sandbox.url


def post(address: str, body: object, headers: dict[str, str]) -> tuple[int, str]:
    """The status of an answer, and its text."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        address, data, {"Content-Type": "application/json", **headers}, method="POST"
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def encoded(form: str, size: tuple[int, int] = (32, 32)) -> str:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, form)
    return base64.b64encode(out.getvalue()).decode()


def assert_refused(answer: tuple[int, str], said: str, status: int = 400) -> None:
    assert answer[0] == status, answer
    assert said.lower() in answer[1].lower()


class TestGemini:
    def ask(self, url: str, body: object, model: str = BANANA) -> tuple[int, str]:
        address = f"{url}/v1beta/models/{model}:generateContent"
        return post(address, body, {"x-goog-api-key": "k"})

    def draw(self, url: str, model: str = BANANA, *parts: object, **config: Any) -> tuple[int, str]:
        contents = [{"role": "user", "parts": [{"text": "tulips"}, *parts]}]
        return self.ask(url, {"contents": contents, "generationConfig": config}, model)

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
    def test_an_allowed_request_passes(self, url: str, form: str) -> None:
        part = {"inlineData": {"mimeType": f"image/{form.lower()}", "data": encoded(form)}}
        config = {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "8:1", "imageSize": "4K"},
            "thinkingConfig": {"thinkingLevel": "minimal"},
            "seed": 2**31 - 1,
            "temperature": 2,
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
        }
        assert self.draw(url, BANANA, *[part] * 14, **config)[0] == 200

    @pytest.mark.parametrize(
        ("model", "config", "said"),
        [
            (LITE, {"imageConfig": {"imageSize": "2K"}}, "imageSize"),
            (LITE, {"imageConfig": {"imageSize": "1K"}}, "imageSize"),
            (BANANA, {"imageConfig": {"imageSize": "512"}}, "512"),
            (BANANA, {"imageConfig": {"imageSize": "2k"}}, "2k"),
            (LITE, {"imageConfig": {"aspectRatio": "8:1"}}, "8:1"),
            (PRO, {"imageConfig": {"aspectRatio": "1:8"}}, "1:8"),
            (BANANA, {"imageConfig": {"aspectRatio": "5:3"}}, "5:3"),
            (LITE, {"thinkingConfig": {"thinkingLevel": "medium"}}, "medium"),
            (BANANA, {"thinkingConfig": {"thinkingLevel": "low"}}, "low"),
            (BANANA, {"thinkingConfig": {"thinkingLevel": "high", "thinkingBudget": 9}}, "budget"),
            (BANANA, {"seed": 2**31}, "seed"),
            (BANANA, {"temperature": 2.1}, "temperature"),
            (BANANA, {"topP": 1.1}, "top_p"),
            (BANANA, {"candidateCount": 4}, "candidates"),
            (BANANA, {"maxOutputTokens": 0}, "max_output_tokens"),
            (BANANA, {"stopSequences": list("abcdef")}, "stop_sequences"),
            (BANANA, {"mediaResolution": "HIGH"}, "media_resolution"),
            (BANANA, {"responseModalities": ["IMAGE", "AUDIO"]}, "audio"),
            (READER, {"responseModalities": ["IMAGE"]}, "image"),
            (BANANA, {"responseMimeType": "application/json"}, "json mode"),
            (READER, {"responseJsonSchema": {"type": "object"}}, "mime type"),
            (BANANA, {"quality": "high"}, "quality"),
            (BANANA, {"imageConfig": {"numberOfImages": 2}}, "numberOfImages"),
        ],
    )
    def test_a_setting_that_the_model_lacks(
        self, url: str, model: str, config: dict[str, Any], said: str
    ) -> None:
        assert_refused(self.draw(url, model, **config), said)

    @pytest.mark.parametrize(
        ("mime", "form", "said"),
        [
            ("image/gif", "GIF", "image/gif"),
            ("image/avif", "AVIF", "image/avif"),
            ("image/tiff", "TIFF", "image/tiff"),
            ("image/bmp", "BMP", "image/bmp"),
            ("image/jpg", "JPEG", "image/jpg"),
            ("image/png", "GIF", "process input image"),
            ("", "GIF", "image/gif"),
        ],
    )
    def test_a_picture_in_a_format_that_it_does_not_read(
        self, url: str, mime: str, form: str, said: str
    ) -> None:
        part = {"inlineData": {"mimeType": mime, "data": encoded(form)}}
        assert_refused(self.draw(url, BANANA, part), said)

    def test_more_references_than_it_takes(self, url: str) -> None:
        part = {"inlineData": {"mimeType": "image/png", "data": encoded("PNG")}}
        assert_refused(self.draw(url, BANANA, *[part] * 15), "takes 14")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({}, "contents"),
            ({"contents": [{"parts": [{}]}]}, "oneof"),
            (
                {"contents": [{"parts": [{"text": "x", "fileData": {"fileUri": "files/a"}}]}]},
                "oneof",
            ),
            ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "role"),
            ({"contents": [{"parts": [{"text": "x"}]}], "labels": {"a": "b"}}, "labels"),
            ({"contents": [{"parts": [{"text": "x"}]}], "model": f"models/{LITE}"}, LITE),
            (
                {
                    "contents": [{"parts": [{"text": "x"}]}],
                    "safetySettings": [{"category": "HARM_CATEGORY_X", "threshold": "OFF"}],
                },
                "category",
            ),
            (
                {
                    "contents": [{"parts": [{"text": "x"}]}],
                    "safetySettings": [
                        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "LOW"}
                    ],
                },
                "threshold",
            ),
        ],
    )
    def test_a_request_that_is_none(self, url: str, body: object, said: str) -> None:
        assert_refused(self.ask(url, body), said)

    def test_both_kinds_of_schema_at_once(self, url: str) -> None:
        config = {
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT"},
            "responseJsonSchema": {"type": "object"},
        }
        assert_refused(self.draw(url, READER, **config), "must not be set")

    def test_a_body_above_20_mb(self, url: str) -> None:
        data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16_000_000)).decode()
        part = {"inlineData": {"mimeType": "image/png", "data": data}}
        assert_refused(self.draw(url, BANANA, part), "exceeds the limit")

    @pytest.mark.parametrize(
        ("file", "size", "said"),
        [
            ({"displayName": "x" * 513, "mimeType": "application/jsonl"}, 1, "display_name"),
            ({"mimeType": "application/jsonl"}, 2 * 1024**3 + 1, "size exceeds"),
            ({"name": "files/No Good", "mimeType": "application/jsonl"}, 1, "name"),
        ],
    )
    def test_a_file_that_it_does_not_keep(
        self, url: str, file: dict[str, str], size: int, said: str
    ) -> None:
        headers = {
            "x-goog-api-key": "k",
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(size),
        }
        assert_refused(post(f"{url}/upload/v1beta/files", {"file": file}, headers), said)

    @pytest.mark.parametrize("mime", ["text/plain", "application/json", "application/octet-stream"])
    def test_an_input_of_another_type_than_json_lines(self, url: str, mime: str) -> None:
        name = self.uploaded(url, mime)
        body = {"batch": {"displayName": "x", "inputConfig": {"fileName": name}}}
        address = f"{url}/v1beta/models/{BANANA}:batchGenerateContent"
        assert_refused(post(address, body, {"x-goog-api-key": "k"}), mime)

    def uploaded(self, url: str, mime: str) -> str:
        headers = {
            "x-goog-api-key": "k",
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
        }
        request = urllib.request.Request(
            f"{url}/upload/v1beta/files",
            json.dumps({"file": {"mimeType": mime}}).encode(),
            {"Content-Type": "application/json", **headers},
        )
        with urllib.request.urlopen(request) as answer:
            session = answer.headers["x-goog-upload-url"]
        headers = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
        _, text = post(session, b"{}\n", headers)
        name: str = json.loads(text)["file"]["name"]
        return name

    @pytest.mark.parametrize(
        "model", ["gemini-3.1-flash-image", "gemini-2.5-flash-image", "imagen-4.0-generate-001"]
    )
    def test_a_retired_model(self, url: str, model: str) -> None:
        assert_refused(self.draw(url, model), "no longer available", 404)


class TestOpenAI:
    def draw(self, url: str, endpoint: str = "generations", **body: Any) -> tuple[int, str]:
        asked = {"model": GPT, "prompt": "tulips", "quality": "low", "size": "1024x1024", **body}
        return post(f"{url}/v1/images/{endpoint}", asked, {"Authorization": "Bearer k"})

    def say(self, url: str, **body: Any) -> tuple[int, str]:
        asked = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}], **body}
        return post(f"{url}/v1/chat/completions", asked, {"Authorization": "Bearer k"})

    @pytest.mark.parametrize(
        "body",
        [
            {"size": "3840x2160"},
            {"size": "640x1024"},
            {"size": "auto", "quality": "auto"},
            {"output_format": "webp", "output_compression": 50, "background": "transparent"},
            {"prompt": "x" * 32_000},
            {"model": "gpt-image-2.5-flare", "quality": "xhigh"},
        ],
    )
    def test_an_allowed_request_passes(self, url: str, body: dict[str, Any]) -> None:
        assert self.draw(url, **body)[0] == 200

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"size": "1000x1000"}, "multiples of 16"),
            ({"size": "3856x2000"}, "3840"),
            ({"size": "3840x1024"}, "3:1"),
            ({"size": "3840x3840"}, "pixels together"),
            ({"size": "512x512"}, "pixels together"),
            ({"size": "1K"}, "size"),
            ({"quality": "xhigh"}, "quality"),
            ({"quality": "hd"}, "quality"),
            ({"output_format": "gif"}, "output_format"),
            ({"output_format": "png", "output_compression": 50}, "output_compression"),
            ({"output_format": "jpeg", "output_compression": 101}, "output_compression"),
            ({"output_format": "jpeg", "background": "transparent"}, "transparent"),
            ({"prompt": "x" * 32_001}, "prompt"),
            ({"prompt": ""}, "prompt"),
            ({"n": 11}, "'n'"),
            ({"seed": 7}, "seed"),
            ({"response_format": "b64_json"}, "response_format"),
            ({"input_fidelity": "high"}, "input_fidelity"),
            ({"images": [{"image_url": "data:image/png;base64,AA=="}]}, "images"),
        ],
    )
    def test_a_setting_that_the_model_lacks(
        self, url: str, body: dict[str, Any], said: str
    ) -> None:
        assert_refused(self.draw(url, **body), said)

    @pytest.mark.parametrize("form", ["GIF", "AVIF", "TIFF", "BMP"])
    def test_a_picture_in_a_format_that_it_does_not_read(self, url: str, form: str) -> None:
        data = f"data:image/png;base64,{encoded(form)}"
        answer = self.draw(url, "edits", images=[{"image_url": data}])
        assert_refused(answer, f"image/{form.lower()}")
        if form != "GIF":
            content = [{"type": "image_url", "image_url": {"url": data}}]
            answer = self.say(url, messages=[{"role": "user", "content": content}])
            assert_refused(answer, f"image/{form.lower()}")

    def test_more_references_than_it_takes_or_none(self, url: str) -> None:
        image = {"image_url": f"data:image/png;base64,{encoded('PNG')}"}
        assert self.draw(url, "edits", images=[image] * 16)[0] == 200
        assert_refused(self.draw(url, "edits", images=[image] * 17), "at most 16")
        assert_refused(self.draw(url, "edits", images=[]), "images")
        assert_refused(self.draw(url, "edits", images=[{}]), "exactly one")
        both = {**image, "file_id": "file-a"}
        assert_refused(self.draw(url, "edits", images=[both]), "exactly one")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"messages": []}, "messages"),
            ({"max_tokens": 9}, "max_completion_tokens"),
            ({"temperature": 0.2}, "temperature"),
            ({"reasoning_effort": "most"}, "reasoning_effort"),
            ({"logit_bias_": {}}, "logit_bias_"),
            (
                {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "no spaces", "schema": {"type": "object"}},
                    }
                },
                "name",
            ),
        ],
    )
    def test_a_chat_that_the_model_refuses(self, url: str, body: dict[str, Any], said: str) -> None:
        assert_refused(self.say(url, **body), said)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"metadata": {f"k{n}": "" for n in range(17)}}, "metadata"),
            ({"metadata": {"k" * 65: ""}}, "metadata"),
            ({"metadata": {"k": "v" * 513}}, "metadata"),
            ({"metadata": {"k": 1}}, "metadata"),
            ({"metadata": "k"}, "metadata"),
            ({"completion_window": "1h"}, "completion_window"),
            ({"endpoint": "/v1/pictures"}, "endpoint"),
            ({"display_name": "x"}, "display_name"),
        ],
    )
    def test_a_batch_that_is_none(self, url: str, changes: dict[str, Any], said: str) -> None:
        batch = {
            "input_file_id": self.uploaded(url, "in.jsonl", b"{}\n")[1],
            "endpoint": "/v1/images/generations",
            "completion_window": "24h",
        }
        answer = post(f"{url}/v1/batches", {**batch, **changes}, {"Authorization": "Bearer k"})
        assert_refused(answer, said)

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [("in.json", b"{}\n", "must be .jsonl"), ("in.jsonl", b"", "empty")],
    )
    def test_an_input_that_is_none(self, url: str, name: str, content: bytes, said: str) -> None:
        assert_refused(self.uploaded(url, name, content), said)

    def uploaded(self, url: str, name: str, content: bytes) -> tuple[int, str]:
        form = (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n'
            b"%s\r\n--b--\r\n"
        ) % (name.encode(), content)
        headers = {"Authorization": "Bearer k", "Content-Type": "multipart/form-data; boundary=b"}
        status, text = post(f"{url}/v1/files", form, headers)
        return status, json.loads(text)["id"] if status == 200 else text


class TestClaude:
    def say(self, url: str, *blocks: object, **body: Any) -> tuple[int, str]:
        content = [*blocks, {"type": "text", "text": "hi"}]
        asked = {
            "model": CLAUDE,
            "max_tokens": 99,
            "messages": [{"role": "user", "content": content}],
            **body,
        }
        headers = {"Authorization": "Bearer k", "anthropic-version": "2026-10-21"}
        return post(f"{url}/v1/messages", asked, headers)

    def image(self, form: str, mime: str = "", **options: Any) -> dict[str, Any]:
        source = {
            "type": "base64",
            "media_type": mime or f"image/{form.lower()}",
            "data": encoded(form, **options),
        }
        return {"type": "image", "source": source}

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
    def test_an_allowed_request_passes(self, url: str, form: str) -> None:
        assert self.say(url, self.image(form), metadata={"user_id": "u"})[0] == 200

    @pytest.mark.parametrize(
        ("form", "mime", "said"),
        [
            ("AVIF", "image/avif", "media_type"),
            ("TIFF", "image/tiff", "media_type"),
            ("AVIF", "image/png", "appears to be"),
            ("PNG", "image/jpeg", "appears to be"),
        ],
    )
    def test_a_picture_in_a_format_that_it_does_not_read(
        self, url: str, form: str, mime: str, said: str
    ) -> None:
        assert_refused(self.say(url, self.image(form, mime)), said)

    def test_a_picture_that_is_too_large_and_pictures_that_are_too_many(self, url: str) -> None:
        assert_refused(self.say(url, self.image("PNG", size=(8001, 4))), "8000")
        many = [self.image("PNG")] * 20
        assert self.say(url, self.image("PNG", size=(2001, 4)), *many[1:])[0] == 200
        assert_refused(self.say(url, self.image("PNG", size=(2001, 4)), *many), "2000")
        assert_refused(self.say(url, *[self.image("PNG")] * 101), "too much media")

    def test_a_body_above_32_mb(self, url: str) -> None:
        assert_refused(self.say(url, system="x" * 32_000_001), "maximum size", 413)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "user", "content": ""}]}, "content"),
            ({"messages": [{"role": "user", "content": []}]}, "content"),
            ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "field required"),
            ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "field required"),
            ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "text"),
            (
                {
                    "messages": [
                        {"role": "assistant", "content": "a"},
                        {"role": "user", "content": "b"},
                    ]
                },
                "first message",
            ),
            (
                {
                    "messages": [
                        {"role": "user", "content": "a"},
                        {"role": "assistant", "content": "b"},
                    ]
                },
                "final role",
            ),
            ({"metadata": {"wave": "x"}}, "metadata"),
            ({"service_tier": "flex"}, "service_tier"),
            ({"top_k": 3}, "top_k"),
            ({"max_tokens": 0}, "max_tokens"),
        ],
    )
    def test_a_message_that_is_none(self, url: str, body: dict[str, Any], said: str) -> None:
        assert_refused(self.say(url, **body), said)
