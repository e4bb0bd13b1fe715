"""The sandbox's Claude API, with the official client, unmodified, pointed at it by base_url."""

import base64
import io
import json
import time
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, cast

import anthropic
import pytest
from anthropic import Anthropic
from anthropic.types import Message, MessageParam, TextBlock
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import Request
from PIL import Image

from imagewave.sandbox.embedded import EmbeddedSandbox

pytestmark = pytest.mark.heavy

FAST: dict[str, Any] = {"defects": "none", "pending_s": 0.02, "running_s": 0.05, "tiny": 8}
MODEL = "claude-haiku-5-5"
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "number"}, "reason": {"type": "string"}},
    "required": ["score", "reason"],
    "additionalProperties": False,
}


class Bench:
    """A running sandbox and the official client."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = Anthropic(api_key="any", base_url=url, max_retries=0)

    def control(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/{path}", data, method=method)
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return [json.loads(line) for line in text.splitlines()] if path == "ledger" else None

    def arm(self, **faults: Any) -> None:
        self.control("PUT", "faults", faults)

    def create(self, *requests: Request) -> MessageBatch:
        return self.client.messages.batches.create(requests=requests)

    def wait(self, name: str) -> MessageBatch:
        while (batch := self.client.messages.batches.retrieve(name)).processing_status != "ended":
            time.sleep(0.02)
        return batch

    def results(self, name: str) -> dict[str, MessageBatchIndividualResponse]:
        return {line.custom_id: line for line in self.client.messages.batches.results(name)}


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=FAST) as sandbox:
        yield Bench(sandbox.url)


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    yield shared_bench
    shared_bench.control("DELETE", "faults")


def picture(shade: int) -> str:
    out = io.BytesIO()
    noise = Image.effect_noise((640, 480), 60).convert("RGB")
    Image.blend(noise, Image.new("RGB", noise.size, (shade,) * 3), 0.9 if shade else 0).save(
        out, "JPEG"
    )
    return base64.b64encode(out.getvalue()).decode()


def question(text: str = "judge it", data: str = "") -> list[MessageParam]:
    content: list[Any] = [{"type": "text", "text": text}]
    if data:
        source = {"type": "base64", "media_type": "image/jpeg", "data": data}
        content.insert(0, {"type": "image", "source": source})
    return [{"role": "user", "content": content}]


def entry(key: str, text: str = "judge it", **params: Any) -> Request:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "messages": question(text)}
    return cast(Request, {"custom_id": key, "params": {**asked, **params}})


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


class TestMessages:
    def test_a_judge_sees_and_answers_in_its_schema(self, bench: Bench) -> None:
        scores = []
        for shade in (0, 255):
            message = bench.client.messages.create(
                model=MODEL,
                max_tokens=500,
                system="be strict",
                messages=question(data=picture(shade)),
                output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
            )
            assert message.stop_reason == "end_turn"
            scores.append(json.loads(text_of(message))["score"])
        assert scores[0] > scores[1]

    def test_thinking_costs_unless_it_is_switched_off(self, bench: Bench) -> None:
        asked: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "messages": question()}
        thinks = bench.client.messages.create(**asked).usage
        silent = bench.client.messages.create(**asked, thinking={"type": "disabled"}).usage
        deep = bench.client.messages.create(**asked, output_config={"effort": "max"}).usage
        assert silent.output_tokens < thinks.output_tokens < deep.output_tokens
        assert silent.output_tokens_details is not None
        assert silent.output_tokens_details.thinking_tokens == 0

    def test_a_refusal_is_an_answer_that_says_so(self, bench: Bench) -> None:
        message = bench.client.messages.create(
            model=MODEL, max_tokens=500, messages=question("x [[sandbox:block_safety@any]]")
        )
        assert (message.stop_reason, message.content) == ("refusal", [])

    @pytest.mark.parametrize(
        ("params", "said"),
        [
            ({"max_tokens": 0}, "max_tokens"),
            ({"extra_body": {"temperature": 0.5}}, "temperature: Extra inputs"),
            ({"extra_body": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}, "thinking"),
            (
                {"output_config": {"format": {"type": "json_schema", "schema": {"minimum": 0}}}},
                "property 'minimum' is not supported",
            ),
            (
                {
                    "output_config": {
                        "format": {"type": "json_schema", "schema": {"type": "object"}}
                    }
                },
                "'additionalProperties' must be",
            ),
        ],
    )
    def test_what_the_model_refuses_is_a_400(
        self, bench: Bench, params: dict[str, Any], said: str
    ) -> None:
        asked: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "messages": question()}
        with pytest.raises(anthropic.BadRequestError, match=said):
            bench.client.messages.create(**{**asked, **params})

    def test_a_model_that_is_not_served_is_not_found(self, bench: Bench) -> None:
        with pytest.raises(anthropic.NotFoundError):
            bench.client.messages.create(model="claude-1", max_tokens=1, messages=question())
        assert MODEL in [model.id for model in bench.client.models.list()]

    def test_a_bad_key_is_401(self, bench: Bench) -> None:
        with pytest.raises(anthropic.AuthenticationError):
            Anthropic(api_key="bad", base_url=bench.url).models.list()

    def test_a_quota_names_its_wait(self, bench: Bench) -> None:
        bench.arm(call_429={"retry_after": 3})
        with pytest.raises(anthropic.RateLimitError) as caught:
            bench.client.messages.create(model=MODEL, max_tokens=9, messages=question())
        assert caught.value.response.headers["retry-after"] == "3"


class TestBatches:
    def test_every_request_has_its_result_and_half_the_price(self, bench: Bench) -> None:
        before = len(bench.control("GET", "ledger"))
        name = bench.create(
            entry("good", thinking={"type": "disabled"}),
            entry("refused", "x [[sandbox:block_safety@any]]"),
            entry("broken", "x [[sandbox:error_13@any]]"),
            entry("wrong", max_tokens=-1),
        ).id
        batch = bench.wait(name)
        assert (batch.request_counts.succeeded, batch.request_counts.errored) == (2, 2)
        results = bench.results(name)
        assert {key: line.result.type for key, line in results.items()} == {
            "good": "succeeded",
            "refused": "succeeded",
            "broken": "errored",
            "wrong": "errored",
        }
        good = results["good"].result
        assert good.type == "succeeded"
        billed = {line["key"]: line for line in bench.control("GET", "ledger")[before:]}
        usage = good.message.usage
        half = (usage.input_tokens * Decimal("0.1") + usage.output_tokens * Decimal("0.5")) / 2
        assert Decimal(billed["good"]["usd"]) == half / 1_000_000
        assert Decimal(billed["wrong"]["usd"]) == 0

    def test_the_list_has_pages_newest_first(self, bench: Bench) -> None:
        names = [bench.create(entry("a")).id for _ in range(5)]
        listed = [batch.id for batch in bench.client.messages.batches.list(limit=2)]
        assert listed[:5] == names[::-1]
        newer = bench.client.messages.batches.list(limit=2, before_id=names[2])
        assert [batch.id for batch in newer] == [names[4], names[3]]

    @pytest.mark.parametrize(
        ("fault", "left"), [("job_expired", "expired"), ("job_cancelled", "canceled")]
    )
    def test_a_batch_that_ends_early_names_what_it_did_not_get_to(
        self, bench: Bench, fault: str, left: str
    ) -> None:
        bench.arm(**{fault: 1})
        name = bench.create(*(entry(f"key-{number}") for number in range(4))).id
        counts = bench.wait(name).request_counts
        assert (counts.succeeded, counts.expired + counts.canceled) == (2, 2)
        kinds = [line.result.type for line in bench.results(name).values()]
        assert sorted(kinds) == sorted(["succeeded", "succeeded", left, left])

    def test_cancelling_ends_it_and_bills_nothing(self, bench: Bench) -> None:
        before = len(bench.control("GET", "ledger"))
        name = bench.create(entry("a"), entry("b")).id
        bench.client.messages.batches.cancel(name)
        batch = bench.wait(name)
        assert batch.cancel_initiated_at
        assert batch.request_counts.canceled == 2
        assert {line.result.type for line in bench.results(name).values()} == {"canceled"}
        assert bench.control("GET", "ledger")[before:] == []
        with pytest.raises(anthropic.BadRequestError):
            bench.client.messages.batches.cancel(self.ended(bench))

    def ended(self, bench: Bench) -> str:
        name = bench.create(entry("a")).id
        bench.wait(name)
        return name

    @pytest.mark.parametrize(
        "requests",
        [
            (),
            (entry("a"), entry("a")),
            (entry("no spaces"),),
            (entry("x" * 65),),
            (cast(Request, {"custom_id": "a"}),),
        ],
    )
    def test_what_is_wrong_with_the_batch_is_said_at_once(
        self, bench: Bench, requests: tuple[Request, ...]
    ) -> None:
        with pytest.raises(anthropic.BadRequestError, match="requests"):
            bench.create(*requests)

    @pytest.mark.parametrize(
        ("fault", "accepted"),
        [
            ({"create_dropped": 1}, 1),
            ({"create_unheard": 1}, 0),
            ({"create_500": {"accepted": True}}, 1),
            ({"create_500": 1}, 0),
        ],
    )
    def test_faults_of_create_accept_or_do_not(
        self, bench: Bench, fault: dict[str, Any], accepted: int
    ) -> None:
        before = {batch.id for batch in bench.client.messages.batches.list()}
        bench.arm(**fault)
        with pytest.raises((anthropic.APIConnectionError, anthropic.InternalServerError)):
            bench.create(entry("a"))
        after = {batch.id for batch in bench.client.messages.batches.list()}
        assert len(after - before) == accepted

    def test_results_can_be_archived(self, bench: Bench) -> None:
        bench.arm(result_gone=1)
        batch = bench.wait(bench.create(entry("a")).id)
        assert batch.archived_at
        assert batch.results_url is None

    def test_the_apis_do_not_see_each_other_s_batches(self, bench: Bench) -> None:
        name = bench.create(entry("a")).id
        for headers in ({"authorization": "Bearer any"}, {"x-goog-api-key": "any"}):
            path = "v1/batches" if "authorization" in headers else "v1beta/batches"
            request = urllib.request.Request(f"{bench.url}/{path}", headers=headers)
            with urllib.request.urlopen(request) as answer:
                assert name.removeprefix("msgbatch_") not in answer.read().decode()
