"""What Prefect's UI is shown: little, whatever the wave's size."""

import io

import numpy as np
import orjson
import pytest
from PIL import Image
from tests.storage.builders import DRAFT_MODEL, REVISION, WAVE, Row, ask, put, request_id, result

from imagewave.storage.images import put_image
from imagewave.storage.store import Store
from imagewave.tasks.reporting.showcase import MAX_PICTURES, MAX_ROWS, showcase

HERE: Row = {"wave": WAVE, "revision": REVISION}
MANY = MAX_PICTURES + 10


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A wave of more briefs, accepted drafts and kinds of findings than there is room for."""
    store = Store.open(str(tmp_path_factory.mktemp("showcase") / "store"))
    put(store, "waves", "run-1", HERE | {"file": "f", "spec": "{}", "realm": "sandbox"})
    briefs = [f"brief-{number:03d}-{'x' * 50}" for number in range(3 * MAX_ROWS)]
    put(
        store,
        "briefs",
        "run-1",
        *(HERE | {"brief": brief, "text": "t", "want": 1} for brief in briefs),
    )
    names = [f"n{number}" for number in range(MANY)]
    noise = np.random.default_rng(7)
    pictures = {}
    for name in names:
        encoded = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (128, 128, 3), np.uint8)).save(encoded, "PNG")
        pictures[name] = put_image(store, encoded.getvalue())
    asked = dict(zip(names, briefs, strict=False))
    put(
        store,
        "requests",
        "d",
        *(ask(name, "draft", DRAFT_MODEL, brief=brief) for name, brief in asked.items()),
    )
    put(
        store,
        "results",
        "d",
        *(
            result(name, "job", "draft", DRAFT_MODEL, "0.02")
            | {"image": pictures[name].sha256, "format": "png"}
            for name in names
        ),
    )
    put(
        store,
        "decisions",
        "d",
        *(
            HERE
            | {
                "brief": brief,
                "request_id": request_id(name),
                "image": pictures[name].sha256,
                "tier": "draft",
                "round": 1,
                "decision": "accepted" if number else "rejected",
            }
            for number, (name, brief) in enumerate(asked.items())
        ),
    )
    put(
        store,
        "findings",
        "f",
        *(
            {
                "wave": WAVE,
                "job_id": "j",
                "kind": f"kind {kind}",
                "key": "k" * 500,
                "detail": "d" * 9000,
            }
            for kind in range(2 * MAX_ROWS)
        ),
    )
    return store


def test_it_stays_within_what_prefect_takes(store: Store) -> None:
    shown = showcase(store, WAVE)
    assert len(shown.pictures) == MAX_PICTURES
    assert shown.left_out == MANY - 1 - MAX_PICTURES, "the rejected one is not among them"
    sheet = sum(len(picture.data_uri) for picture in shown.pictures)
    assert sheet < 1_000_000, "of noise, the worst there is to compress"
    for rows in (shown.funnel, shown.bill, shown.findings):
        assert len(rows) <= MAX_ROWS + 1
        assert len(orjson.dumps(list(rows))) < 100_000


def test_totals_count_what_is_not_shown(store: Store) -> None:
    shown = showcase(store, WAVE)
    total = shown.funnel[0]
    assert total["brief"] == f"all {3 * MAX_ROWS} briefs"
    assert total["generated"] == MANY
    assert total["accepted"] == MANY - 1
    assert shown.bill[-2] == {"kind": "total", "model": "", "requests": MANY, "usd": "1.2000"}
    assert shown.bill[-1]["kind"] == "per accepted image"


def test_pictures_that_are_gone_are_left_out(store: Store) -> None:
    kept = {path: store.read(path) for path in store.list("images")}
    for path in kept:
        store.delete(path)
    assert showcase(store, WAVE).pictures == []
    for path, content in kept.items():
        store.write(path, content)
