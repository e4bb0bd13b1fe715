"""What collecting makes of result lines: results, findings and costs, as the facts have them."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.servers import environment, make_bucket, s3_environment, start_moto
from tests.tasks.waves import prompts, round_of, wave

from imagewave.providers.gemini.wire import read_line
from imagewave.providers.protocol import JobState, JobStatus, Outcome
from imagewave.providers.wire.jsonl import split_lines
from imagewave.storage.facts.analytics import query
from imagewave.storage.money.ledger import Budget, Ledger
from imagewave.storage.requests import Kind
from imagewave.storage.rounds import rounds
from imagewave.storage.rounds.rounds import record
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave
from imagewave.tasks.collecting.collect import collect
from imagewave.tasks.drafting.draft import draft_asks
from imagewave.tasks.jobs.shard import shard
from imagewave.tasks.jobs.submit import AdoptionTimes, submit
from imagewave.tasks.screening.pool import Pool
from imagewave.tasks.screening.screen import screen

pytestmark = pytest.mark.heavy


def a_picture() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(out, "PNG")
    return out.getvalue()


PICTURE = a_picture()
USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 1120}


def result(key: str, data: str | None = None, **fields: Any) -> dict[str, Any]:
    data = base64.b64encode(PICTURE).decode() if data is None else data
    parts = [{"inlineData": {"mimeType": "image/png", "data": data}}]
    response = {"candidates": [{"content": {"parts": parts}}], "usageMetadata": USAGE, **fields}
    return {"key": key, "response": response}


class _Lane:
    """A lane whose one job gives the line of each request, as bytes in a result file."""

    name, realm, max_requests, max_bytes = "gemini-batch", "sandbox", 1000, 10**9

    def __init__(self, line_of: Callable[[str], bytes]) -> None:
        self.line_of = line_of
        self.ids: list[str] = []

    def prepare(self, requests: object, read_image: object, display_name: str) -> str:
        self.ids = [request.id for request in requests]  # type: ignore[attr-defined]
        return display_name

    def create(self, handle: str, model: str, token: str) -> str:
        return "batches/one"

    def find(self, token: str) -> list[str]:
        return []

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        for line in split_lines([b"\n".join(map(self.line_of, self.ids))]):
            yield read_line(line, wants_image)


def collected(
    place: Path | str, line_of: Callable[[str], dict[str, Any] | bytes], drafts: int = 1
) -> Store:
    """A store with one draft, or several, of which this line came back."""

    def written(key: str) -> bytes:
        line = line_of(key)
        return line if isinstance(line, bytes) else json.dumps(line).encode()

    store = Store.open(str(place))
    of_wave: Wave = wave()
    asks = draft_asks(store, of_wave, 1, prompts(of_wave, each=9), lane="gemini-batch")[:drafts]
    round = round_of(of_wave, Kind.DRAFT)
    record(store, round, asks)
    lane = _Lane(written)
    [job] = shard(store, round, asks, lambda _: lane, 1)  # type: ignore[arg-type,return-value]
    submit(store, job, lane, budget=Budget(), adoption=AdoptionTimes())  # type: ignore[arg-type]
    with Pool(max_pixels=10**6, workers=1) as pool:
        status = JobStatus(name="batches/one", state=JobState.SUCCEEDED)
        collect(store, job, lane, status, pool)  # type: ignore[arg-type]
    return store


def findings(store: Store) -> list[tuple[str, str]]:
    rows = query(store, "SELECT kind, detail FROM findings ORDER BY kind, detail")
    return [(row["kind"], row["detail"]) for row in rows]


def the_attempt(store: Store) -> dict[str, Any]:
    [row] = query(store, "SELECT status, reason, cost_usd, image_tokens FROM attempts")
    return dict(row)


def estimate(store: Store) -> Decimal:
    [row] = query(store, "SELECT estimate_usd FROM raw_requests")
    return Decimal(str(row["estimate_usd"]))


def test_a_common_line_has_its_metered_cost_and_no_finding(tmp_path: Path) -> None:
    store = collected(tmp_path, result)
    row = the_attempt(store)
    assert (row["status"], row["image_tokens"]) == ("image", 1120)
    assert findings(store) == []


@pytest.mark.parametrize(
    "reported",
    [
        {},
        {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0},
        {"promptTokenCount": 10},
        {"totalTokenCount": 1130},
        None,
    ],
)
@pytest.mark.parametrize("data", [None, "*?*?"])
def test_a_picture_without_tokens_is_charged_as_estimated(
    tmp_path: Path, reported: object, data: str | None
) -> None:
    store = collected(tmp_path, lambda key: result(key, data, usageMetadata=reported))
    row = the_attempt(store)
    assert row["status"] == ("image" if data is None else "failed")
    assert row["image_tokens"] is None
    assert row["cost_usd"] == estimate(store) > 0
    assert [kind for kind, _ in findings(store)] == ["no usage"]
    assert Ledger(store).state().captured["spring"] == row["cost_usd"]


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "10", "completion_tokens": 1120.0},
        {"promptTokenCount": 10, "totalTokenCount": 1130},
    ],
)
def test_usage_in_other_words_costs_the_same(tmp_path: Path, usage: dict[str, Any]) -> None:
    plain = the_attempt(collected(tmp_path / "plain", result))
    other = collected(tmp_path / "other", lambda key: result(key, usageMetadata=usage))
    assert the_attempt(other) == plain


def test_what_is_odd_about_a_line_is_a_finding(tmp_path: Path) -> None:
    data = base64.urlsafe_b64encode(PICTURE).decode().rstrip("=")
    store = collected(
        tmp_path, lambda key: b"\xef\xbb\xbf" + json.dumps(result(key, data)).encode()
    )
    assert the_attempt(store)["status"] == "image"
    [(kind, detail)] = findings(store)
    assert kind == "odd line"
    assert "URL-safe" in detail


def test_an_error_costs_nothing(tmp_path: Path) -> None:
    error = {"status": "UNAVAILABLE", "message": "full"}
    store = collected(tmp_path, lambda key: {"key": key, "error": error})
    assert the_attempt(store) == {
        "status": "failed",
        "reason": "UNAVAILABLE",
        "cost_usd": 0,
        "image_tokens": None,
    }
    assert findings(store) == []


def test_tokens_whose_price_nobody_knows_are_charged_as_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with a price for each picture, as behind a gateway, has none for tokens."""
    models = tmp_path / "models.toml"
    models.write_text(
        '[[model]]\nid = "gemini-3.1-flash-lite-image"\nprice = "google:no-such-model"\n'
        "usd_per_image = { any = 0.05 }\nbatch_multiplier = 1\n"
    )
    monkeypatch.setenv("IMAGEWAVE_MODELS", str(models))
    store = collected(tmp_path / "store", result)
    row = the_attempt(store)
    assert (row["status"], row["cost_usd"]) == ("image", Decimal("0.05"))
    assert [kind for kind, _ in findings(store)] == ["no price"]


def test_what_was_uploaded_is_not_downloaded_to_be_measured_or_screened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "requests.log"
    log.touch()
    pictures = iter(a_picture() for _ in range(2))
    monkeypatch.setenv("IMAGEWAVE_CACHE_DIR", str(tmp_path / "cache"))
    with start_moto(log) as endpoint, environment(**s3_environment(endpoint)):
        place = f"s3://{make_bucket(endpoint)}/waves"
        store = collected(
            place, lambda key: result(key, base64.b64encode(next(pictures)).decode()), drafts=2
        )
        round = round_of(wave(), Kind.DRAFT)
        asks = rounds.load(store, round)
        assert asks is not None
        answers = rounds.answers(store, [ask.request.id for ask in asks])
        checked = screen(store, wave(), round, asks, answers)

        assert len(checked.passed) + len(checked.failed) == 2
        measured = query(store, "SELECT path, width, error FROM images")
        assert [(row["width"], row["error"]) for row in measured] == [(64, "")] * 2
        paths = {f"/{place.removeprefix('s3://')}/{row['path']}" for row in measured}
        requests = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
        assert sorted(path for method, path in requests if method == "PUT" and path in paths) == (
            sorted(paths)
        )
        assert [method for method, path in requests if method != "PUT" and path in paths] == []

        store.read(measured[0]["path"])
        last = log.read_text().splitlines()[-1]
        assert last == f"GET /{place.removeprefix('s3://')}/{measured[0]['path']}", "they are told"
