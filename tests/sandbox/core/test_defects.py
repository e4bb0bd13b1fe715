"""Every defect by name, in the shape in which the real service would show it."""

import base64
import binascii
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.sandbox.conftest import Bench, request_row

from imagewave.sandbox.core.defects import PROFILES, Defect, Defects, UnknownDefect

pytestmark = pytest.mark.heavy


def _one(bench: Bench, folder: Path, marker: str, key: str = "k", **config: Any) -> dict[str, Any]:
    row = request_row(f"{key}-{marker}", f"a harbour [[sandbox:{marker}]]", **config)
    (answer,) = bench.run(folder, [row])
    found: dict[str, Any] = answer
    return found


def _image_data(answer: dict[str, Any]) -> str:
    parts = answer["response"]["candidates"][0]["content"]["parts"]
    return str(parts[-1]["inlineData"]["data"])


def _image(answer: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(_image_data(answer))))


@pytest.mark.parametrize(
    ("marker", "reason"),
    [
        ("block_safety", "SAFETY"),
        ("block_other", "OTHER"),
        ("block_blocklist", "BLOCKLIST"),
        ("block_prohibited", "PROHIBITED_CONTENT"),
        ("block_image_safety", "IMAGE_SAFETY"),
    ],
)
def test_a_blocked_prompt_has_no_candidates_and_bills_its_input(
    bench: Bench, tmp_path: Path, marker: str, reason: str
) -> None:
    response = _one(bench, tmp_path, marker)["response"]
    assert response["promptFeedback"] == {"blockReason": reason}
    assert "candidates" not in response
    tokens = response["usageMetadata"]["promptTokenCount"]
    entry = bench.control("GET", "ledger")[-1]
    assert (entry["outcome"], entry["reason"]) == ("refused", reason)
    assert float(entry["usd"]) == pytest.approx(tokens * 0.125e-6)


@pytest.mark.parametrize(
    ("marker", "reason"),
    [
        ("finish_image_safety", "IMAGE_SAFETY"),
        ("finish_image_prohibited", "IMAGE_PROHIBITED_CONTENT"),
        ("finish_prohibited", "PROHIBITED_CONTENT"),
        ("finish_safety", "SAFETY"),
        ("finish_spii", "SPII"),
        ("finish_blocklist", "BLOCKLIST"),
        ("finish_recitation", "RECITATION"),
        ("finish_image_recitation", "IMAGE_RECITATION"),
        ("finish_image_other", "IMAGE_OTHER"),
        ("finish_other", "OTHER"),
        ("no_image", "NO_IMAGE"),
        ("max_tokens", "MAX_TOKENS"),
    ],
)
def test_a_finished_refusal_is_a_candidate_without_parts(
    bench: Bench, tmp_path: Path, marker: str, reason: str
) -> None:
    (candidate,) = _one(bench, tmp_path, marker)["response"]["candidates"]
    assert candidate["finishReason"] == reason
    assert "parts" not in candidate["content"]


@pytest.mark.parametrize("code", [3, 8, 13])
def test_a_failed_line_has_a_grpc_code_and_costs_nothing(
    bench: Bench, tmp_path: Path, code: int
) -> None:
    answer = _one(bench, tmp_path, f"error_{code}")
    assert answer["error"]["code"] == code
    assert "response" not in answer
    entry = bench.control("GET", "ledger")[-1]
    assert (entry["outcome"], entry["usd"]) == ("error", "0")


def test_text_only_stops_normally_without_an_image(bench: Bench, tmp_path: Path) -> None:
    response = _one(bench, tmp_path, "text_only")["response"]
    (candidate,) = response["candidates"]
    assert candidate["finishReason"] == "STOP"
    assert [list(part) for part in candidate["content"]["parts"]] == [["text"]]
    assert "candidatesTokensDetails" not in response["usageMetadata"]


def test_a_thought_image_comes_before_the_real_one(bench: Bench, tmp_path: Path) -> None:
    parts = _one(bench, tmp_path, "thought_first")["response"]["candidates"][0]["content"]["parts"]
    assert [part.get("thought", False) for part in parts] == [True, True, False]
    assert parts[1]["inlineData"]["data"] != parts[2]["inlineData"]["data"]


def test_usage_may_be_missing_in_part_or_whole_and_is_billed_all_the_same(
    bench: Bench, tmp_path: Path
) -> None:
    assert "usageMetadata" not in _one(bench, tmp_path, "usage_missing")["response"]
    assert bench.control("GET", "ledger")[-1]["tokens"]["image"] == 1120
    usage = _one(bench, tmp_path, "usage_partial")["response"]["usageMetadata"]
    assert "candidatesTokensDetails" not in usage
    assert usage["candidatesTokenCount"] == 1120


@pytest.mark.parametrize("marker", ["corrupt", "truncated"])
def test_broken_bytes_do_not_decode(bench: Bench, tmp_path: Path, marker: str) -> None:
    data = base64.b64decode(_image_data(_one(bench, tmp_path, marker)), validate=True)
    assert data.startswith(b"\xff\xd8")
    with pytest.raises(OSError, match=r"cannot identify|truncated|broken"):
        Image.open(io.BytesIO(data)).load()


def test_broken_base64_does_not_decode(bench: Bench, tmp_path: Path) -> None:
    data = _image_data(_one(bench, tmp_path, "bad_base64"))
    with pytest.raises(binascii.Error):
        base64.b64decode(data, validate=True)


@pytest.mark.parametrize(
    ("marker", "low", "high", "most_spread"),
    [("blank", 0, 255, 3), ("dark", 0, 20, 20), ("washed_out", 220, 255, 20)],
)
def test_visible_defects_are_visible(
    bench: Bench, tmp_path: Path, marker: str, low: int, high: int, most_spread: int
) -> None:
    gray = _image(_one(bench, tmp_path, marker)).convert("L")
    histogram = gray.histogram()
    mean = sum(i * n for i, n in enumerate(histogram)) / sum(histogram)
    assert low <= mean <= high
    assert gray.getextrema()[1] - gray.getextrema()[0] <= most_spread * 2  # type: ignore[operator]


def test_the_wrong_aspect_is_far_off(bench: Bench, tmp_path: Path) -> None:
    config = {"imageConfig": {"aspectRatio": "1:1"}}
    image = _image(_one(bench, tmp_path, "wrong_aspect", imageConfig=config["imageConfig"]))
    assert image.width / image.height > 2


def test_a_bomb_arrives_as_png(bench: Bench, tmp_path: Path) -> None:
    data = base64.b64decode(_image_data(_one(bench, tmp_path, "bomb")))
    assert data.startswith(b"\x89PNG")


def test_a_near_duplicate_copies_the_line_before_it(bench: Bench, tmp_path: Path) -> None:
    rows = [
        request_row("original", "a canal"),
        request_row("copy", "quite another thing [[sandbox:near_duplicate]]"),
    ]
    original, copy = (_image(answer) for answer in bench.run(tmp_path, rows))
    difference = [abs(a - b) for a, b in zip(original.tobytes(), copy.tobytes(), strict=True)]
    assert 0 < sum(difference) / len(difference) < 15


def test_keys_go_missing_double_astray_and_swapped(bench: Bench, tmp_path: Path) -> None:
    rows = [
        request_row("a", "x [[sandbox:key_missing]]"),
        request_row("b", "x [[sandbox:key_duplicate]]"),
        request_row("c", "x [[sandbox:key_unknown]]"),
        request_row("d", "x [[sandbox:key_swapped]]"),
        request_row("e", "y"),
        request_row("f", "z"),
    ]
    before = len(bench.control("GET", "ledger"))
    answers = bench.run(tmp_path, rows)
    assert [a.get("key") for a in answers] == [None, "b", "b", "unknown-c", "e", "d", "f"]
    assert answers[1] == answers[2]
    billed = [entry["key"] for entry in bench.control("GET", "ledger")[before:]]
    assert billed == ["a", "b", "c", "d", "e", "f"]


def test_a_shuffled_job_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.control("PUT", "config", {"defects": {"shuffled": 1.0}})
    keys = [f"s{i:02}" for i in range(30)]
    answers = bench.run(tmp_path, [request_row(key, "x") for key in keys])
    found = [answer["key"] for answer in answers]
    assert found != keys
    assert sorted(found) == keys


def test_a_marker_may_be_for_finals_or_for_the_first_times_only(
    bench: Bench, tmp_path: Path
) -> None:
    plain = request_row("plain", "x [[sandbox:blank@reference]]")
    assert _image(bench.run(tmp_path, [plain])[0]).convert("L").getextrema() != (0, 0)
    again = request_row("again", "x [[sandbox:error_13 x2]]")
    outcomes = [list(bench.run(tmp_path, [again])[0])[-1] for _ in range(3)]
    assert outcomes == ["error", "error", "response"]


def test_passing_defects_clear_when_the_same_key_is_asked_again(
    bench: Bench, tmp_path: Path
) -> None:
    bench.control("PUT", "config", {"defects": {"error_13": 1.0, "clears_after": 1}})
    row = request_row("clears", "x")
    assert "error" in bench.run(tmp_path, [row])[0]
    assert "response" in bench.run(tmp_path, [row])[0]


def _dealt(defects: Defects, seed: int, count: int = 4000) -> list[frozenset[Defect]]:
    return [
        defects.choose(
            seed=seed,
            key=f"key{i}",
            prompt="",
            wants_image=True,
            has_references=False,
            asked_before=0,
        )
        for i in range(count)
    ]


def test_rates_are_met_and_depend_on_seed_and_key_alone() -> None:
    defects = Defects.parse({"blank": 0.1, "no_image": 0.05, "thought_first": 0.5})
    dealt = _dealt(defects, seed=1)
    counts = Counter(defect for chosen in dealt for defect in chosen)
    assert counts[Defect.BLANK] / len(dealt) == pytest.approx(0.1, abs=0.02)
    assert counts[Defect.NO_IMAGE] / len(dealt) == pytest.approx(0.05, abs=0.015)
    assert counts[Defect.THOUGHT_FIRST] / len(dealt) == pytest.approx(0.5, abs=0.04)
    assert dealt == _dealt(defects, seed=1)
    assert dealt != _dealt(defects, seed=2)


def test_the_harsh_profile_deals_every_defect_of_an_image() -> None:
    dealt = {defect for chosen in _dealt(PROFILES["harsh"], seed=0) for defect in chosen}
    assert dealt == set(Defect) - {Defect.BROKEN_JSON, Defect.SHUFFLED}


def test_text_requests_get_no_picture_defects() -> None:
    defects = Defects.parse({"blank": 0.5, "broken_json": 0.5})
    chosen = defects.choose(
        seed=0, key="k1", prompt="[[sandbox:dark]]", wants_image=False, has_references=True,
        asked_before=0,
    )  # fmt: skip
    assert chosen <= {Defect.BROKEN_JSON}


@pytest.mark.parametrize("table", [{"blnak": 0.1}, {"blank": 2}, {"blank": "often"}])
def test_a_wrong_table_of_rates_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(UnknownDefect, match=r"blnak|blank"):
        Defects.parse(table)
