"""Batch jobs on the wire, by the official client."""

from pathlib import Path
from typing import Any

import pytest
from google.genai import errors, types
from tests.sandbox.conftest import LITE, Bench, client_for, request_row

pytestmark = pytest.mark.heavy


def test_a_file_job_answers_every_key_and_bills_half_the_price(
    bench: Bench, tmp_path: Path
) -> None:
    before = len(bench.control("GET", "ledger"))
    rows = bench.run(tmp_path, [request_row(f"key-{i}", f"tulip number {i}") for i in range(5)])
    assert sorted(row["key"] for row in rows) == [f"key-{i}" for i in range(5)]
    entries = bench.control("GET", "ledger")[before:]
    assert [entry["usd"] for entry in entries] == ["0.0168005"] * 5
    usage = rows[0]["response"]["usageMetadata"]
    assert usage["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 1120}]
    assert "thoughtsTokenCount" not in usage


def test_a_job_shows_its_states_stats_and_display_name(bench: Bench, tmp_path: Path) -> None:
    bench.control("PUT", "config", {"pending_s": 0.4, "running_s": 0.4})
    source = bench.upload(tmp_path, [request_row("a", "one"), request_row("b", "two")])
    job = bench.client.batches.create(
        model=LITE, src=source, config={"display_name": "imagewave:token-1"}
    )
    assert job.state == types.JobState.JOB_STATE_PENDING
    assert job.display_name == "imagewave:token-1"
    name = str(job.name)
    seen = set()
    while not (job := bench.client.batches.get(name=name)).done:
        assert job.state is not None
        seen.add(job.state.value)
    assert "JOB_STATE_RUNNING" in seen
    raw = next(j for j in bench.control("GET", "jobs") if j["name"] == name)
    assert raw["metadata"]["batchStats"] == {"requestCount": "2", "successfulRequestCount": "2"}
    assert raw["done"] is True
    assert raw["response"]["responsesFile"] == raw["metadata"]["output"]["responsesFile"]


def test_inline_requests_come_back_inline_with_their_metadata(bench: Bench) -> None:
    requests: list[Any] = [
        {
            "contents": [{"role": "user", "parts": [{"text": f"a boat, {i}"}]}],
            "metadata": {"key": f"r{i}"},
            "config": {"response_modalities": ["IMAGE"]},
        }
        for i in range(2)
    ]
    job = bench.client.batches.create(model=LITE, src=requests)
    assert job.name is not None
    job = bench.wait(job.name)
    assert job.dest is not None
    assert job.dest.inlined_responses is not None
    assert [r.metadata for r in job.dest.inlined_responses] == [{"key": "r0"}, {"key": "r1"}]
    for inlined in job.dest.inlined_responses:
        assert inlined.response is not None
        assert inlined.response.parts is not None
        blob = inlined.response.parts[0].inline_data
        assert blob is not None
        assert blob.data is not None
        assert blob.data.startswith(b"\xff\xd8")


def test_the_list_pages_and_a_full_last_page_is_followed_by_an_empty_one(
    bench: Bench, tmp_path: Path
) -> None:
    for job in bench.control("GET", "jobs"):
        bench.client.batches.delete(name=job["name"])
    names = [bench.create(tmp_path, [request_row("a", "x")]) for _ in range(4)]
    pager = bench.client.batches.list(config={"page_size": 3})
    assert [job.name for job in pager.page] == names[:0:-1]
    assert [job.name for job in pager.next_page()] == names[:1]
    with pytest.raises(IndexError, match="No more pages"):
        pager.next_page()
    full = bench.client.batches.list(config={"page_size": 4})
    assert len(full.page) == 4
    # As at Google: only the next page tells that there was none, and the SDK's iterator trips.
    assert full.next_page() == []
    with pytest.raises(IndexError):
        list(bench.client.batches.list(config={"page_size": 4}))


def test_a_cancelled_job_bills_and_returns_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.control("PUT", "config", {"pending_s": 60})
    before = bench.control("GET", "ledger/summary")
    name = bench.create(tmp_path, [request_row("a", "x")])
    bench.client.batches.cancel(name=name)
    job = bench.wait(name)
    assert job.state == types.JobState.JOB_STATE_CANCELLED
    assert job.dest is None
    assert bench.control("GET", "ledger/summary") == before


def test_a_deleted_job_is_not_found_and_its_result_is_gone(bench: Bench, tmp_path: Path) -> None:
    name = bench.create(tmp_path, [request_row("a", "x")])
    job = bench.wait(name)
    assert job.dest is not None
    bench.client.batches.delete(name=name)
    for call in (
        lambda: bench.client.batches.get(name=name),
        lambda: bench.client.batches.cancel(name=name),
    ):
        with pytest.raises(errors.ClientError) as error:
            call()
        assert error.value.code == 404
    with pytest.raises(errors.ClientError):
        bench.client.files.download(file=str(job.dest.file_name))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("gemini-2.5-flash-image", "no longer available"),
        ("imagen-4.0-generate-001", "no longer available"),
        ("gemini-99-image", "is not found for API version"),
        ("gpt-image-2", "is not found for API version"),
    ],
)
def test_retired_and_unknown_models_are_not_found(
    bench: Bench, tmp_path: Path, model: str, words: str
) -> None:
    with pytest.raises(errors.ClientError, match=words) as error:
        bench.create(tmp_path, [request_row("a", "x")], model=model)
    assert (error.value.code, error.value.status) == (404, "NOT_FOUND")


def test_more_open_jobs_than_the_quota_are_refused(bench: Bench, tmp_path: Path) -> None:
    bench.control("PUT", "config", {"pending_s": 60, "max_jobs": 1})
    name = bench.create(tmp_path, [request_row("a", "x")])
    with pytest.raises(errors.ClientError) as error:
        bench.create(tmp_path, [request_row("b", "x")])
    assert (error.value.code, error.value.status) == (429, "RESOURCE_EXHAUSTED")
    violation = error.value.details["error"]["details"][0]["violations"][0]
    assert violation["quotaId"] == "BatchGenerateContentConcurrentJobsPerProject"
    bench.client.batches.cancel(name=name)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"imageConfig": {"imageSize": "2K"}}, "Image size 2K is not supported"),
        ({"imageConfig": {"aspectRatio": "5:3"}}, "Aspect ratio 5:3 is not supported"),
        ({"imageConfig": {"aspectRatio": "8:1"}}, "Aspect ratio 8:1 is not supported"),
        ({"imageConfig": {"ratio": "1:1"}}, 'Unknown name "ratio" at \'generation_config.image'),
        ({"nonsense": 1}, "Unknown name \"nonsense\" at 'generation_config'"),
        ({"thinkingConfig": {"thinkingLevel": "huge"}}, "Invalid thinking level"),
        ({"seed": "seven"}, "Invalid value at 'generation_config.seed'"),
        ({"responseModalities": ["SMELL"]}, "Invalid response modality"),
    ],
)
def test_a_line_that_the_model_refuses_fails_alone_with_grpc_3(
    bench: Bench, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    rows = [request_row("good", "a pear"), request_row("bad", "a pear", **config)]
    answers = {row["key"]: row for row in bench.run(tmp_path, rows)}
    assert "response" in answers["good"]
    assert answers["bad"]["error"]["code"] == 3
    assert words in answers["bad"]["error"]["message"]


def test_both_spellings_of_fields_are_taken(bench: Bench, tmp_path: Path) -> None:
    row = {
        "key": "snake",
        "request": {
            "contents": [{"parts": [{"text": "a pear"}]}],
            "generation_config": {"image_config": {"aspect_ratio": "16:9"}},
        },
    }
    (answer,) = bench.run(tmp_path, [row])
    assert "response" in answer


def test_input_that_is_no_json_fails_the_whole_job(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"key": "a", "request": {"contents": []}}\n{nonsense\n')
    source = bench.client.files.upload(file=path, config={"mime_type": "application/jsonl"})
    job = bench.client.batches.create(model=LITE, src=str(source.name))
    assert job.name is not None
    assert bench.wait(job.name).state == types.JobState.JOB_STATE_FAILED
    raw = next(j for j in bench.control("GET", "jobs") if j["name"] == job.name)
    assert "line 2" in raw["error"]["message"]


def test_a_job_needs_its_input_file_no_more_once_it_is_accepted(
    bench: Bench, tmp_path: Path
) -> None:
    bench.control("PUT", "config", {"pending_s": 0.2})
    source = bench.upload(tmp_path, [request_row("a", "x")])
    job = bench.client.batches.create(model=LITE, src=source)
    bench.client.files.delete(name=source)
    assert bench.wait(str(job.name)).state == types.JobState.JOB_STATE_SUCCEEDED


def test_an_unknown_input_file_is_refused_at_once(bench: Bench) -> None:
    with pytest.raises(errors.ClientError, match="may not exist"):
        bench.client.batches.create(model=LITE, src="files/nothere")


def test_keys_are_checked_as_google_checks_them(bench: Bench) -> None:
    refused = client_for(bench.sandbox.url, "bad-key")
    with pytest.raises(errors.ClientError) as bad:
        refused.models.list()
    assert bad.value.code == 400
    detail = bad.value.details["error"]["details"][0]
    assert detail["reason"] == "API_KEY_INVALID"
    nobody = client_for(bench.sandbox.url, " ")
    with pytest.raises(errors.ClientError) as missing:
        nobody.models.list()
    assert (missing.value.code, missing.value.status) == (403, "PERMISSION_DENIED")


def test_living_models_are_listed_and_retired_ones_are_not(bench: Bench) -> None:
    names = {model.name for model in bench.client.models.list()}
    assert {"models/gemini-3.1-flash-lite-image", "models/gemini-nano-banana-2.1"} <= names
    assert "models/gemini-2.5-flash-image" not in names
    model = bench.client.models.get(model=LITE)
    assert model.display_name == "Nano Banana 2 Lite"
    assert "batchGenerateContent" in (model.supported_actions or [])
