"""A list of jobs that cannot be read proves nothing about a job that it lacks."""

import json
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.providers.serving import serving

from imagewave.providers.anthropic.batch import AnthropicBatchLane
from imagewave.providers.gemini.batch import GeminiBatchLane
from imagewave.providers.openai.batch import OpenAIBatchLane
from imagewave.providers.protocol import Lane, Unavailable
from imagewave.storage.store import Store

Job = dict[str, Any]


def gemini(url: str, folder: Path) -> Lane:
    return GeminiBatchLane("key", url)


def openai(url: str, folder: Path) -> Lane:
    return OpenAIBatchLane("key", url)


def claude(url: str, folder: Path) -> Lane:
    return AnthropicBatchLane(Store.open(str(folder)), "key", url)


PAGES: dict[Callable[[str, Path], Lane], Callable[[Sequence[object]], Job]] = {
    gemini: lambda jobs: {"operations": jobs},
    openai: lambda jobs: {"data": jobs, "has_more": False},
    claude: lambda jobs: {"data": jobs, "has_more": False},
}
SOUND: dict[Callable[[str, Path], Lane], Job] = {
    gemini: {"name": "batches/1", "metadata": {"displayName": "ours"}},
    openai: {"id": "batch_1", "metadata": {"imagewave_token": "ours"}},
    claude: {"id": "msgbatch_1", "processing_status": "in_progress"},
}
LANES = list(PAGES)


def listed(
    lane: Callable[[str, Path], Lane], folder: Path, *pages: object
) -> list[tuple[str, str]]:
    left = list(pages)

    class Api(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            data = json.dumps(left.pop(0)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with serving(Api) as url:
        return list(lane(url, folder).listed())


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("name", [None, "", 7, ["batch_1"]])
def test_an_entry_without_a_name_makes_it_none(
    lane: Callable[[str, Path], Lane], name: object, tmp_path: Path
) -> None:
    sound = SOUND[lane]
    nameless = {field: value for field, value in sound.items() if field not in ("id", "name")}
    if name is not None:
        nameless["name" if lane is gemini else "id"] = name
    for jobs in ([nameless], [sound, nameless], [nameless, sound]):
        with pytest.raises(Unavailable, match="may be a job of ours"):
            listed(lane, tmp_path, PAGES[lane](jobs))


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("entry", [None, "batch_1", 3, []])
def test_an_entry_that_is_no_object_makes_it_none(
    lane: Callable[[str, Path], Lane], entry: object, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="may be a job of ours"):
        listed(lane, tmp_path, PAGES[lane]([SOUND[lane], entry]))


@pytest.mark.parametrize("lane", [openai, claude])
@pytest.mark.parametrize("page", [{}, {"data": None}, {"data": {}}, {"object": "list"}])
def test_a_page_without_its_list_makes_it_none(
    lane: Callable[[str, Path], Lane], page: Job, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="no 'data'"):
        listed(lane, tmp_path, page)


@pytest.mark.parametrize("lane", [openai, claude])
def test_more_after_nothing_makes_it_none(
    lane: Callable[[str, Path], Lane], tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="ends before its end"):
        listed(lane, tmp_path, {"data": [], "has_more": True})


def test_gemini_leaves_out_what_is_empty(tmp_path: Path) -> None:
    first = {"operations": [SOUND[gemini]], "nextPageToken": "more"}
    assert listed(gemini, tmp_path, first, {}) == [("batches/1", "ours")]


def test_the_next_page_begins_after_the_last_name(tmp_path: Path) -> None:
    second = {**SOUND[openai], "id": "batch_2"}
    pages = {"data": [SOUND[openai]], "has_more": True}, {"data": [second], "has_more": False}
    assert listed(openai, tmp_path, *pages) == [("batch_1", "ours"), ("batch_2", "ours")]
