"""The sandbox's OpenAI API, with the official client, unmodified, pointed at it by base_url."""

import base64
import io
import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import openai
import pytest
from openai import OpenAI
from openai.types import Batch
from PIL import Image

from imagewave.sandbox.embedded import EmbeddedSandbox

pytestmark = pytest.mark.heavy

FAST: dict[str, Any] = {"defects": "none", "pending_s": 0.02, "running_s": 0.02, "tiny": 8}
IMAGE, CHAT = "gpt-image-2", "gpt-5.6-luna"
GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
COMPLETIONS: Final = "/v1/chat/completions"
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "number"}},
    "required": ["score"],
    "additionalProperties": False,
}


class Bench:
    """A running sandbox and the official client."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = OpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0)

    def control(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/{path}", data, method=method)
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        if path == "ledger":
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text)

    def arm(self, **faults: Any) -> None:
        self.control("PUT", "faults", faults)

    def upload(self, rows: list[dict[str, Any]]) -> str:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return self.client.files.create(file=("in.jsonl", content), purpose="batch").id

    def create(
        self, rows: list[dict[str, Any]], endpoint: Any = GENERATIONS, **metadata: str
    ) -> Batch:
        return self.client.batches.create(
            input_file_id=self.upload(rows),
            endpoint=endpoint,
            completion_window="24h",
            metadata=metadata,
        )

    def wait(self, name: str) -> Batch:
        while True:
            batch = self.client.batches.retrieve(name)
            if batch.status in ("completed", "failed", "expired", "cancelled"):
                return batch
            time.sleep(0.02)

    def lines(self, file_id: str | None) -> dict[str, Any]:
        if file_id is None:
            return {}
        text = self.client.files.content(file_id).text
        return {row["custom_id"]: row for row in map(json.loads, text.splitlines())}


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=FAST) as sandbox:
        yield Bench(sandbox.url)


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    yield shared_bench
    shared_bench.control("DELETE", "faults")
    shared_bench.control("PUT", "config", {**FAST, "max_jobs": 100})


def row(key: str, prompt: str = "tulips", url: str = GENERATIONS, **body: Any) -> dict[str, Any]:
    defaults = {"model": IMAGE, "prompt": prompt, "size": "1024x1024", "quality": "low"}
    return {"custom_id": key, "method": "POST", "url": url, "body": {**defaults, **body}}


def rows(count: int) -> list[dict[str, Any]]:
    return [row(f"r{number}", f"tulips {number}") for number in range(count)]


def picture(encoded: str | None) -> Image.Image:
    assert encoded is not None
    found = Image.open(io.BytesIO(base64.b64decode(encoded)))
    found.load()
    return found


@pytest.mark.parametrize(
    ("format", "decoded"), [("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), (None, "PNG")]
)
def test_a_picture_has_the_size_and_format_asked_for(
    bench: Bench, format: Any, decoded: str
) -> None:
    wanted = {"output_format": format} if format else {}
    answer = bench.client.images.generate(
        model=IMAGE, prompt="tulips", size="1536x864", quality="low", **wanted
    )
    assert answer.data is not None
    drawn = picture(answer.data[0].b64_json)
    assert (drawn.format, drawn.size) == (decoded, (1536 // 8, 864 // 8))


def test_an_edit_carries_its_picture_and_pays_for_it(bench: Bench) -> None:
    out = io.BytesIO()
    Image.effect_noise((300, 300), 60).convert("RGB").save(out, "PNG")
    answer = bench.client.images.edit(
        model=IMAGE,
        prompt="the same, at night",
        image=[("a.png", out.getvalue()), ("b.png", out.getvalue())],
        size="1024x1024",
        quality="low",
    )
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.image_tokens == 2 * 560
    entry = bench.control("GET", "ledger")[-1]
    words = answer.usage.input_tokens_details.text_tokens
    assert float(entry["usd"]) == pytest.approx((words * 5 + 1120 * 8 + 196 * 30) / 1e6)


def test_quality_auto_costs_as_much_as_high(bench: Bench) -> None:
    tokens = {}
    for quality in ("low", "medium", "high", "auto"):
        answer = bench.client.images.generate(
            model=IMAGE,
            prompt="tulips",
            size="1024x1024",
            quality=quality,
        )
        assert answer.usage is not None
        tokens[quality] = answer.usage.output_tokens
    assert tokens == {"low": 196, "medium": 1756, "high": 7024, "auto": 7024}


def test_a_judge_sees_and_answers_in_its_schema(bench: Bench) -> None:
    drawn = bench.client.images.generate(model=IMAGE, prompt="tulips", output_format="jpeg")
    assert drawn.data is not None
    url = f"data:image/jpeg;base64,{drawn.data[0].b64_json}"
    answer = bench.client.chat.completions.create(
        model=CHAT,
        messages=[
            {"role": "system", "content": "be strict"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "judge it"},
                    {"type": "image_url", "image_url": {"url": url}},
                ],
            },
        ],
        reasoning_effort="none",
        temperature=0,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "judgement", "strict": True, "schema": SCHEMA},
        },
    )
    assert 0 <= json.loads(answer.choices[0].message.content or "")["score"] <= 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"size": "1000x1000"}, "multiples of 16"),
            ({"size": "3840x1024"}, "3:1"),
            ({"extra_body": {"seed": 3}}, "Unknown parameter: 'seed'"),
            ({"extra_body": {"quality": "ultra"}}, "quality"),
        ],
    )
    def test_what_the_model_refuses_is_a_400(
        self, bench: Bench, changes: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(openai.BadRequestError, match=words):
            bench.client.images.generate(model=IMAGE, prompt="tulips", **changes)

    def test_a_retired_model_is_not_found(self, bench: Bench) -> None:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            bench.client.images.generate(model="gpt-image-1", prompt="tulips")

    def test_a_bad_key_is_401(self, bench: Bench) -> None:
        client = OpenAI(api_key="bad", base_url=f"{bench.url}/v1", max_retries=0)
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key"

    def test_moderation_has_its_code_and_costs_nothing(self, bench: Bench) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            bench.client.images.generate(model=IMAGE, prompt="x [[sandbox:block_safety]]")
        assert caught.value.code == "moderation_blocked"
        entry = bench.control("GET", "ledger")[-1]
        assert (entry["outcome"], entry["usd"]) == ("refused", "0")

    def test_strict_schemas_leave_nothing_open(self, bench: Bench) -> None:
        loose: dict[str, object] = {"type": "object", "properties": {"score": {"type": "number"}}}
        with pytest.raises(openai.BadRequestError, match="additionalProperties"):
            bench.client.chat.completions.create(
                model=CHAT,
                messages=[{"role": "user", "content": "hi"}],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "a", "strict": True, "schema": dict(loose)},
                },
            )

    def test_a_quota_names_its_wait(self, bench: Bench) -> None:
        bench.arm(call_429={"retry_after": 3})
        with pytest.raises(openai.RateLimitError) as caught:
            bench.client.images.generate(model=IMAGE, prompt="tulips")
        assert caught.value.response.headers["retry-after"] == "3"


class TestBatches:
    def test_successes_and_failures_come_in_two_files(self, bench: Bench) -> None:
        asked = [*rows(3), row("refused", "x [[sandbox:finish_image_safety]]")]
        asked.append(row("broken", "x [[sandbox:error_13]]"))
        batch = bench.wait(bench.create(asked, token="t-1").id)
        assert (batch.status, batch.metadata) == ("completed", {"token": "t-1"})
        good, bad = bench.lines(batch.output_file_id), bench.lines(batch.error_file_id)
        assert (set(good), set(bad)) == ({"r0", "r1", "r2"}, {"refused", "broken"})
        assert bad["refused"]["response"]["body"]["error"]["code"] == "moderation_blocked"
        assert bad["broken"]["response"]["status_code"] == 500
        counts = batch.request_counts
        assert counts is not None
        assert (counts.total, counts.completed, counts.failed) == (5, 3, 2)

    def test_the_ledger_bills_half_and_only_what_succeeded(self, bench: Bench) -> None:
        batch = bench.wait(bench.create([*rows(2), row("no", "x [[sandbox:block_other]]")]).id)
        usage = [
            line["response"]["body"]["usage"] for line in bench.lines(batch.output_file_id).values()
        ]
        due = sum(u["input_tokens"] * 5 + u["output_tokens"] * 30 for u in usage) / 1e6 / 2
        job = batch.id.removeprefix("batch_")
        billed = [e for e in bench.control("GET", "ledger") if e["job"] == job]
        assert len(billed) == 3
        assert sum(float(entry["usd"]) for entry in billed) == pytest.approx(due)

    def test_a_file_without_lines_is_not_there(self, bench: Bench) -> None:
        batch = bench.wait(bench.create(rows(1)).id)
        assert batch.error_file_id is None
        batch = bench.wait(bench.create([row("a", "x [[sandbox:block_other]]")]).id)
        assert batch.output_file_id is None

    def test_edits_and_judgements_are_lines_too(self, bench: Bench) -> None:
        drawn = bench.client.images.generate(model=IMAGE, prompt="tulips", output_format="jpeg")
        assert drawn.data is not None
        url = f"data:image/jpeg;base64,{drawn.data[0].b64_json}"
        edit = row("edit", url=EDITS, images=[{"image_url": url}])
        batch = bench.wait(bench.create([edit], EDITS).id)
        body = bench.lines(batch.output_file_id)["edit"]["response"]["body"]
        assert picture(body["data"][0]["b64_json"]).size == (128, 128)
        ask = {"model": CHAT, "messages": [{"role": "user", "content": "three words"}]}
        line = {"custom_id": "c", "method": "POST", "url": COMPLETIONS, "body": ask}
        batch = bench.wait(bench.create([line], COMPLETIONS).id)
        body = bench.lines(batch.output_file_id)["c"]["response"]["body"]
        assert body["choices"][0]["message"]["content"]

    def test_states_follow_each_other(self, bench: Bench) -> None:
        bench.control("PUT", "config", {"pending_s": 0.2, "running_s": 0.6})
        name = bench.create(rows(1)).id
        seen: dict[str, None] = {}
        while "completed" not in seen:
            seen[bench.client.batches.retrieve(name).status] = None
            time.sleep(0.02)
        assert list(seen) == ["validating", "in_progress", "finalizing", "completed"]

    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [
            ("job_expired", "expired", "batch_expired"),
            ("job_cancelled", "cancelled", "batch_cancelled"),
        ],
    )
    def test_a_batch_that_ends_early_keeps_what_it_has(
        self, bench: Bench, fault: str, status: str, code: str
    ) -> None:
        bench.arm(**{fault: 1})
        batch = bench.wait(bench.create(rows(5)).id)
        assert batch.status == status
        assert len(bench.lines(batch.output_file_id)) == 3
        left = bench.lines(batch.error_file_id).values()
        assert [line["error"]["code"] for line in left] == [code, code]
        job = batch.id.removeprefix("batch_")
        assert sum(entry["job"] == job for entry in bench.control("GET", "ledger")) == 3

    def test_cancelling_ends_it(self, bench: Bench) -> None:
        bench.arm(job_stuck=1)
        name = bench.create(rows(1)).id
        assert bench.client.batches.cancel(name).status == "cancelled"

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            ([row("a"), row("a")], "duplicate"),
            ([row("")], "custom_id"),
            ([row("a", url=EDITS)], "endpoint"),
            ([row("a"), row("b", model="gpt-image-2.5-flare")], "does not match"),
            ([row("a", model="gpt-image-1")], "not supported"),
        ],
    )
    def test_validation_fails_the_whole_batch(
        self, bench: Bench, lines: list[dict[str, Any]], words: str
    ) -> None:
        batch = bench.wait(bench.create(lines).id)
        assert batch.status == "failed"
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert words in (batch.errors.data[0].message or "")

    def test_the_list_has_pages_and_metadata(self, bench: Bench) -> None:
        names = [bench.create(rows(1), token=f"page-{n}").id for n in range(3)]
        listed = list(bench.client.batches.list(limit=1))
        assert [batch.id for batch in listed][:3] == names[::-1]
        assert listed[0].metadata == {"token": "page-2"}

    def test_the_two_apis_do_not_see_each_other_s_batches(self, bench: Bench) -> None:
        name = bench.create(rows(1)).id
        url = f"{bench.url}/v1beta/batches/{name.removeprefix('batch_')}"
        request = urllib.request.Request(url, headers={"x-goog-api-key": "k"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        assert caught.value.code == 404

    @pytest.mark.parametrize(
        ("fault", "accepted"),
        [
            ({"create_dropped": 1}, 1),
            ({"create_unheard": 1}, 0),
            ({"create_500": {"accepted": True}}, 1),
            ({"create_503": 1}, 0),
            ({"create_429": 1}, 0),
        ],
    )
    def test_faults_of_create_accept_or_do_not(
        self, bench: Bench, fault: dict[str, Any], accepted: int
    ) -> None:
        source = bench.upload(rows(1))
        before = len(bench.control("GET", "jobs"))
        bench.arm(**fault)
        with pytest.raises(openai.APIError):
            bench.client.batches.create(
                input_file_id=source, endpoint=GENERATIONS, completion_window="24h"
            )
        assert len(bench.control("GET", "jobs")) == before + accepted

    def test_a_list_that_lags_shows_the_batch_later(self, bench: Bench) -> None:
        bench.arm(list_lag={"seconds": 0.3})
        name = bench.create(rows(1)).id
        assert name not in [batch.id for batch in bench.client.batches.list()]
        deadline = time.monotonic() + 20
        while name not in [batch.id for batch in bench.client.batches.list()]:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def test_a_download_can_drop(self, bench: Bench) -> None:
        batch = bench.wait(bench.create(rows(3)).id)
        bench.arm(download_dropped=1)
        with pytest.raises(openai.APIConnectionError):
            bench.client.files.content(str(batch.output_file_id))

    def test_results_can_be_gone(self, bench: Bench) -> None:
        bench.arm(result_gone=1)
        batch = bench.wait(bench.create(rows(1)).id)
        with pytest.raises(openai.NotFoundError):
            bench.client.files.content(str(batch.output_file_id))


def test_files_come_back_as_they_were_sent_and_can_be_deleted(bench: Bench) -> None:
    stored = bench.client.files.create(file=("in.jsonl", b'{"a": 1}\n'), purpose="batch")
    assert (stored.filename, stored.bytes, stored.purpose) == ("in.jsonl", 9, "batch")
    assert bench.client.files.content(stored.id).content == b'{"a": 1}\n'
    assert bench.client.files.delete(stored.id).deleted
    with pytest.raises(openai.NotFoundError):
        bench.client.files.retrieve(stored.id)
